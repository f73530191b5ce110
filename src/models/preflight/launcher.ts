import type { LoadSpec } from '../../backends/backend.ts';
import { describeExit, forkEntry } from '../../backends/process/fork.ts';
import { backendName } from '../../backends/registry.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Preflight, PreflightReport } from '../loader.ts';
import type { PreflightMessage, PreflightOrder } from './protocol.ts';

const DEFAULT_TIMEOUT_MS = 120_000;

export interface PreflightOptions {
  /** Loading and checking together; a version's parameter `switchyard.load_timeout_ms` overrides it. */
  timeoutMs?: number;
  /** What a process that crashed or hung wrote to stderr last: for the log, never for clients. */
  onCrash?: (spec: LoadSpec, reason: string, stderrTail: string) => void;
}

/** Proves a version in a fresh child process, which may crash, hang or eat memory without anyone else noticing. */
export class PreflightLauncher implements Preflight {
  readonly #timeoutMs: number;
  readonly #onCrash: (spec: LoadSpec, reason: string, stderrTail: string) => void;

  constructor({ timeoutMs = DEFAULT_TIMEOUT_MS, onCrash = () => {} }: PreflightOptions = {}) {
    this.#timeoutMs = timeoutMs;
    this.#onCrash = onCrash;
  }

  /**
   * Resolves when the version loaded, warmed up and answered consistently.
   * @throws SwitchyardError the child's own reason; failed_precondition "crashed with SIGSEGV while loading version 3";
   * deadline_exceeded when it took too long
   */
  run(spec: LoadSpec): Promise<PreflightReport> {
    const backend = backendName(spec.config.backend);
    const timeoutMs = timeoutOf(spec, this.#timeoutMs);
    return new Promise((resolve, reject) => {
      const { process: child, stderrTail } = forkEntry('./child', import.meta.url);
      let phase = 'loading';
      let settled = false;
      const crash = (reason: string, code: 'failed_precondition' | 'deadline_exceeded') => {
        if (settled) return;
        settled = true;
        clearTimeout(timer);
        const text = `${reason} while ${phase} version ${spec.version}`;
        this.#onCrash(spec, text, stderrTail());
        reject(new SwitchyardError(code, text));
      };
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        crash(`took longer than ${timeoutMs} ms`, 'deadline_exceeded');
      }, timeoutMs);
      child.on('message', (message: PreflightMessage) => {
        if (message.type === 'checking') {
          phase = 'checking';
          return;
        }
        if (settled) return;
        settled = true;
        clearTimeout(timer);
        // A model whose native threads hold up the exit does not get to stay.
        child.kill('SIGKILL');
        if (message.type === 'passed') resolve(message.report);
        else reject(new SwitchyardError(message.code, message.message));
      });
      child.once('error', (error) => crash(`could not be started (${error.message})`, 'failed_precondition'));
      // Not 'exit': an answer sent just before it may still be in the channel.
      child.once('close', (code, signal) => crash(describeExit(code, signal), 'failed_precondition'));
      const order: PreflightOrder = { backend, spec };
      child.send(order, () => {});
    });
  }
}

function timeoutOf(spec: LoadSpec, fallback: number): number {
  const value = Number(spec.config.parameters['switchyard.load_timeout_ms'] ?? fallback);
  return value > 0 ? Math.min(value, 86_400_000) : fallback;
}
