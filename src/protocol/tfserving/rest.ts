/** TF Serving's REST protocol: pure codecs between its bodies and inference requests. */
export { decodeExamples, encodeClassify, encodeRegress } from './classify.ts';
export { decodePredict } from './predict-request.ts';
export { encodePredict, encodePredictInSlices, predictNeedsSlices } from './predict-response.ts';
export { modelMetadataBody, modelStatusBody } from './status.ts';
