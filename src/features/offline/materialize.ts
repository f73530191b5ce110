import { resolve } from 'node:path';
import type { View } from '../documents/catalog.ts';
import { rowOfObject } from '../ingest/rows.ts';
import type { Row } from '../store/online-store.ts';
import { readFileRows } from './files.ts';
import type { OfflineLog } from './log.ts';

export interface OfflineRows {
  rows: Row[];
  /** Lines that are no row of the view, and why the first ones are none. */
  rejected: number;
  problems: string[];
}

export const SHOWN_PROBLEMS = 10;

/** Every row that a view has for training, from its file and from what was pushed, with its event time in [from, until). */
export async function offlineRows(
  log: OfflineLog,
  baseDir: string,
  tenant: string,
  view: View,
  { from, until, now }: { from: number; until: number; now: number },
): Promise<OfflineRows> {
  const result: OfflineRows = { rows: [], rejected: 0, problems: [] };
  const { file } = view.document.spec.source;
  const take = (value: Record<string, unknown> | undefined, where: string): void => {
    try {
      const row = rowOfObject(view, value ?? null, now);
      if (row.time >= from && row.time < until) result.rows.push(row);
    } catch (error) {
      result.rejected++;
      if (result.problems.length < SHOWN_PROBLEMS) result.problems.push(`${where}: ${(error as Error).message}`);
    }
  };
  if (file !== undefined) {
    let line = 0;
    for await (const value of readFileRows(view, resolve(baseDir, file))) take(value, `${file}, row ${++line}`);
  }
  let line = 0;
  for await (const value of log.read(tenant, view)) take(value, `pushed row ${++line}`);
  return result;
}
