/**
 * Rows for training from the event log: what models were asked and said, with the labels and rewards that came later for
 * the same id. What was logged was known when it was asked, so these rows cannot know the future.
 */
import { type Column, isOwnColumn, isWithheld } from '../../eventlog/record.ts';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import { parseBig } from '../../shared/exact-json.ts';
import { isOfTenant } from '../../shared/feedback-events.ts';
import type { FieldType, Source } from '../batch.ts';
import { typeOfValue, widen } from '../cells.ts';
import { leaveOut, type RawRow, type ReadOptions, reject, typedRows, withProgress } from '../reading.ts';
import type { LogOrigin } from './log-origins.ts';

export interface LogWindow {
  model: string;
  version?: string | undefined;
  route?: string | undefined;
  /** Milliseconds since 1970: requests from then on, and before then. */
  from?: number | undefined;
  until?: number | undefined;
  /** Labels that came later are not used; undefined: all. */
  labelsUntil?: number | undefined;
  /** Requests without a label are left out. */
  labelled: boolean;
}

/** The columns of a payload by reference, as JSON. Rejects where it is not here, or not any more. */
export type ReadPayload = (sha256: string) => Promise<{ features: string; predictions: string }>;

/** Puts the values where they belong. Returns why they cannot be had. Rejects while their storage is away. */
async function resolve(record: Record<string, unknown>, payloads: ReadPayload | undefined): Promise<string> {
  if (payloads === undefined) return 'nothing here reads them';
  try {
    Object.assign(record, await payloads(String(record.payloadSha256)));
    return '';
  } catch (error) {
    const { code, message } = toSwitchyardError(error);
    if (code === 'unavailable') throw error;
    return message;
  }
}

interface Told {
  value: unknown;
  /** Milliseconds since 1970. */
  time: number;
}

/** What one tenant told of a request, or somebody for all tenants (''). */
interface Feedback {
  tenant: string;
  label: Told | undefined;
  rewards: Map<string, Told>;
  /** The last record of it. */
  row: RawRow;
}

/**
 * One row for each row of a request: id, row, event_time, model, version, variant, route, entity, sample_weight; a column for
 * each value of the inputs ("x", or "x[0]", "x[1]" …) and of the outputs ("prediction.y"); label, label_time and
 * "reward.name". A label that is a list as long as the request gives each row its own. A request that is there twice counts
 * once. Failed requests and shadows are left out; so are columns that the gateway added, and what a tenant told of another
 * one's request, which is kept as a reject. Values that lie apart by reference are read there, and the request is rejected
 * where they are gone, as what is no record at all; while their storage is away nothing is read.
 */
export async function readLog(
  origin: LogOrigin,
  window: LogWindow,
  options: ReadOptions,
  payloads?: ReadPayload,
): Promise<Source> {
  let records = 0;
  const feedback = await readFeedback(origin, window, options);
  const told = [...feedback.values()].flat();
  const rewards = new Set(told.flatMap((each) => [...each.rewards.keys()]));
  async function* rows(): AsyncGenerator<RawRow> {
    const seen = new Set<string>();
    for await (const row of origin.inference()) {
      if (row.problem !== undefined) {
        yield row;
        continue;
      }
      records++;
      if (!isWanted(row.values, window)) continue;
      // A topic may bring a record more than once.
      const id = String(row.values.id);
      if (seen.has(id)) continue;
      seen.add(id);
      const record = { ...row.values };
      const apart = record.payloadSha256 ? await resolve(record, payloads) : '';
      yield* rowsOf(record, apart, window, feedback, row, options.rejects);
    }
  }
  const types: Record<string, FieldType> = { event_time: 'timestamp', label: 'string', label_time: 'timestamp' };
  for (const name of rewards) types[`reward.${name}`] = 'number';
  let labelType: FieldType | undefined;
  for (const { label } of told) {
    const value = label?.value;
    labelType = widen(labelType, typeOfValue(Array.isArray(value) ? value[0] : value));
  }
  types.label = labelType ?? 'string';
  const source = await typedRows(rows(), { ...options, types: { ...types, ...options.types } });
  const some: Source = {
    schema: source.schema,
    async *batches() {
      let rows = 0;
      for await (const batch of source.batches()) {
        rows += batch.rows;
        yield batch;
      }
      if (rows === 0)
        throw new SwitchyardError(
          'failed_precondition',
          `none of the log's ${records} records is ${window.labelled ? 'a labelled request' : 'a request'} of model ${JSON.stringify(window.model)} in this window; widen it, or wait for records to be written`,
        );
    },
  };
  return withProgress(some, () => ({ bytes: records, totalBytes: undefined }), options.onProgress);
}

