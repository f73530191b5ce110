/** Which way leads into ONNX Runtime: our addon, onnxruntime-node, or the addon where it can. */
export type OnnxRuntimeWay = 'native' | 'node' | 'auto';

const WAYS: readonly string[] = ['native', 'node', 'auto'];

/** Reads SWITCHYARD_ONNX_RUNTIME, which serve sets from `models.onnxRuntime`: threads and child processes inherit it. */
export function onnxRuntimeWay(value: string | undefined = process.env.SWITCHYARD_ONNX_RUNTIME): OnnxRuntimeWay {
  if (value === undefined || value === '') return 'auto';
  if (!WAYS.includes(value)) throw new Error(`SWITCHYARD_ONNX_RUNTIME is "${value}"; allowed are ${WAYS.join(', ')}`);
  return value as OnnxRuntimeWay;
}
