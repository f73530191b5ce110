import type { LoadSpec } from '../../backends/backend.ts';
import { describeExit, type Forked } from '../../backends/process/fork.ts';
import { backendName } from '../../backends/registry.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Preflight, PreflightReport } from '../loader.ts';
import { forkChild, ProvingProcesses } from './processes.ts';
import type { PreflightMessage, PreflightOrder } from './protocol.ts';

/** As that of `models.preflightTimeoutMs`. */
const DEFAULT_TIMEOUT_MS = 60_000;
/** The backend whose models leave nothing behind in the process that has proven them. */
const REUSABLE = 'onnxruntime';

export interface PreflightOptions {
  /** Loading and checking together; a version's parameter `switchyard.load_timeout_ms` overrides it. */
  timeoutMs?: number;
  /** What a process that crashed or hung wrote to stderr last: for the log, never for clients. */
  onCrash?: (spec: LoadSpec, reason: string, stderrTail: string) => void;
  /** Whether a process stands ready for the next ONNX model, however long none has come. */
  spare?: boolean;
  /** Starts a process of child.ts. */
  fork?: () => Forked;
}

/**
 * Proves versions in child processes, which may crash, hang or eat memory without anyone else noticing. One that has
 * proven an ONNX model is asked again, since a process start costs more than most models; user code, which may leave
 * anything behind, always gets a process of its own.
 */
export class PreflightLauncher implements Preflight {
  readonly #timeoutMs: number;
  readonly #onCrash: (spec: LoadSpec, reason: string, stderrTail: string) => void;
  readonly #fork: () => Forked;
  readonly #processes: ProvingProcesses;

  constructor(options: PreflightOptions = {}) {
    const { timeoutMs = DEFAULT_TIMEOUT_MS, onCrash = () => {}, spare = false, fork = forkChild } = options;
    this.#timeoutMs = timeoutMs;
    this.#onCrash = onCrash;
    this.#fork = fork;
    this.#processes = new ProvingProcesses(fork, spare ? REUSABLE : '');
  }

  /**
   * Resolves when the version loaded, warmed up and answered consistently.
   * @throws SwitchyardError the child's own reason; failed_precondition "crashed with SIGSEGV while loading version 3";
   * deadline_exceeded when it took too long
   */
  run(spec: LoadSpec): Promise<PreflightReport> {
    const backend = backendName(spec.config.backend);
    const timeoutMs = timeoutOf(spec, this.#timeoutMs);
    const reusable = backend === REUSABLE;
    return new Promise((resolve, reject) => {
      const forked = reusable ? this.#processes.take() : this.#fork();
      const { process: child, stderrTail } = forked;
      let phase = 'loading';
      let settled = false;
      const settle = () => {
        settled = true;
        clearTimeout(timer);
        child.off('message', onMessage);
        child.off('close', onClose);
        child.off('error', onError);
      };
      const crash = (reason: string, code: 'failed_precondition' | 'deadline_exceeded') => {
        if (settled) return;
        settle();
        const text = `${reason} while ${phase} version ${spec.version}`;
        this.#onCrash(spec, text, stderrTail());
        reject(new SwitchyardError(code, text));
      };
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        crash(`took longer than ${timeoutMs} ms`, 'deadline_exceeded');
      }, timeoutMs);
      const onMessage = (message: PreflightMessage) => {
        if (message.type === 'checking') {
          phase = 'checking';
          return;
        }
        if (settled) return;
        settle();
        if (message.type === 'passed' && reusable) this.#processes.keep(forked);
        // A model whose native threads hold up the exit does not get to stay.
        else child.kill('SIGKILL');
        if (message.type === 'passed') resolve(message.report);
        else reject(new SwitchyardError(message.code, message.message));
      };
      const onClose = (code: number | null, signal: NodeJS.Signals | null) =>
        crash(describeExit(code, signal), 'failed_precondition');
      const onError = (error: Error) => crash(`could not be started (${error.message})`, 'failed_precondition');
      child.on('message', onMessage);
      // Not 'exit': an answer sent just before it may still be in the channel.
      child.once('close', onClose);
      child.once('error', onError);
      const order: PreflightOrder = { backend, spec };
      child.send(order, () => {});
    });
  }
}

function timeoutOf(spec: LoadSpec, fallback: number): number {
  const value = Number(spec.config.parameters['switchyard.load_timeout_ms'] ?? fallback);
  return value > 0 ? Math.min(value, 86_400_000) : fallback;
}
