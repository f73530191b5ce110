import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sought } from '../sinks/partitions.ts';
import type { Batch, Sink } from '../sinks/sink.ts';
import { runsOf, type SpoolRecord } from '../spool/format.ts';
import type { Position } from '../spool/spool.ts';
import type { ReplaySource } from './source.ts';

export interface ReplayWish extends Sought {
  sink: string;
  /** The sink whose files are read; absent: the one that is best read. */
  source?: string | undefined;
  /** Records a second, at most. */
  rate: number;
}

export interface ReplayView {
  id: string;
  /** What its records are marked with: the same of a replay of the same records to the same sink. */
  mark: string;
  sink: string;
  /** The sink whose files are read; null: there is only the spool. */
  source: string | null;
  status: 'running' | 'succeeded' | 'failed' | 'cancelled';
  /** Milliseconds since 1970; null: from the oldest record that is kept. */
  from: number | null;
  to: number;
  model: string | null;
  route: string | null;
  rate: number;
  sent: number;
  /** The sink's other side will never take them. */
  refused: number;
  /** Lines and files that are no records, and records that went away before they were read. */
  unreadable: number;
  lost: number;
  /** Attempts that failed, and why the last one did. */
  errors: number;
  last_error: string;
  /** Why it failed; '' else. */
  error: string;
  started_at: number;
  ended_at: number | null;
}

const FIRST_WAIT_MS = 100;
const LAST_WAIT_MS = 10_000;

/** The same for the same records and sink, so that a replay that is done again replaces what it can replace. */
export function markOf({ sink, source, from, to, model, route }: Omit<ReplayWish, 'rate'>): string {
  return createHash('sha256')
    .update(JSON.stringify([sink, from, to, model, route, ...(source === undefined ? [] : [source])]))
    .digest('hex')
    .slice(0, 12);
}

/**
 * Sends what a source has through a sink of its own, at a bounded rate. What the sink holds back is kept until it is settled:
 * after an error all of that comes again, for as long as it takes, or until it is cancelled. Never rejects.
 */
export async function replay(
  view: ReplayView,
  range: Sought,
  source: ReplaySource,
  sink: Sink,
  signal: AbortSignal,
): Promise<void> {
  /** Since the last settled place. */
  let open: Batch[] = [];
  let refused = 0;
  let number = 0;
  const settle = (last: Batch): void => {
    const done = open.splice(0, open.indexOf(last) + 1);
    view.sent += done.reduce((sum, batch) => sum + batch.records.length, 0) - refused;
    view.refused += refused;
    refused = 0;
  };
  const begun = Date.now();
  const send = async (batch: Batch): Promise<void> => {
    open.push(batch);
    let unsent = [batch];
    for (let wait = FIRST_WAIT_MS; ; wait = Math.min(2 * wait, LAST_WAIT_MS)) {
      try {
        for (const one of unsent) {
          const taken = await sink.send(one);
          refused += taken.refused;
          if (taken.settled) settle(one);
        }
        break;
      } catch (error) {
        view.errors++;
        view.last_error = (error as Error).message;
        refused = 0;
        unsent = [...open];
        await sleep(wait, undefined, { signal });
      }
    }
    if (sink.waits === true) throw new Error('a topic is not there, and the brokers do not make it');
  };
  const finish = async (): Promise<void> => {
    for (let wait = FIRST_WAIT_MS; open.length > 0; wait = Math.min(2 * wait, LAST_WAIT_MS)) {
      try {
        const taken = await sink.tick(Date.now(), true);
        refused += taken.refused;
        if (taken.settled) settle(open[open.length - 1]);
        else throw new Error('the sink holds records back');
      } catch (error) {
        view.errors++;
        view.last_error = (error as Error).message;
        await sleep(wait, undefined, { signal });
        const again = open;
        open = [];
        refused = 0;
        for (const one of again) await send(one);
      }
    }
  };
  try {
    sink.restore(undefined, 0);
    for await (const page of source.pages(range)) {
      tell(view, source);
      signal.throwIfAborted();
      for (let i = 0; i < page.length; ) {
        const some = page.slice(i, i + sink.maxRecords);
        i += some.length;
        await send(batchOf(some, number));
        number += some.length;
      }
      const due = begun + (number / view.rate) * 1000 - Date.now();
      // Others' turns come between two pages, in any case.
      await sleep(Math.max(1, due), undefined, { signal });
    }
    await finish();
    view.status = 'succeeded';
  } catch (error) {
    view.status = signal.aborted ? 'cancelled' : 'failed';
    if (!signal.aborted) view.error = (error as Error).message;
  } finally {
    tell(view, source);
    source.close();
    await sink.close().catch(() => {});
    view.ended_at = Date.now();
  }
}

function tell(view: ReplayView, { unreadable, lost, problem }: ReplaySource): void {
  Object.assign(view, { unreadable, lost });
  if (problem !== '') view.last_error = problem;
}

function batchOf(records: readonly SpoolRecord[], number: number): Batch {
  const at = (record: number): Position => ({ segment: 0, offset: 0, record });
  return { runs: runsOf(records), records, from: at(number), next: at(number + records.length) };
}
