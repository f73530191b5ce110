import type { Logger } from '../../telemetry/logging.ts';
import { LOST_BEFORE, REFUSED, SENT } from '../counts.ts';
import type { CursorFile } from '../spool/cursor.ts';
import type { Position, Spool } from '../spool/spool.ts';
import { drainRate } from './pace.ts';
import type { Sink } from './sink.ts';

export interface SinkFigures {
  name: string;
  kind: string;
  /** Records that waited when the process started. */
  recovered: number;
  sent: number;
  /** The other side will never take them. */
  refused: number;
  /** Evicted by the size limit, or damaged on the disk, before they were sent. */
  lost: number;
  backlog: number;
  errors: number;
  lastError: string;
  /** Since when something waits, in milliseconds; 0: nothing does. */
  lagMs: number;
}

export interface RunnerParts {
  spool: Spool;
  cursor: CursorFile;
  /** Records per second that requests make now. */
  arriving(): number;
  /** See counts.ts. */
  counts: Float64Array;
  /** Records that are in the spool since the process began. */
  spooled: number;
  log: Pick<Logger, 'info' | 'warn'>;
}

const FIRST_WAIT_MS = 100;
const LAST_WAIT_MS = 10_000;
const SAVE_MS = 1000;
const TICK_MS = 250;

/** Carries records from the spool to one sink, for ever: reads, sends, and moves the cursor when they have arrived. */
export class SinkRunner {
  readonly name: string;
  private readonly kind: string;
  private readonly sink: Sink;
  private readonly spool: Spool;
  private readonly cursor: CursorFile;
  private readonly arriving: () => number;
  private readonly counts: Float64Array;
  private readonly log: RunnerParts['log'];
  /** Everything before it has arrived. */
  private settled: Position;
  private saved: Position;
  private savedAt = 0;
  private readonly recovered: number;
  private errors = 0;
  private lastError = '';
  /** Of what is sent, but not settled. */
  private open = { sent: 0, refused: 0, lost: 0 };
  private waitingSince = 0;
  /** The program ends: nothing is held back. */
  private forced = false;
  private errorsInRow = 0;
  private wake: (() => void) | undefined;
  private stopping = false;
  private running: Promise<void> | undefined;

  constructor(name: string, kind: string, sink: Sink, { spool, cursor, arriving, counts, spooled, log }: RunnerParts) {
    this.log = log;
    this.name = name;
    this.kind = kind;
    this.sink = sink;
    this.spool = spool;
    this.cursor = cursor;
    this.arriving = arriving;
    this.counts = counts;
    const state = cursor.load();
    this.settled = state?.position ?? spool.oldest;
    // A spool that was deleted begins anew.
    if (this.settled.record > spool.end.record) this.settled = spool.oldest;
    this.saved = this.settled;
    // After a log thread that ended: also those that were sent, and come again since its cursor was older.
    const ended = counts[SENT] + counts[REFUSED] + counts[LOST_BEFORE];
    this.recovered = spool.end.record - this.settled.record + ended - spooled;
    sink.restore(state?.note, this.settled.record);
    // Before anything is sent: whoever finds no cursor would take it for a new sink, and send all of it again.
    if (state === undefined) this.persist();
  }

  start(): void {
    this.running = this.run();
  }

  /** Something was appended. */
  notify(): void {
    if (this.waitingSince === 0) this.waitingSince = Date.now();
    this.wake?.();
  }

  /** Up to here nothing is needed any more: it is on the disk that it was sent. */
  get released(): Position {
    return this.saved;
  }

  /** Number of the first record that has not arrived. */
  get arrived(): number {
    return this.settled.record;
  }

  /** Makes the cursor durable where it moved. */
  save(): void {
    if (this.saved.record === this.settled.record && this.saved.segment === this.settled.segment) return;
    this.persist();
  }

  private persist(): void {
    try {
      this.cursor.save({ position: this.settled, note: this.sink.note() });
      this.saved = this.settled;
    } catch (error) {
      // A full disk: what is sent twice after a crash is better than a log that stands still.
      this.failed(error);
    }
    this.savedAt = Date.now();
  }

