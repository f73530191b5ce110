import type { ModelSignature, TensorSpec } from '../../config/model-config.ts';
import type { ModelState, VersionStatus } from '../../pipeline/types.ts';
import type { DataType } from '../../tensor/tensor.ts';

/** TensorFlow's names of the element types. */
export const TF_TYPES: Readonly<Record<DataType, string>> = {
  BOOL: 'DT_BOOL',
  UINT8: 'DT_UINT8',
  UINT16: 'DT_UINT16',
  UINT32: 'DT_UINT32',
  UINT64: 'DT_UINT64',
  INT8: 'DT_INT8',
  INT16: 'DT_INT16',
  INT32: 'DT_INT32',
  INT64: 'DT_INT64',
  FP16: 'DT_HALF',
  BF16: 'DT_BFLOAT16',
  FP32: 'DT_FLOAT',
  FP64: 'DT_DOUBLE',
  BYTES: 'DT_STRING',
};

const STATES: Readonly<Record<ModelState, string>> = {
  UNKNOWN: 'START',
  LOADING: 'LOADING',
  READY: 'AVAILABLE',
  UNLOADING: 'UNLOADING',
  UNAVAILABLE: 'END',
};

/** GET /v1/models/{m}: the given versions, newest first. An unavailable one carries the reason as its error. */
export function modelStatusBody(versions: readonly VersionStatus[]): Record<string, unknown> {
  return {
    model_version_status: [...versions].reverse().map(({ version, state, reason }) => ({
      version,
      state: STATES[state],
      status:
        state === 'UNAVAILABLE' && reason !== ''
          ? { error_code: 'INTERNAL', error_message: reason }
          : { error_code: 'OK', error_message: '' },
    })),
  };
}

/** GET /v1/models/{m}/metadata: the signature under the name that TensorFlow's exporters give it. */
export function modelMetadataBody(model: string, version: string, signature: ModelSignature): Record<string, unknown> {
  return {
    model_spec: { name: model, signature_name: '', version },
    metadata: {
      signature_def: {
        signature_def: {
          serving_default: {
            inputs: tensorInfos(signature.inputs, signature),
            outputs: tensorInfos(signature.outputs, signature),
            method_name: 'tensorflow/serving/predict',
          },
        },
      },
    },
  };
}

function tensorInfos(specs: readonly TensorSpec[], signature: ModelSignature): Record<string, unknown> {
  const infos: Record<string, unknown> = Object.create(null);
  for (const spec of specs) {
    const dims = signature.maxBatchSize > 0 ? [-1, ...spec.dims] : spec.dims;
    infos[spec.name] = {
      dtype: TF_TYPES[spec.datatype],
      // 64-bit integers are strings in protobuf's JSON form.
      tensor_shape: { dim: dims.map((size) => ({ size: String(size), name: '' })), unknown_rank: false },
      name: `${spec.name}:0`,
    };
  }
  return infos;
}
