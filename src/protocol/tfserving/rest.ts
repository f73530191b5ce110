/** TF Serving's REST protocol: pure codecs between its bodies and inference requests. */
export {
  classesNeedSlices,
  encodeClassify,
  encodeClassifyInSlices,
  encodeRegress,
  encodeRegressInSlices,
} from './classify.ts';
export { TfServingBody } from './native-decoder.ts';
export { encodePredict, encodePredictInSlices, predictNeedsSlices } from './predict-response.ts';
export { modelMetadataBody, modelStatusBody } from './status.ts';
