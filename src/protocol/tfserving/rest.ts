/** TF Serving's REST protocol: pure codecs between its bodies and inference requests. */
export { decodeExamples, encodeClassify, encodeRegress } from './classify.ts';
export { decodePredict, decodePredictAside, isPredictForAside } from './native-predict.ts';
export { encodePredict, encodePredictInSlices, predictNeedsSlices } from './predict-response.ts';
export { modelMetadataBody, modelStatusBody } from './status.ts';
