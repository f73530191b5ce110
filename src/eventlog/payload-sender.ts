import { createHash } from 'node:crypto';
import type { Logger } from '../telemetry/logging.ts';
import { type PayloadStore, payloadKey } from './payloads.ts';
import type { ObjectStore } from './sinks/store.ts';

const MEDIA_TYPE = 'application/vnd.apache.avro';
/** Sent at a time: each is in memory meanwhile. */
const LANES = 4;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;

/**
 * Carries payloads from the disk to a bucket, on the log thread: a file is deleted when its object is there. While the
 * bucket is away files wait, as long as there is room for them; records do not.
 */
export class PayloadSender {
  sent = 0;
  errors = 0;
  lastError = '';
  private readonly store: PayloadStore;
  private readonly objects: ObjectStore;
  private readonly log: Logger;
  private readonly taken = new Set<string>();
  private lanes = 0;
  private pauseMs = 0;
  private stopping = false;
  /** Ends pauses. */
  private readonly wakers = new Set<() => void>();
  private done: (() => void) | undefined;

  /** @param objects is this sender's from now on */
  constructor(store: PayloadStore, objects: ObjectStore, log: Logger) {
    this.store = store;
    this.objects = objects;
    this.log = log;
  }

  /** There may be something to send. Costs next to nothing where there is not. */
  notify(): void {
    while (!this.stopping && this.lanes < LANES) {
      const hex = this.store.oldest(this.taken);
      if (hex === undefined) return;
      this.taken.add(hex);
      this.lanes++;
      void this.lane(hex);
    }
  }

  /** Sends what it can within `ms`; the rest is sent after the next start. */
  async stop(ms: number): Promise<void> {
    this.notify();
    this.stopping = true;
    for (const wake of this.wakers) wake();
    if (this.lanes > 0) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, ms);
      });
      const done = new Promise<void>((resolve) => {
        this.done = resolve;
      });
      await Promise.race([done, late]);
      clearTimeout(timer);
    }
    await this.objects.close();
  }

  private async lane(first: string): Promise<void> {
    for (let hex: string | undefined = first; hex !== undefined; ) {
      const sent = await this.send(hex);
      this.taken.delete(hex);
      if (!sent) {
        if (this.stopping) break;
        await this.pause();
      }
      hex = this.store.oldest(this.taken);
      if (hex !== undefined) this.taken.add(hex);
    }
    if (--this.lanes === 0) this.done?.();
  }

  /** False: it is to be tried again. Never rejects. */
  private async send(hex: string): Promise<boolean> {
    try {
      const bytes = await this.store.read(hex);
      if (createHash('sha256').update(bytes).digest('hex') !== hex) {
        this.store.remove(hex);
        throw new Error(`payload ${hex} is damaged on the disk, and is not sent`);
      }
      await this.objects.put(payloadKey(hex), bytes, MEDIA_TYPE);
      this.store.remove(hex);
      this.sent++;
      this.pauseMs = 0;
      this.lastError = '';
      return true;
    } catch (error) {
      // Room was needed for others.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
      this.errors++;
      const { message } = error as Error;
      if (message !== this.lastError) this.log.warn({ err: error }, 'a payload waits for its bucket');
      this.lastError = message;
      return false;
    }
  }

  private pause(): Promise<void> {
    this.pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, 2 * this.pauseMs));
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.wakers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, this.pauseMs);
      this.wakers.add(wake);
    });
  }
}
