import { createReadStream } from 'node:fs';
import { access } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { readCsvRecords } from '../../shared/csv.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { View } from '../documents/catalog.ts';
import type { FeatureType } from '../documents/values.ts';
import { parseLine } from './log.ts';

/**
 * Rows of a view's file as named values, one at a time: CSV with a header, or JSON lines. What is no row is `undefined`.
 * Rejects with failed_precondition when the file is not there.
 */
export async function* readFileRows(view: View, file: string): AsyncGenerator<Record<string, unknown> | undefined> {
  try {
    await access(file);
  } catch {
    throw new SwitchyardError(
      'failed_precondition',
      `feature view ${view.name}: its file ${JSON.stringify(view.document.spec.source.file)} cannot be read`,
    );
  }
  if (/\.(jsonl|ndjson|json)$/.test(file)) {
    for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY }))
      if (line.trim() !== '') yield parseLine(line);
    return;
  }
  const types = new Map<string, FeatureType | 'key'>(view.fields.map(({ name, type }) => [name, type]));
  for (const { column, type } of view.windows?.inputs ?? [])
    if (type !== 'present' && type !== 'hash') types.set(column, type);
  for (const { name } of view.joinKeys) types.set(name, 'key');
  let names: (string | null)[] | undefined;
  for await (const { values, problem } of readCsvRecords(createReadStream(file), {})) {
    if (names === undefined) names = values;
    else if (problem !== undefined || values.length !== names.length) yield undefined;
    else yield Object.fromEntries(names.map((name, i) => [name, cellOf(types.get(name ?? ''), values[i] ?? '')]));
  }
}

/** A cell of a CSV file as JSON would have it; an empty one is null. */
function cellOf(type: FeatureType | 'key' | undefined, text: string): unknown {
  if (text === '' && type !== 'key') return null;
  if (type === 'bool') return text === 'true' || text === '1' ? true : text === 'false' || text === '0' ? false : text;
  if (text.startsWith('[')) return parseLine(`{"list":${text}}`)?.list ?? text;
  const number = type === 'float32' || type === 'float64' || type === 'int32' || type === 'timestamp';
  if (number && text.trim() !== '' && !Number.isNaN(Number(text))) return Number(text);
  return text;
}
