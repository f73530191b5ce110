import type { Db } from '../database/database.ts';
import { BulkInsert, run } from '../database/statements.ts';
import { invalidParameter, shown } from '../errors.ts';
import type { RunRef } from './run-ref.ts';

export interface KeyValue {
  key: string;
  value: string;
}

/** The tag that holds a run's name, as MLflow's clients set and read it. */
export const RUN_NAME_TAG = 'mlflow.runName';

export function keyValueJson(key: string, value: string): string {
  return `{"key":${JSON.stringify(key)},"value":${JSON.stringify(value)}}`;
}

const COLUMNS = ['run_key', 'key', 'value', 'experiment_id', 'json'];
const TAGS = new BulkInsert(
  'tags',
  COLUMNS,
  'ON CONFLICT (run_key, key) DO UPDATE SET value = excluded.value, json = excluded.json',
);
const PARAMS = new BulkInsert('params', COLUMNS, 'ON CONFLICT (run_key, key) DO NOTHING');

function rows({ run_key, experiment_id }: RunRef, values: Iterable<readonly [string, string]>): unknown[][] {
  return Array.from(values, ([key, value]) => [run_key, key, value, experiment_id, keyValueJson(key, value)]);
}

/** Sets tags; of one name given twice the last counts. The name of a run is one of its tags and the other way round. */
export async function setTags(db: Db, ref: RunRef, tags: readonly KeyValue[]): Promise<void> {
  if (tags.length === 0) return;
  await writeTags(db, [{ ref, tags }]);
  const name = tags.findLast(({ key }) => key === RUN_NAME_TAG)?.value;
  if (name !== undefined) await run(db, 'UPDATE runs SET run_name = $1 WHERE run_key = $2', [name, ref.run_key]);
}

/** The tags of several runs, with few statements. No run may be there twice. */
export async function writeTags(db: Db, runs: readonly { ref: RunRef; tags: readonly KeyValue[] }[]): Promise<void> {
  await TAGS.run(
    db,
    runs.flatMap(({ ref, tags }) => rows(ref, new Map(tags.map(({ key, value }) => [key, value])))),
  );
}

/** Adds params. Throws when one would change: a param's value is for good. */
export async function insertParams(db: Db, ref: RunRef, params: readonly KeyValue[]): Promise<void> {
  if (params.length === 0) return;
  const first = new Map<string, string>();
  for (const { key, value } of params) {
    if (first.has(key) && first.get(key) !== value)
      throw invalidParameter(`Duplicate parameter keys have been submitted: ${shown(key)}. One key has one value`);
    first.set(key, value);
  }
  const known = await run<KeyValue>(
    db,
    `SELECT key, value FROM params WHERE run_key = $1 AND key IN (${params.map((_, i) => `$${i + 2}`).join(', ')})`,
    [ref.run_key, ...params.map(({ key }) => key)],
  );
  for (const { key, value } of known) {
    const given = first.get(key);
    if (given !== value) {
      throw invalidParameter(
        `Changing param values is not allowed. Param with key=${shown(key)} was already logged with value=${shown(value)} for run ID=${shown(ref.run_id)}. Attempted logging new value ${shown(given)}.`,
      );
    }
    first.delete(key);
  }
  await PARAMS.run(db, rows(ref, first));
}
