import { resolve } from 'node:path';
import type { KafkaClients } from '../../kafka/client.ts';
import type { View } from '../documents/catalog.ts';
import { rowOfObject } from '../ingest/rows.ts';
import type { Row } from '../store/online-store.ts';
import { readFileRows } from './files.ts';
import type { OfflineLog } from './log.ts';
import { topicValues } from './topic.ts';

export interface OfflineRows {
  rows: Row[];
  /** Lines that are no row of the view, and why the first ones are none. */
  rejected: number;
  problems: string[];
}

export const SHOWN_PROBLEMS = 10;

/** Event times in [from, until). One that lies a day and more beyond `now` is that of a wrong clock. */
export interface Span {
  from: number;
  until: number;
  now: number;
}

/**
 * Every row that a view has for training: of its file, of what was pushed for training, and what its topic holds. Rejects
 * with unavailable when the brokers cannot be reached.
 * @param clients undefined: no broker is configured
 */
export async function offlineRows(
  log: OfflineLog,
  baseDir: string,
  tenant: string,
  view: View,
  { from, until, now }: Span,
  clients: KafkaClients | undefined,
): Promise<OfflineRows> {
  const result: OfflineRows = { rows: [], rejected: 0, problems: [] };
  const { file } = view.document.spec.source;
  const keep = (row: Row): void => {
    if (row.time >= from && row.time < until) result.rows.push(row);
  };
  const reject = (where: string, problem: string): void => {
    result.rejected++;
    if (result.problems.length < SHOWN_PROBLEMS) result.problems.push(`${where}: ${problem}`);
  };
  const take = (value: Record<string, unknown> | undefined, where: string): void => {
    try {
      keep(rowOfObject(view, value ?? null, now));
    } catch (error) {
      reject(where, (error as Error).message);
    }
  };
  if (file !== undefined) {
    let line = 0;
    for await (const value of readFileRows(view, resolve(baseDir, file))) take(value, `${file}, row ${++line}`);
  }
  let line = 0;
  for await (const value of log.read(tenant, view)) take(value, `pushed row ${++line}`);
  for await (const { value, offset, tombstone } of topicValues(view, tenant, clients, now)) {
    const where = `its topic, offset ${offset}`;
    if (tombstone?.problem !== undefined) reject(where, tombstone.problem);
    else if (tombstone?.deleted !== undefined) keep(tombstone.deleted);
    else take(value, where);
  }
  return result;
}
