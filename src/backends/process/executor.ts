import { SwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { ExecuteOptions, LoadSpec, RuntimeSignature } from '../backend.ts';
import { describeExit, type Forked, forkEntry } from './fork.ts';
import type { FromChild, ToChild } from './protocol.ts';

export interface Limits {
  /** A load that takes longer is killed. */
  loadTimeoutMs: number;
  /** An execution that takes longer is killed together with its process. */
  hangTimeoutMs: number;
}

export interface Loaded {
  signature: RuntimeSignature;
  memoryBytes: number;
}

interface Pending {
  resolve(outputs: Tensor[]): void;
  reject(error: SwitchyardError): void;
  timer: NodeJS.Timeout;
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
  /** Settles when the process is gone, with how it ended. */
  readonly exited: Promise<string>;
  readonly #model: string;
  readonly #limits: Limits;
  readonly #forked: Forked;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #gone = '';
  #killedFor = '';
  readonly #settleLoad: LoadSettlement;

  constructor(backend: string, spec: LoadSpec, limits: Limits) {
    this.#model = spec.model;
    this.#limits = limits;
    this.#forked = forkEntry('./child', import.meta.url);
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
      child.once('exit', (code, signal) => this.#end(this.#killedFor || describeExit(code, signal), resolve));
    });
    this.#send({ type: 'load', backend, spec });
  }

  get pid(): number {
    return this.#forked.process.pid ?? 0;
  }

  get stderrTail(): string {
    return this.#forked.stderrTail();
  }

  /** Input bytes are copied into the channel before this returns. Outputs each own their memory. */
  execute(inputs: Tensor[], options: ExecuteOptions): Promise<Tensor[]> {
    if (this.#gone !== '') return Promise.reject(this.#unavailable(this.#gone));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const limit = this.#limits.hangTimeoutMs;
      const timer = setTimeout(() => this.kill(`hung for ${limit} ms and was killed`), limit);
      this.#pending.set(id, { resolve, reject, timer });
      this.#send({ type: 'execute', id, inputs, outputs: options.outputs, parameters: options.parameters });
    });
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

  #receive(message: FromChild): void {
    if (message.type === 'loaded') {
      this.#settleLoad.resolve({ signature: message.signature, memoryBytes: message.memoryBytes });
      return;
    }
    if (message.type === 'error' && message.id === 0) {
      this.#settleLoad.reject(new SwitchyardError(message.code, message.message));
      return;
    }
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    this.#pending.delete(message.id);
    clearTimeout(pending.timer);
    if (message.type === 'error') pending.reject(new SwitchyardError(message.code, message.message));
    else pending.resolve(message.outputs.map(ownBytes));
  }

  #end(why: string, settle: (why: string) => void): void {
    if (this.#gone !== '') return;
    this.#gone = why;
    this.#settleLoad.reject(this.#unavailable(`${why} while loading`));
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(this.#unavailable(why));
    }
    this.#pending.clear();
    settle(why);
  }

  #unavailable(why: string): SwitchyardError {
    return new SwitchyardError('unavailable', `model "${this.#model}": its process ${why}`, { retryAfterMs: 1000 });
  }
}

/** Tensors of one message are views of the channel's read buffer; transferring one would take the others along. */
function ownBytes(tensor: Tensor): Tensor {
  return { ...tensor, data: new Uint8Array(tensor.data) };
}
