import { getPriority, setPriority } from 'node:os';
import type { LoadSpec } from '../../backends/backend.ts';
import { describeExit, type Forked, forkEntry } from '../../backends/process/fork.ts';
import { backendName } from '../../backends/registry.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Preflight, PreflightReport } from '../loader.ts';
import type { PreflightMessage, PreflightOrder } from './protocol.ts';

/** As that of `models.preflightTimeoutMs`. */
const DEFAULT_TIMEOUT_MS = 60_000;
/** How long a process waits for a further model. */
const IDLE_MS = 1000;
/**
 * By how much a proving process is nicer than this one: about a tenth of a busy core's time. The lowest priority would leave
 * it a hundredth, and on a server without a pause a sound version would not be proven within its time.
 */
const NICER_BY = 10;

interface IdleChild {
  forked: Forked;
  timer: NodeJS.Timeout;
  leave: () => void;
}

export interface PreflightOptions {
  /** Loading and checking together; a version's parameter `switchyard.load_timeout_ms` overrides it. */
  timeoutMs?: number;
  /** What a process that crashed or hung wrote to stderr last: for the log, never for clients. */
  onCrash?: (spec: LoadSpec, reason: string, stderrTail: string) => void;
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
  readonly #idle: IdleChild[] = [];

  constructor({ timeoutMs = DEFAULT_TIMEOUT_MS, onCrash = () => {}, fork = forkChild }: PreflightOptions = {}) {
    this.#timeoutMs = timeoutMs;
    this.#onCrash = onCrash;
    this.#fork = fork;
  }

  /**
   * Resolves when the version loaded, warmed up and answered consistently.
   * @throws SwitchyardError the child's own reason; failed_precondition "crashed with SIGSEGV while loading version 3";
   * deadline_exceeded when it took too long
   */
  run(spec: LoadSpec): Promise<PreflightReport> {
    const backend = backendName(spec.config.backend);
    const timeoutMs = timeoutOf(spec, this.#timeoutMs);
    const reusable = backend === 'onnxruntime';
    return new Promise((resolve, reject) => {
      const forked = (reusable ? this.#takeIdle() : undefined) ?? this.#fork();
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
        if (message.type === 'passed' && reusable) this.#keep(forked);
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

  #takeIdle(): Forked | undefined {
    const idle = this.#idle.pop();
    if (idle === undefined) return undefined;
    const { forked, timer, leave } = idle;
    clearTimeout(timer);
    forked.process.off('exit', leave);
    forked.process.ref();
    forked.process.channel?.ref();
    return forked;
  }

  #keep(forked: Forked): void {
    const { process: child } = forked;
    const leave = () => {
      const at = this.#idle.findIndex((idle) => idle.forked === forked);
      if (at >= 0) clearTimeout(this.#idle.splice(at, 1)[0].timer);
      child.kill('SIGKILL');
    };
    child.once('exit', leave);
    this.#idle.push({ forked, timer: setTimeout(leave, IDLE_MS).unref(), leave });
    // It ends with this process, and does not keep it.
    child.unref();
    child.channel?.unref();
  }
}

/** What `fork` is unless told otherwise. The process gives way to those that serve. */
export function forkChild(): Forked {
  const forked = forkEntry('models/preflight/child');
  // One that is ended already cannot be ended again: no news to anybody.
  forked.process.on('error', () => {});
  // Before it has made threads, which take over what it has; one that did not start has no id.
  if (forked.process.pid !== undefined) setPriority(forked.process.pid, Math.min(19, getPriority() + NICER_BY));
  return forked;
}

function timeoutOf(spec: LoadSpec, fallback: number): number {
  const value = Number(spec.config.parameters['switchyard.load_timeout_ms'] ?? fallback);
  return value > 0 ? Math.min(value, 86_400_000) : fallback;
}
