import type { Worker } from 'node:worker_threads';
import { SwitchyardError } from '../../shared/errors.ts';
import { startThread } from '../../shared/program-files.ts';
import type { NativeLoans } from '../../tensor/native.ts';
import type { ScanAnswer, ScanForm, Scanned, ScanOrder } from './messages.ts';
import { readAnswer } from './scan.ts';

/** Who waits for a body to be read. */
export interface ScanListener {
  /** False: it no longer waits, and hears nothing more. */
  wanted(): boolean;
  onScanned(scanned: Scanned): void;
  onRefused(error: unknown): void;
  /** It can only be read here. */
  onUnread(): void;
}

/** A body of 1 MiB takes some 4 ms: more of them would wait longer than their clients do. */
export const MOST_WAITING = 64;

interface Waiting {
  body: Uint8Array;
  form: ScanForm;
  listener: ScanListener;
}

/**
 * Has the twin read bodies on a thread beside the loop, started for the first one: one body at a time, in the order of the
 * calls. The thread reads the caller's memory: it holds no second copy. Answers in a turn of the loop to come.
 */
export class ScanBeside {
  private readonly native: NativeLoans;
  private waiting: Waiting[] = [];
  private current: (Waiting & { loan: number }) | undefined;
  private worker: Worker | undefined;

  constructor(native: NativeLoans) {
    this.native = native;
  }

  /** The body may not be changed until the answer. Refuses with `overloaded`, at once, where too many wait. */
  read(body: Uint8Array, form: ScanForm, listener: ScanListener): void {
    this.waiting = this.waiting.filter((one) => one.listener.wanted());
    if (this.waiting.length >= MOST_WAITING) {
      const message = 'too many large requests that are out of the ordinary, or wrong, wait to be read; retry later';
      listener.onRefused(new SwitchyardError('overloaded', message, { retryAfterMs: 1000 }));
      return;
    }
    this.waiting.push({ body, form, listener });
    if (this.current === undefined) this.startNext();
  }

  private startNext(): void {
    for (;;) {
      const next = this.waiting.shift();
      if (next === undefined) {
        this.worker?.unref();
        return;
      }
      if (!next.listener.wanted()) continue;
      const loan = this.native.lend(next.body);
      if (loan === 0) {
        next.listener.onUnread();
        continue;
      }
      this.current = { ...next, loan };
      this.worker ??= this.start();
      this.worker.ref();
      this.worker.postMessage({ loan, form: next.form } satisfies ScanOrder);
      return;
    }
  }

  private start(): Worker {
    const worker = startThread('protocol/scan/thread', 'scan');
    worker.on('message', (answer: ScanAnswer) => this.finish(answer));
    // 'exit' follows. Out of memory is such an error.
    worker.on('error', () => {});
    worker.on('exit', () => {
      this.worker = undefined;
      this.finish({
        kind: 'refused',
        code: 'internal',
        message: 'the thread that reads it ended',
        retryAfterMs: undefined,
      });
    });
    return worker;
  }

  private finish(answer: ScanAnswer): void {
    const { current } = this;
    if (current === undefined) return;
    this.current = undefined;
    this.native.takeBack(current.loan);
    // The thread goes on with the next one while this one is handed over.
    this.startNext();
    const { body, listener } = current;
    if (!listener.wanted()) return;
    if (answer.kind === 'unread') {
      listener.onUnread();
      return;
    }
    let scanned: Scanned;
    try {
      scanned = readAnswer(answer, body);
    } catch (error) {
      listener.onRefused(error);
      return;
    }
    listener.onScanned(scanned);
  }
}
