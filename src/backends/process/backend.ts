import { ExponentialBackoff, type IBackoff } from 'cockatiel';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Backend, BackendModel, ExecuteOptions, LoadSpec, RuntimeSignature } from '../backend.ts';
import { hangTimeoutMs, milliseconds } from '../time-limits.ts';
import { IsolatedExecutor, type Limits, type Loaded } from './executor.ts';

const DEFAULT_LIMITS = {
  loadTimeoutMs: 120_000,
  memoryLimitBytes: Number.POSITIVE_INFINITY,
};
/** A child that has served this long starts over at the shortest back-off. */
const STABLE_MS = 60_000;

export interface CrashEvent {
  model: string;
  version: string;
  pid: number;
  /** "crashed with SIGSEGV", "hung for 30000 ms and was killed". */
  reason: string;
  /** Crashes of this loaded version so far. */
  count: number;
  /** End of the child's stderr: for the log only. */
  stderrTail: string;
}

interface ChildEvents {
  onCrash(event: CrashEvent): void;
  /** The child's resident bytes, every few seconds while one lives. */
  onMemory(bytes: number): void;
}

/**
 * Runs any blocking backend in a child process for each loaded version, so that a crash costs the requests in flight
 * and nothing else. The child comes back by itself after a back-off; `onCrash` lets the lifecycle quarantine the version.
 */
export class ProcessBackend implements Backend {
  readonly name: string;
  readonly blocking = false;
  readonly #backend: string;
  readonly #events: ChildEvents;

  /** @param backend canonical name of the backend to run inside the child */
  constructor(
    backend: string,
    onCrash: (event: CrashEvent) => void = () => {},
    onMemory: (bytes: number) => void = () => {},
  ) {
    this.name = `process:${backend}`;
    this.#backend = backend;
    this.#events = { onCrash, onMemory };
  }

  /**
   * Parameters: `switchyard.hang_timeout_ms` (30000), `switchyard.load_timeout_ms` (120000),
   * `switchyard.memory_limit_bytes` (none): the resident memory, looked at each second.
   */
  async load(spec: LoadSpec): Promise<BackendModel> {
    const limits: Limits = {
      loadTimeoutMs: milliseconds(spec, 'switchyard.load_timeout_ms', DEFAULT_LIMITS.loadTimeoutMs),
      hangTimeoutMs: hangTimeoutMs(spec),
      memoryLimitBytes: memoryLimit(spec),
    };
    const executor = new IsolatedExecutor(this.#backend, spec, limits, this.#events.onMemory);
    try {
      const loaded = await executor.loaded;
      return new IsolatedModel(this.#backend, spec, limits, this.#events, executor, loaded);
    } catch (error) {
      executor.kill('failed to load');
      await executor.exited;
      throw error;
    }
  }
}

/** A loaded version across the lives of its children. */
export class IsolatedModel implements BackendModel {
  readonly signature: RuntimeSignature;
  readonly concurrency = 1;
  readonly memoryBytes: number;
  executeStream?: (inputs: Tensor[], options: ExecuteOptions) => AsyncIterable<Tensor[]>;
  readonly #backend: string;
  readonly #spec: LoadSpec;
  readonly #limits: Limits;
  readonly #events: ChildEvents;
  #executor: IsolatedExecutor | undefined;
  #crashes = 0;
  #startedAt = performance.now();
  #backoff: IBackoff<unknown> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #starting: IsolatedExecutor | undefined;
  #unloading = false;
  /** How the last child ended. */
  #ended = '';
  #absenceChanged: () => void = () => {};

  constructor(
    backend: string,
    spec: LoadSpec,
    limits: Limits,
    events: ChildEvents,
    executor: IsolatedExecutor,
    loaded: Loaded,
  ) {
    this.#backend = backend;
    this.#spec = spec;
    this.#limits = limits;
    this.#events = events;
    this.signature = loaded.signature;
    this.memoryBytes = loaded.memoryBytes;
    if (loaded.streams) this.executeStream = this.#stream;
    this.#adopt(executor);
  }

  /** Process id of the serving child, 0 while there is none. */
  get pid(): number {
    return this.#executor?.pid ?? 0;
  }

  get crashes(): number {
    return this.#crashes;
  }

  absence(): string {
    return this.#executor?.absence ?? `its process ${this.#ended}; it is being started again`;
  }

  watchAbsence(changed: () => void): void {
    this.#absenceChanged = changed;
  }

  execute(inputs: Tensor[], options: ExecuteOptions): Promise<Tensor[]> {
    return this.#executor?.execute(inputs, options) ?? Promise.reject(this.#refusal());
  }

  takeCpuSeconds(): number {
    return this.#executor?.takeCpuSeconds() ?? 0;
  }

  async *#stream(inputs: Tensor[], options: ExecuteOptions): AsyncIterable<Tensor[]> {
    if (this.#executor === undefined) throw this.#refusal();
    yield* this.#executor.executeStream(inputs, options);
  }

  /** Why there is no child to ask. */
  #refusal(): SwitchyardError {
    const message = this.#unloading
      ? `model "${this.#spec.model}" is unloaded`
      : `model "${this.#spec.model}": its process ended ${this.#crashes} times and is being started again`;
    return new SwitchyardError('unavailable', message, { retryAfterMs: 1000 });
  }

  async unload(): Promise<void> {
    this.#unloading = true;
    clearTimeout(this.#timer);
    this.#starting?.kill('was unloaded');
    const executor = this.#executor;
    this.#executor = undefined;
    await executor?.unload();
    await this.#starting?.exited;
  }

  #adopt(executor: IsolatedExecutor): void {
    this.#executor = executor;
    this.#startedAt = performance.now();
    executor.onAbsence = () => this.#absenceChanged();
    this.#absenceChanged();
    void executor.exited.then((reason) => {
      if (this.#unloading) return;
      this.#executor = undefined;
      if (performance.now() - this.#startedAt > STABLE_MS) this.#backoff = undefined;
      this.#crashed(executor, reason);
    });
  }

  #crashed(executor: IsolatedExecutor, reason: string): void {
    this.#crashes++;
    this.#ended = reason;
    this.#absenceChanged();
    const { model, version } = this.#spec;
    const { pid, stderrTail } = executor;
    this.#events.onCrash({ model, version, pid, reason, count: this.#crashes, stderrTail });
    if (this.#unloading) return;
    this.#backoff =
      this.#backoff?.next(undefined) ?? new ExponentialBackoff({ initialDelay: 100, maxDelay: 30_000 }).next();
    this.#timer = setTimeout(() => void this.#restart(), this.#backoff.duration);
  }

  async #restart(): Promise<void> {
    const executor = new IsolatedExecutor(this.#backend, this.#spec, this.#limits, this.#events.onMemory);
    this.#starting = executor;
    try {
      await executor.loaded;
      this.#starting = undefined;
      if (this.#unloading) executor.kill('was unloaded');
      else this.#adopt(executor);
    } catch (error) {
      executor.kill(error instanceof Error ? error.message : String(error));
      const reason = await executor.exited;
      this.#starting = undefined;
      if (!this.#unloading) this.#crashed(executor, reason);
    }
  }
}

function memoryLimit(spec: LoadSpec): number {
  const key = 'switchyard.memory_limit_bytes';
  const text = spec.config.parameters[key];
  if (text === undefined) return DEFAULT_LIMITS.memoryLimitBytes;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw invalidArgument(`parameter "${key}" of model "${spec.model}" is "${text}"; allowed: a whole number of bytes`);
  return value;
}