/**
 * By the id of the request. The model's name in it is the client's, who may have called it by its route's, or not at all. Of
 * what names no model, only what is about the window's requests is held.
 */
async function readFeedback(
  origin: LogOrigin,
  window: LogWindow,
  { rejects }: ReadOptions,
): Promise<Map<string, Feedback[]>> {
  const found = new Map<string, Feedback[]>();
  const take = (row: RawRow, wanted?: ReadonlySet<string>): void => {
    const id = String(row.values.id);
    if (row.problem !== undefined) reject(row, row.problem, rejects);
    else if (wanted?.has(id) !== false) add(found, id, row, window);
  };
  let others = false;
  for await (const row of origin.feedback()) {
    take(row);
    if (row.problem === undefined && row.values.model !== window.model) others = true;
  }
  if (!others && origin.unmatched === undefined) return found;
  // Most of these are of other models: their rewards would be columns here.
  const own = new Set<string>();
  for await (const { values, problem } of origin.inference())
    if (problem === undefined && isWanted(values, window)) own.add(String(values.id));
  for (const id of found.keys()) if (!own.has(id)) found.delete(id);
  if (origin.unmatched !== undefined) for await (const row of origin.unmatched()) take(row, own);
  return found;
}

function add(
  found: Map<string, Feedback[]>,
  id: string,
  row: RawRow,
  { labelsUntil = Number.POSITIVE_INFINITY }: LogWindow,
): void {
  const { tenant, label, rewards } = row.values;
  const time = Number(row.values.time);
  if (time > labelsUntil) return;
  const given = Object.entries({ ...(parse(rewards) as object | undefined) });
  const next: Feedback = {
    tenant: String(tenant ?? ''),
    label: label === null || label === undefined || label === '' ? undefined : { value: parse(label), time },
    rewards: new Map(given.map(([name, value]) => [name, { value, time }])),
    row,
  };
  const told = found.get(id) ?? [];
  found.set(id, told);
  const at = told.findIndex((each) => each.tenant === next.tenant);
  if (at < 0) told.push(next);
  else told[at] = together(told[at], next);
}

/** Of several labels the latest counts, and of several rewards of a name. */
function together(known: Feedback, next: Feedback): Feedback {
  const rewards = new Map(known.rewards);
  for (const [name, reward] of next.rewards) rewards.set(name, later(rewards.get(name), reward));
  return { ...next, label: later(known.label, next.label), rewards };
}

/** Of two of the same time, `next`. */
function later<T extends Told | undefined>(known: Told | undefined, next: T): T | Told {
  if (known === undefined) return next;
  return next !== undefined && next.time >= known.time ? next : known;
}

/** What is nested is JSON text in some files. */
function parse(value: unknown): unknown {
  if (typeof value !== 'string') return value ?? undefined;
  try {
    return parseBig(value);
  } catch {
    return value;
  }
}

interface LoggedColumn {
  name: string;
  datatype: string;
  shape: number[];
  /** Null: taken out, or kept apart. */
  data: ArrayLike<unknown> | null;
}

