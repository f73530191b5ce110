import type { SwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { STREAM_WINDOW } from './protocol.ts';

/** A request the child has not ended yet, as seen by the parent. */
export interface PendingRequest {
  /** One response of a stream. */
  part(outputs: Tensor[]): void;
  /** The only response, or, without outputs, the end of a stream. */
  done(outputs: Tensor[] | undefined): void;
  fail(error: SwitchyardError): void;
  /** False while a stream waits for its reader: then the child's silence is no hang. */
  busy(): boolean;
}

/** A request with one response. */
export class SingleRequest implements PendingRequest {
  readonly outputs: Promise<Tensor[]>;
  #resolve: (outputs: Tensor[]) => void = () => {};
  #reject: (error: SwitchyardError) => void = () => {};

  constructor() {
    this.outputs = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  part(): void {}

  done(outputs: Tensor[] | undefined): void {
    this.#resolve(outputs ?? []);
  }

  fail(error: SwitchyardError): void {
    this.#reject(error);
  }

  busy(): boolean {
    return true;
  }
}

/** A request with any number of responses, kept here until the reader takes them. */
export class StreamRequest implements PendingRequest {
  readonly #parts: Tensor[][] = [];
  #ended = false;
  #error: SwitchyardError | undefined;
  #wake: () => void = () => {};

  part(outputs: Tensor[]): void {
    if (this.#ended) return;
    this.#parts.push(outputs);
    this.#wake();
  }

  done(): void {
    this.#ended = true;
    this.#wake();
  }

  fail(error: SwitchyardError): void {
    if (this.#ended) return;
    this.#error = error;
    this.#ended = true;
    this.#wake();
  }

  busy(): boolean {
    return this.#parts.length < STREAM_WINDOW;
  }

  /** The next response; undefined: there are no more. Rejects with what ended the stream, after what came before it. */
  async next(): Promise<Tensor[] | undefined> {
    while (this.#parts.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const part = this.#parts.shift();
    if (part === undefined && this.#error !== undefined) throw this.#error;
    return part;
  }

  /** A cancelled reader gets the error next, not what still waits here. */
  cancel(error: SwitchyardError): void {
    this.#parts.length = 0;
    this.fail(error);
  }
}
