import { resolve } from 'node:path';
import type { KafkaClients } from '../../kafka/client.ts';
import { readTime } from '../documents/values.ts';
import { eventOfObject, type WindowView } from '../windows/events.ts';
import type { WindowEvent } from '../windows/state.ts';
import { readFileRows } from './files.ts';
import type { OfflineLog } from './log.ts';
import { SHOWN_PROBLEMS } from './rows.ts';
import { topicValues } from './topic.ts';

export interface OfflineEvents {
  events: WindowEvent[];
  /** What is no event of the view, and why the first ones are none. */
  rejected: number;
  problems: string[];
}

/**
 * Every event that a view of aggregates has for training: of its file, of what was pushed for training, and what its topic
 * holds. Rejects with unavailable when the brokers cannot be reached.
 * @param clients undefined: no broker is configured
 */
export async function offlineEvents(
  log: OfflineLog,
  baseDir: string,
  tenant: string,
  view: WindowView,
  clients: KafkaClients | undefined,
): Promise<OfflineEvents> {
  const result: OfflineEvents = { events: [], rejected: 0, problems: [] };
  const { file, arrival } = view.document.spec.source;
  const take = (value: Record<string, unknown> | undefined, arrived: number | undefined, where: string): void => {
    try {
      const came = arrived ?? (value?.[arrival] == null ? undefined : readTime(value[arrival], arrival));
      result.events.push(eventOfObject(view, value ?? null, came, Number.POSITIVE_INFINITY));
    } catch (error) {
      result.rejected++;
      if (result.problems.length < SHOWN_PROBLEMS) result.problems.push(`${where}: ${(error as Error).message}`);
    }
  };
  let line = 0;
  if (file !== undefined)
    for await (const value of readFileRows(view, resolve(baseDir, file)))
      take(value, undefined, `${file}, row ${++line}`);
  line = 0;
  for await (const value of log.read(tenant, view)) take(value, undefined, `pushed row ${++line}`);
  for await (const { value, offset, arrived, tombstone } of topicValues(view, tenant, clients, Date.now()))
    if (tombstone === undefined) take(value, arrived, `its topic, offset ${offset}`);
  return result;
}
