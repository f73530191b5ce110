import { createRequire } from 'node:module';
import type { InferenceSession } from 'onnxruntime-node';
import { startOn } from '../../tensor/cores.ts';

const require = createRequire(import.meta.url);

/**
 * A tensor as the native binding reads and writes it. The binding looks only at these fields, so a plain object spares
 * the validation of ort.Tensor's constructor.
 */
export interface NativeTensor {
  type: string;
  dims: number[];
  location: 'cpu';
  data: ArrayBufferView | string[];
}

export interface NativeValueInfo {
  name: string;
  isTensor: boolean;
  /** ONNX's TensorProto element type. */
  type: number;
  /** -1 where symbolic. */
  shape: number[];
}

/**
 * The binding under onnxruntime-node's InferenceSession. Its `run` returns the answer, where the public `run` defers
 * the same blocking call by a setImmediate and several promises without freeing the thread. Not a public interface of
 * the package: its version is pinned exactly, and onnx.test.ts runs every path over it.
 */
export interface NativeSession {
  loadModel(path: string, options: InferenceSession.SessionOptions): void;
  readonly inputMetadata: NativeValueInfo[];
  readonly outputMetadata: NativeValueInfo[];
  /** Feeds are read during the call only. A null in `fetches` asks for that output in freshly allocated memory. */
  run(
    feeds: Record<string, NativeTensor>,
    fetches: Record<string, null>,
    options: InferenceSession.RunOptions,
  ): Record<string, NativeTensor>;
  dispose(): void;
}

/** Loads `path` (external data is found beside it). Blocks the thread. Throws ONNX Runtime's own Error. */
export function openSession(path: string, options: InferenceSession.SessionOptions): NativeSession {
  // Not before it is needed: it brings ONNX Runtime from its own folder, where providers would be looked for ever after.
  const { binding, initOrt } =
    require('onnxruntime-node/dist/binding.js') as typeof import('onnxruntime-node/dist/binding.js');
  initOrt();
  const session = new binding.InferenceSession() as unknown as NativeSession;
  startOn('shared', () => session.loadModel(path, options));
  return session;
}
