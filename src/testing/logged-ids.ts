import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { readHead } from '../eventlog/encode/record-decoder.ts';
import { FEEDBACK, parseRecords } from '../eventlog/spool/format.ts';

/** Ids of all whole records that lie in a spool. */
export function spooledIds(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => name.endsWith('.spool'))
    .flatMap((name) => parseRecords(readFileSync(join(dir, name)), 0, Number.POSITIVE_INFINITY).run.records)
    .map(({ kind, body }) => readHead(body, kind === FEEDBACK).id);
}

/** Ids in the JSON lines of a sink, each as often as it is there. */
export function idsInLines(folder: string): string[] {
  return readdirSync(folder)
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n'))
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { id: string }).id);
}

/** Ids in the Parquet files of a sink, each as often as it is there. */
export async function idsInParquet(folder: string): Promise<string[]> {
  const ids: string[] = [];
  for (const name of readdirSync(folder)) {
    const file = await asyncBufferFromFile(join(folder, name));
    for (const { id } of await parquetReadObjects({ file, columns: ['id'] })) ids.push(String(id));
  }
  return ids;
}
