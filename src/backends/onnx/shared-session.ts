import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { InferenceSession } from 'onnxruntime-node';
import { type NativeSessions, native, nativeProblem, type OrtValueInfo } from '../../tensor/native.ts';

/** A loaded model. Other threads may run on the same one: it is loaded once for the process. */
export interface SharedSession {
  readonly inputs: OrtValueInfo[];
  readonly outputs: OrtValueInfo[];
  /** False: another thread had it loaded, so that its weights cost nothing more. */
  readonly fresh: boolean;
  /** As ortRun of native/src/ort_addon.cc. Throws ONNX Runtime's message. */
  run(plan: Float64Array, inputs: Uint8Array[]): ArrayBuffer[];
  close(): void;
}

/** Why the addon cannot open ONNX Runtime here, or '' when it has. Each thread asks once. */
let problem: string | undefined;

export function sharedProblem(): string {
  problem ??= openLibrary();
  return problem;
}

function openLibrary(): string {
  if (native === undefined) return nativeProblem || 'SWITCHYARD_NATIVE=off';
  const file = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  const folder = join(dirname(file), 'bin/napi-v6', process.platform, process.arch);
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return `onnxruntime-node has no library for ${process.platform}-${process.arch}`;
  }
  // The very file that onnxruntime-node loads, so that both share one runtime: libonnxruntime.so.1, or .1.30.0.dylib.
  const name = names.find((each) => /^libonnxruntime\.(so\.\d+|[\d.]+dylib)$/.test(each));
  if (name === undefined) return `there is no ONNX Runtime library in ${folder}`;
  const failed = native.ortOpen(join(folder, name), version);
  return failed === '' ? '' : `ONNX Runtime's library cannot be used: ${failed}`;
}

const GRAPH_LEVELS: Readonly<Record<string, number>> = { disabled: 0, basic: 1, extended: 2, layout: 3, all: 99 };

/**
 * Loads `path`, or takes the session that another thread of this process has for the same files (`identity`) and options.
 * Blocks the thread. Throws ONNX Runtime's own message, as an Error. sharedProblem() must have been ''.
 */
export function openShared(path: string, identity: string, options: InferenceSession.SessionOptions): SharedSession {
  const addon: NativeSessions = native!;
  const numbers = Int32Array.of(
    options.intraOpNumThreads ?? 1,
    options.interOpNumThreads ?? 1,
    GRAPH_LEVELS[options.graphOptimizationLevel ?? 'all'],
    options.logSeverityLevel ?? 4,
    options.executionMode === 'parallel' ? 1 : 0,
    options.enableMemPattern === false ? 0 : 1,
    options.enableCpuMemArena === false ? 0 : 1,
  );
  const entries = Object.entries((options.extra ?? {}) as Record<string, string>).flat();
  const key = JSON.stringify([path, identity, [...numbers], entries]);
  const { session, fresh, inputs, outputs } = addon.ortLoad(key, path, numbers, entries);
  return {
    inputs,
    outputs,
    fresh,
    run: (plan, tensors) => addon.ortRun(session, plan, tensors),
    close: () => addon.ortClose(session),
  };
}
