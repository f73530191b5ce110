import { SwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { ExecuteOptions, LoadSpec, RuntimeSignature } from '../backend.ts';
import { describeExit, type Forked, forkEntry } from './fork.ts';
import { watchMemory } from './memory-watch.ts';
import type { FromChild, ToChild } from './protocol.ts';
import { type PendingRequest, SingleRequest, StreamRequest } from './requests.ts';

export interface Limits {
  /** A load that takes longer is killed. */
  loadTimeoutMs: number;
  /** A child that owes an answer and is silent for longer is killed. */
  hangTimeoutMs: number;
  /** A child with more resident memory is killed; Infinity: no limit. */
  memoryLimitBytes: number;
}

/** With a limit, memory is looked at each second: a leak may be fast. Otherwise it is only a figure of the metrics. */
const MEMORY_LIMITED_MS = 1000;
const MEMORY_MS = 5000;
/** Processes that a model has started may hold its child's pipes open; they are not waited for any longer. */
const STRAYS_MS = 2000;

export interface Loaded {
  signature: RuntimeSignature;
  memoryBytes: number;
  /** Whether executeStream may be called. */
  streams: boolean;
}

interface LoadSettlement {
  resolve(loaded: Loaded): void;
  reject(error: Error): void;
}

/**
 * One child process with one loaded version, from fork to death. It is never restarted: the supervisor makes a new one.
 * Whatever ends the process rejects what is in flight with `unavailable`, and nothing else.
 */
export class IsolatedExecutor {
  readonly loaded: Promise<Loaded>;
  /** Settles when the process is gone and what it left behind is read, with how it ended. */
  readonly exited: Promise<string>;
  /** What the model in the child says: BackendModel's absence. */
  absence = '';
  onAbsence: () => void = () => {};
  readonly #model: string;
  readonly #limits: Limits;
  readonly #forked: Forked;
  /** In the order the child runs them. A cancelled request stays until the child has ended it. */
  readonly #pending = new Map<number, PendingRequest>();
  readonly #stopWatching: () => void;
  #cpuUs = 0;
  #watchdog: NodeJS.Timeout | undefined;
  #nextId = 1;
  #gone = '';
  #killedFor = '';
  readonly #settleLoad: LoadSettlement;

  /** `onMemory` is told the child's resident bytes every few seconds. */
  constructor(backend: string, spec: LoadSpec, limits: Limits, onMemory: (bytes: number) => void) {
    this.#model = spec.model;
    this.#limits = limits;
    this.#forked = forkEntry('backends/process/child');
    const child = this.#forked.process;
    let settle: LoadSettlement | undefined;
    this.loaded = new Promise((resolve, reject) => {
      settle = { resolve, reject };
    });
    this.#settleLoad = settle!;
    const timer = setTimeout(() => this.kill(`did not load within ${limits.loadTimeoutMs} ms`), limits.loadTimeoutMs);
    // Clearing must not make an unhandled rejection of its own; the caller handles `loaded`.
    this.loaded.then(
      () => clearTimeout(timer),
      () => clearTimeout(timer),
    );
    child.on('message', (message: FromChild) => this.#receive(message));
    this.exited = new Promise((resolve) => {
      child.once('error', (error) => this.#end(`could not be started: ${error.message}`, resolve));
      child.once('exit', (code, signal) => {
        const why = this.#killedFor || describeExit(code, signal);
        // Its last answers and words may still be in the channel and in the pipe until they close.
        const strays = setTimeout(() => this.#end(why, resolve), STRAYS_MS);
        child.once('close', () => {
          clearTimeout(strays);
          this.#end(why, resolve);
        });
      });
    });
    const limit = limits.memoryLimitBytes;
    const intervalMs = limit === Number.POSITIVE_INFINITY ? MEMORY_MS : MEMORY_LIMITED_MS;
    this.#stopWatching = watchMemory(this.pid, intervalMs, (bytes) => {
      if (bytes > limit) this.kill(`used ${bytes} bytes of memory, over its limit of ${limit}, and was killed`);
      else onMemory(bytes);
    });
    this.#send({ type: 'load', backend, spec });
  }

  get pid(): number {
    return this.#forked.process.pid ?? 0;
  }

  /** CPU seconds that the child used for its answers, since this was last asked. */
  takeCpuSeconds(): number {
    const seconds = this.#cpuUs / 1e6;
    this.#cpuUs = 0;
    return seconds;
  }

  get stderrTail(): string {
    return this.#forked.stderrTail();
  }

  /**
   * Input bytes are copied into the channel before this returns. Outputs each own their memory. When the signal fires
   * this rejects with cancelled at once, and the child drops the request if it has not begun it.
   */
  execute(inputs: Tensor[], options: ExecuteOptions): Promise<Tensor[]> {
    const request = new SingleRequest();
    const refusal = this.#refusal(options);
    if (refusal !== undefined) {
      request.fail(refusal);
      return request.outputs;
    }
    const id = this.#order(request, inputs, options, false);
    const { signal } = options;
    if (signal === undefined) return request.outputs;
    const abort = () => {
      request.fail(cancelled());
      this.#send({ type: 'cancel', id });
    };
    signal.addEventListener('abort', abort, { once: true });
    return request.outputs.finally(() => signal.removeEventListener('abort', abort));
  }

  /** As execute, with any number of responses. A reader that leaves early cancels the request. */
  async *executeStream(inputs: Tensor[], options: ExecuteOptions): AsyncIterable<Tensor[]> {
    const refusal = this.#refusal(options);
    if (refusal !== undefined) throw refusal;
    const request = new StreamRequest();
    const id = this.#order(request, inputs, options, true);
    const abort = () => request.cancel(cancelled());
    options.signal?.addEventListener('abort', abort, { once: true });
    try {
      for (let part = await request.next(); part !== undefined; part = await request.next()) {
        this.#send({ type: 'more', id });
        this.#watch();
        yield part;
      }
    } finally {
      options.signal?.removeEventListener('abort', abort);
      if (this.#pending.has(id)) {
        request.cancel(cancelled());
        this.#send({ type: 'cancel', id });
      }
    }
  }

  /** SIGKILL; `why` becomes the reason that callers and `exited` see. */
  kill(why: string): void {
    this.#killedFor ||= why;
    this.#forked.process.kill('SIGKILL');
  }

  /** Lets the child unload and leave, and kills it when it stays. */
  async unload(graceMs = 5000): Promise<void> {
    if (this.#gone !== '') return;
    this.#send({ type: 'unload' });
    const timer = setTimeout(() => this.kill('did not unload in time and was killed'), graceMs);
    await this.exited;
    clearTimeout(timer);
  }

  #send(message: ToChild): void {
    // A failed send means the process is going; its exit rejects everything that is pending.
    this.#forked.process.send(message, () => {});
  }

  #refusal({ signal }: ExecuteOptions): SwitchyardError | undefined {
    if (this.#gone !== '') return this.#unavailable(this.#gone);
    return signal?.aborted ? cancelled() : undefined;
  }

  #order(request: PendingRequest, inputs: Tensor[], options: ExecuteOptions, stream: boolean): number {
    const id = this.#nextId++;
    const { outputs, parameters, deadline } = options;
    this.#pending.set(id, request);
    if (this.#pending.size === 1) this.#watch();
    this.#send({ type: 'execute', id, inputs, outputs, parameters, deadline, stream });
    return id;
  }

  /** Gives the child its time anew: it has just been given work, or has just shown that it lives. */
  #watch(): void {
    clearTimeout(this.#watchdog);
    const [first] = this.#pending.values();
    if (first === undefined || !first.busy()) return;
    const limit = this.#limits.hangTimeoutMs;
    this.#watchdog = setTimeout(() => this.kill(`hung for ${limit} ms and was killed`), limit);
  }

  #receive(message: FromChild): void {
    if (message.type === 'absence') {
      this.absence = message.absence;
      this.onAbsence();
      return;
    }
    if (message.type === 'loaded') {
      const { signature, memoryBytes, streams } = message;
      this.#settleLoad.resolve({ signature, memoryBytes, streams });
      return;
    }
    if (message.type === 'error' && message.id === 0) {
      this.#settleLoad.reject(new SwitchyardError(message.code, message.message));
      return;
    }
    this.#cpuUs += message.cpuUs;
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    if (message.type === 'part') pending.part(message.outputs.map(ownBytes));
    else {
      this.#pending.delete(message.id);
      if (message.type === 'error') pending.fail(new SwitchyardError(message.code, message.message));
      else pending.done(message.type === 'result' ? message.outputs.map(ownBytes) : undefined);
    }
    this.#watch();
  }

  #end(why: string, settle: (why: string) => void): void {
    if (this.#gone !== '') return;
    this.#gone = why;
    clearTimeout(this.#watchdog);
    this.#stopWatching();
    this.#settleLoad.reject(this.#unavailable(`${why} while loading`));
    for (const pending of this.#pending.values()) pending.fail(this.#unavailable(why));
    this.#pending.clear();
    settle(why);
  }

  #unavailable(why: string): SwitchyardError {
    return new SwitchyardError('unavailable', `model "${this.#model}": its process ${why}`, { retryAfterMs: 1000 });
  }
}

function cancelled(): SwitchyardError {
  return new SwitchyardError('cancelled', 'the request was cancelled');
}

/** Tensors of one message are views of the channel's read buffer; transferring one would take the others along. */
function ownBytes(tensor: Tensor): Tensor {
  return { ...tensor, data: new Uint8Array(tensor.data) };
}
