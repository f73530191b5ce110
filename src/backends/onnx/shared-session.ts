import type { InferenceSession } from 'onnxruntime-node';
import { startOn } from '../../tensor/cores.ts';
import { type NativeSessions, native, nativeProblem, type OrtValueInfo } from '../../tensor/native.ts';
import { carriedRuntime, runtimeLibrary } from './cuda-provider.ts';
import type { ProviderPlan } from './gpu-options.ts';
import type { SessionPlan } from './options.ts';

/** A loaded model. Other threads may run on the same one: it is loaded once for the process. */
export interface SharedSession {
  readonly inputs: OrtValueInfo[];
  readonly outputs: OrtValueInfo[];
  /** False: another thread had it loaded, so that its weights cost nothing more. */
  readonly fresh: boolean;
  /** As ortRun of native/src/ort_addon.cc. Throws ONNX Runtime's message. */
  run(plan: Float64Array, inputs: Uint8Array[]): ArrayBuffer[];
  /**
   * As `run` on another thread, which gives way to those that serve; what comes out is dropped. Neither array may be changed
   * meanwhile. Rejects with ONNX Runtime's message.
   */
  rehearse(plan: Float64Array, inputs: Uint8Array[]): Promise<void>;
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
  try {
    const runtime = carriedRuntime();
    // The very file that onnxruntime-node loads, or a link to it beside the GPU providers: the process has one runtime.
    const library = process.env.SWITCHYARD_ONNX_LIBRARY || runtimeLibrary(runtime);
    const threads = Number(process.env.SWITCHYARD_ONNX_THREADS || 1);
    const open = () => native!.ortOpen(library, runtime.version, threads, threads);
    const failed = startOn(threads > 1 ? 'runs' : 'shared', open);
    return failed === '' ? '' : `ONNX Runtime's library cannot be used: ${failed}`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Session options as the addon takes them. `threads`: the session has its own, else it runs on those of the process. */
export function nativeOptions(options: InferenceSession.SessionOptions, threads: 'own' | 'shared') {
  const numbers = Int32Array.of(
    options.intraOpNumThreads ?? 1,
    options.interOpNumThreads ?? 1,
    GRAPH_LEVELS[options.graphOptimizationLevel ?? 'all'],
    options.logSeverityLevel ?? 4,
    options.executionMode === 'parallel' ? 1 : 0,
    options.enableMemPattern === false ? 0 : 1,
    options.enableCpuMemArena === false ? 0 : 1,
    threads === 'shared' ? 1 : 0,
  );
  return { numbers, entries: Object.entries((options.extra ?? {}) as Record<string, string>).flat() };
}

const GRAPH_LEVELS: Readonly<Record<string, number>> = { disabled: 0, basic: 1, extended: 2, layout: 3, all: 99 };

/** Providers as the addon takes them: name, then keys and values. `device`: the GPU. */
export function nativeProviders(providers: readonly ProviderPlan[], device: number): string[][] {
  return providers.map(({ name, options }) => [
    name,
    ...Object.entries({ device_id: String(device), ...options }).flat(),
  ]);
}

/** Libraries of custom operators as the addon takes them beside providers. */
export function nativeOperators(libraries: readonly string[]): string[][] {
  return libraries.length === 0 ? [] : [['operators', ...libraries]];
}

/**
 * Loads `path`, or takes the session that another thread of this process has for the same files (`identity`) and options.
 * `providers`: as nativeProviders gives them, none for the CPU. On a GPU it blocks the thread, else another one loads it, which
 * gives way to those that serve. `operators`: as nativeOperators gives them. Rejects with ONNX Runtime's own message, as an Error. sharedProblem() must have been ''.
 */
export async function openShared(
  path: string,
  identity: string,
  { options, ownThreads }: SessionPlan,
  providers: string[][] = [],
  operators: string[][] = [],
): Promise<SharedSession> {
  const addon: NativeSessions = native!;
  const { numbers, entries } = nativeOptions(options, ownThreads ? 'own' : 'shared');
  const extensions = [...operators, ...providers];
  const key = JSON.stringify([path, identity, [...numbers], entries, extensions]);
  const load = providers.length === 0 ? addon.ortLoadAside : addon.ortLoad;
  const { session, fresh, inputs, outputs } = await startOn('shared', () =>
    load(key, path, numbers, entries, extensions),
  );
  return {
    inputs,
    outputs,
    fresh,
    run: (plan, tensors) => addon.ortRun(session, plan, tensors),
    rehearse: (plan, tensors) => startOn('shared', () => addon.ortRehearse(session, plan, tensors)),
    close: () => addon.ortClose(session),
  };
}