/** As a record has them, or as they are written. */
function columnsOf(value: unknown): LoggedColumn[] {
  const columns = (parse(value) ?? []) as (Column | LoggedColumn)[];
  return columns
    .filter((column) => !isOwnColumn(column))
    .map((column) => {
      if (!('values' in column)) return column;
      const { name, datatype, shape, values } = column;
      return { name, datatype, shape, data: isWithheld(column) ? null : values };
    });
}

/** Whether it is a request of the window that was answered, and no shadow. */
function isWanted(
  record: RawRow['values'],
  { model, version, route, from = Number.NEGATIVE_INFINITY, until = Number.POSITIVE_INFINITY }: LogWindow,
): boolean {
  const time = Number(record.time);
  if (record.status !== 'ok' || record.shadow === true || record.model !== model) return false;
  if (time < from || time >= until) return false;
  return (version === undefined || record.version === version) && (route === undefined || record.route === route);
}

/** @param apart why values by reference cannot be had; '': there are none, or they are in the record */
function* rowsOf(
  record: Record<string, unknown>,
  apart: string,
  { model, labelled }: LogWindow,
  feedback: ReadonlyMap<string, Feedback[]>,
  { line, source }: RawRow,
  rejects: ReadOptions['rejects'],
): Generator<RawRow> {
  const asker = String(record.tenant ?? '');
  const own: Feedback[] = [];
  for (const each of feedback.get(String(record.id)) ?? []) {
    if (isOfTenant(each.tenant, asker)) own.push(each);
    else leaveOut(each.row, 'it was told by another tenant than made the request', rejects);
  }
  const told = own.length === 0 ? undefined : own.reduce(together);
  if (labelled && told?.label === undefined) return;
  const inputs = columnsOf(record.features);
  const outputs = columnsOf(record.predictions);
  const taken = inputs.find(({ data }) => data === null);
  if (taken !== undefined) {
    const why = apart === '' ? 'redacted' : `kept by reference, and cannot be read: ${apart}`;
    const problem = `the values of ${JSON.stringify(taken.name)} are not in the record: ${why}`;
    yield { source, line, values: { id: record.id }, problem };
    return;
  }
  const count = Math.max(1, ...inputs.map(({ shape }) => (shape.length > 1 ? shape[0] : 1)));
  for (let row = 0; row < count; row++) {
    const types: Record<string, FieldType> = { sample_weight: 'number' };
    const values: Record<string, unknown> = {
      id: record.id,
      row,
      event_time: Number(record.time),
      model,
      version: record.version,
      variant: record.variant,
      route: record.route,
      entity: record.entity,
      sample_weight: 1 / (Number(record.sampleRate) || 1),
    };
    for (const column of inputs) spread(values, types, column.name, column, row, count);
    for (const column of outputs) spread(values, types, `prediction.${column.name}`, column, row, count);
    const label = told?.label?.value;
    values.label = (Array.isArray(label) && label.length === count ? label[row] : label) ?? null;
    values.label_time = told?.label?.time ?? null;
    for (const [name, reward] of told?.rewards ?? []) values[`reward.${name}`] = reward.value;
    yield { source, line, values, types };
  }
}

/** A row's part of a tensor as columns. */
function spread(
  values: Record<string, unknown>,
  types: Record<string, FieldType>,
  name: string,
  { shape, data, datatype }: LoggedColumn,
  row: number,
  count: number,
): void {
  if (data === null) return;
  const batched = shape.length > 1 && shape[0] === count;
  const width = batched ? data.length / count : data.length;
  const first = batched ? row * width : 0;
  for (let i = 0; i < width; i++) {
    const column = width === 1 ? name : `${name}[${i}]`;
    values[column] = data[first + i];
    types[column] = typeOfTensor(datatype);
  }
}

function typeOfTensor(datatype: string): FieldType {
  if (datatype === 'BYTES') return 'string';
  if (datatype === 'BOOL') return 'boolean';
  return datatype.startsWith('FP') || datatype === 'BF16' ? 'number' : 'integer';
}