  figures(): SinkFigures {
    const { name, kind, recovered, counts, errors, lastError, waitingSince } = this;
    const [sent, refused, lost] = counts;
    const backlog = this.spool.end.record - this.settled.record;
    const lagMs = backlog === 0 || waitingSince === 0 ? 0 : Date.now() - waitingSince;
    return { name, kind, recovered, sent, refused, lost, backlog, errors, lastError, lagMs };
  }

  /** Sends what there is, for at most `ms`, and ends. */
  async stop(ms: number): Promise<void> {
    const until = Date.now() + ms;
    const open = (): boolean => this.spool.end.record > this.settled.record && this.sink.waits !== true;
    while (Date.now() < until && open() && this.errorsInRow === 0) {
      this.forced = true;
      this.wake?.();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    this.stopping = true;
    this.wake?.();
    await Promise.race([this.running, new Promise((resolve) => setTimeout(resolve, 1000))]);
    this.save();
    await this.sink.close().catch((error: unknown) => this.failed(error));
  }

  private async run(): Promise<void> {
    let at = this.settled;
    while (!this.stopping) {
      try {
        at = await this.step(at);
        if (this.errorsInRow > 0) this.log.info({ sink: this.name }, 'a sink of the event log sends again');
        this.errorsInRow = 0;
      } catch (error) {
        this.failed(error);
        if (this.errorsInRow === 0)
          this.log.warn(
            { sink: this.name, reason: this.lastError },
            'a sink of the event log cannot send; records wait in the spool, and it is tried again',
          );
        this.open = { sent: 0, refused: 0, lost: 0 };
        at = this.settled;
        await this.pause(Math.min(FIRST_WAIT_MS * 2 ** this.errorsInRow++, LAST_WAIT_MS));
      }
      if (Date.now() - this.savedAt > SAVE_MS) this.save();
    }
  }

  private async step(at: Position): Promise<Position> {
    const { sink } = this;
    const { lingerMs = 0 } = sink;
    if (lingerMs > 0 && this.fewAt(at)) await this.pause(lingerMs, () => !this.fewAt(at));
    const begun = Date.now();
    const read = this.spool.read(at, sink.maxRecords);
    const { runs, count, next, lost } = read;
    if (count > 0 || lost > 0) {
      const batch = {
        runs,
        from: at,
        next,
        get records() {
          return read.records;
        },
      };
      const { settled, refused } = await sink.send(batch);
      this.open.sent += count - refused;
      this.open.refused += refused;
      this.open.lost += lost;
      if (settled) this.settle(next);
    }
    const ticked = await sink.tick(Date.now(), this.forced);
    if (ticked.again === true) {
      this.open = { sent: 0, refused: 0, lost: 0 };
      return this.settled;
    }
    this.open.sent -= ticked.refused;
    this.open.refused += ticked.refused;
    if (ticked.settled) this.settle(next);
    const backlog = this.spool.end.record - next.record;
    if (backlog === 0) {
      this.waitingSince = 0;
      await this.pause(TICK_MS, () => true);
    } else {
      this.waitingSince = begun;
      const rate = drainRate(backlog, this.arriving());
      const due = rate === Number.POSITIVE_INFINITY ? 0 : (count / rate) * 1000 - (Date.now() - begun);
      if (due > 0) await this.pause(due);
      // The ring is emptied between two batches, however much waits.
      else await new Promise((resolve) => setImmediate(resolve));
    }
    return next;
  }

  /** Records wait, but fewer than the sink takes, and more may come. */
  private fewAt(at: Position): boolean {
    const waiting = this.spool.end.record - at.record;
    return waiting > 0 && waiting < this.sink.maxRecords && !this.forced;
  }

  private settle(position: Position): void {
    const { open, counts } = this;
    this.settled = position;
    counts[SENT] += open.sent;
    counts[REFUSED] += open.refused;
    counts[LOST_BEFORE] += open.lost;
    this.open = { sent: 0, refused: 0, lost: 0 };
  }

  /** `over`: whether something appended ends it. */
  private pause(ms: number, over = () => false): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms);
      const wake = (): void => {
        if (over() || this.stopping) done();
      };
      this.wake = wake;
      const self = this;
      function done(): void {
        clearTimeout(timer);
        if (self.wake === wake) self.wake = undefined;
        resolve();
      }
    });
  }

  private failed(error: unknown): void {
    this.errors++;
    this.lastError = error instanceof Error ? error.message : String(error);
  }
}
