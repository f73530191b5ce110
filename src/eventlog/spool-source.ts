import type { MonitorSource, MonitorStream } from '../monitoring/stream.ts';
import type { LogRecord } from './record.ts';
import { decodeSpooled } from './sinks/decode.ts';
import type { SpoolRecord } from './spool/format.ts';
import type { Position, Spool } from './spool/spool.ts';

/** Shown in one go: what rings wait meanwhile. */
const STEP_RECORDS = 1000;

/**
 * Shows monitors what the spool has, in its order and each record once, and knows where it stands. What they have not kept
 * yet is shown again after a restart, so its segments are asked for until then.
 */
export class SpoolSource implements MonitorSource {
  readonly name = 'log';
  private readonly spool: Spool;
  private readonly stream: MonitorStream;
  private at: Position;
  private saved: Position | undefined;

  /** Opens what monitors kept where `kept` says that there is some: nothing may have been appended before that. */
  constructor(spool: Spool, stream: MonitorStream, kept: boolean) {
    this.spool = spool;
    this.stream = stream;
    this.at = spool.end;
    stream.follow(this, kept);
  }

  place(): Position {
    return this.at;
  }

  begin(place: unknown): void {
    const { segment, offset, record } = place as Position;
    // Of a spool that was deleted or lost its end: the same numbers would be of other records.
    if (record > this.spool.end.record) return;
    this.at = { segment, offset, record };
    this.saved = this.at;
  }

  kept(place: unknown): void {
    if (place !== undefined) this.saved = place as Position;
  }

  /** Behind it records are needed. Undefined: none are. */
  get released(): Position | undefined {
    return this.stream.active || !this.stream.planned ? this.saved : undefined;
  }

  /** Shows the next records. True: there are more. Never throws. */
  step(now: number): boolean {
    const { spool, stream } = this;
    if (!stream.active) {
      // What comes before monitors are known is shown to them, too.
      if (stream.planned) this.at = spool.end;
      return false;
    }
    if (this.at.record === spool.end.record) return false;
    let read: ReturnType<Spool['read']>;
    try {
      read = spool.read(this.at, STEP_RECORDS);
    } catch {
      // The disk refuses: the spool tells of it, and later on they may be there.
      return false;
    }
    this.show(read.records);
    this.at = read.next;
    stream.settle(now);
    return this.at.record < spool.end.record;
  }

  /** In their order: labels lie between the requests. */
  private show(spooled: readonly SpoolRecord[]): void {
    let requests: LogRecord[] = [];
    for (const each of spooled) {
      const record = decodeSpooled(each);
      if (record === undefined) continue;
      if ('features' in record) {
        requests.push(record);
        continue;
      }
      this.stream.consume(requests);
      requests = [];
      this.stream.feedback([record]);
    }
    this.stream.consume(requests);
  }
}
