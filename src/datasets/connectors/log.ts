/**
 * Rows for training from the event log: what models were asked and said, with the labels and rewards that came later for
 * the same id. What was logged was known when it was asked, so these rows cannot know the future.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isOwnColumn } from '../../eventlog/record.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Batch, FieldType, Schema, Source } from '../batch.ts';
import { typeOfValue, widen } from '../cells.ts';
import { decode } from '../formats/formats.ts';
import { type RawRow, type ReadOptions, typedRows, withProgress } from '../reading.ts';

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

/** Where records come from: each gives batches of the log's rows. */
export interface LogOrigin {
  inference(): AsyncIterable<Source>;
  feedback(): AsyncIterable<Source>;
}

/** Whatever is nested stays JSON text; columns that only some records have are named here. */
const TYPES: Readonly<Record<string, FieldType>> = {
  id: 'string',
  time: 'timestamp',
  route: 'string',
  variant: 'string',
  model: 'string',
  version: 'string',
  entity: 'string',
  status: 'string',
  sampleRate: 'number',
  shadow: 'boolean',
  features: 'string',
  predictions: 'string',
  timings: 'string',
  pmf: 'string',
  eligible: 'string',
  redactions: 'string',
  fallbacks: 'string',
  proposed: 'string',
  context: 'string',
  payloadRef: 'string',
  payloadSha256: 'string',
};
const FEEDBACK_TYPES: Readonly<Record<string, FieldType>> = {
  id: 'string',
  time: 'timestamp',
  route: 'string',
  model: 'string',
  rewards: 'string',
  label: 'string',
};

/** The files that a sink of kind `files` wrote, JSON lines or Parquet. */
export function filesOrigin(folder: string): LogOrigin {
  async function* sources(kind: string, types: Readonly<Record<string, FieldType>>): AsyncGenerator<Source> {
    const names = await readdir(folder).catch(() => {
      throw new SwitchyardError('not_found', `the event log has written no files in ${folder}; see eventLog.sinks`);
    });
    for (const name of names.filter((one) => one.startsWith(`${kind}-`)).sort()) {
      const format = name.endsWith('.parquet') ? 'parquet' : name.endsWith('.jsonl') ? 'jsonl' : undefined;
      // The last line of a file that is being written may not be whole yet.
      if (format !== undefined)
        yield await decode(format, { name, file: join(folder, name) }, { types, rejects: { add: () => {} } });
    }
  }
  return { inference: () => sources('inference', TYPES), feedback: () => sources('feedback', FEEDBACK_TYPES) };
}

/** The topics that a sink of kind `kafka` writes as JSON. */
export function topicsOrigin(
  open: (topic: string, options: ReadOptions) => Promise<Source>,
  topics: { inference: string; feedback: string },
): LogOrigin {
  const options = (types: Readonly<Record<string, FieldType>>): ReadOptions => ({ types, rejects: { add: () => {} } });
  return {
    async *inference() {
      yield await open(topics.inference, options(TYPES));
    },
    async *feedback() {
      yield await open(topics.feedback, options(FEEDBACK_TYPES));
    },
  };
}

/** The columns of a payload by reference, as JSON. Rejects where it is not here, or not any more. */
export type ReadPayload = (sha256: string) => Promise<{ features: string; predictions: string }>;

/** Puts the values where they belong, if they can be had. */
async function resolve(record: Record<string, unknown>, payloads: ReadPayload | undefined): Promise<void> {
  const whole = await payloads?.(String(record.payloadSha256)).catch(() => undefined);
  if (whole !== undefined) Object.assign(record, whole);
}

interface Feedback {
  time: number;
  label: unknown;
  rewards: Record<string, unknown>;
}

/**
 * One row for each row of a request: id, row, event_time, model, version, variant, route, entity, sample_weight; a column for
 * each value of the inputs ("x", or "x[0]", "x[1]" …) and of the outputs ("prediction.y"); label, label_time and
 * "reward.name". A label that is a list as long as the request gives each row its own. Failed requests and shadows are left
 * out; so are columns that the gateway added. Values that lie apart by reference are read there, and the request is rejected
 * where they are gone.
 */
export async function readLog(
  origin: LogOrigin,
  window: LogWindow,
  options: ReadOptions,
  payloads?: ReadPayload,
): Promise<Source> {
  let records = 0;
  let labelType: FieldType | undefined;
  const feedback = await readFeedback(origin, window);
  const rewards = new Set([...feedback.values()].flatMap((told) => Object.keys(told.rewards)));
  async function* rows(): AsyncGenerator<RawRow> {
    for await (const source of origin.inference())
      for await (const batch of source.batches())
        for (let i = 0; i < batch.rows; i++) {
          records++;
          const record = recordAt(source.schema, batch, i);
          if (record.payloadSha256 && record.model === window.model) await resolve(record, payloads);
          yield* rowsOf(record, window, feedback, records);
        }
  }
  const types: Record<string, FieldType> = { event_time: 'timestamp', label: 'string', label_time: 'timestamp' };
  for (const name of rewards) types[`reward.${name}`] = 'number';
  for (const { label } of feedback.values()) {
    const type = typeOfValue(Array.isArray(label) ? label[0] : label);
    types.label = labelType === undefined ? (type ?? 'string') : (widen(labelType, type) ?? 'string');
    labelType = types.label;
  }
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

async function readFeedback(
  origin: LogOrigin,
  { model, labelsUntil = Number.POSITIVE_INFINITY }: LogWindow,
): Promise<Map<string, Feedback>> {
  const found = new Map<string, Feedback>();
  for await (const source of origin.feedback()) {
    for await (const batch of source.batches()) {
      for (let i = 0; i < batch.rows; i++) {
        const record = recordAt(source.schema, batch, i);
        const time = Number(record.time);
        if (time > labelsUntil || (record.model && record.model !== model)) continue;
        const known = found.get(String(record.id));
        // Of several labels the latest counts; rewards of different names add up.
        const later = known === undefined || time >= known.time;
        const label =
          record.label === null || record.label === undefined || record.label === '' ? undefined : parse(record.label);
        found.set(String(record.id), {
          time: label === undefined ? (known?.time ?? time) : later ? time : known.time,
          label: label !== undefined && later ? label : (known?.label ?? label),
          rewards: { ...known?.rewards, ...(parse(record.rewards) as object | undefined) },
        });
      }
    }
  }
  return found;
}

function recordAt(schema: Schema, batch: Batch, row: number): Record<string, unknown> {
  return Object.fromEntries(schema.fields.map(({ name }, i) => [name, batch.columns[i][row]]));
}

function parse(text: unknown): unknown {
  if (typeof text !== 'string') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

interface LoggedColumn {
  name: string;
  datatype: string;
  shape: number[];
  data: unknown[] | null;
}

function* rowsOf(
  record: Record<string, unknown>,
  { model, version, route, from = Number.NEGATIVE_INFINITY, until = Number.POSITIVE_INFINITY, labelled }: LogWindow,
  feedback: ReadonlyMap<string, Feedback>,
  line: number,
): Generator<RawRow> {
  const time = Number(record.time);
  if (record.status !== 'ok' || record.shadow === true || record.model !== model || time < from || time >= until)
    return;
  if ((version !== undefined && record.version !== version) || (route !== undefined && record.route !== route)) return;
  const told = feedback.get(String(record.id));
  if (labelled && told?.label === undefined) return;
  const columns = (of: unknown) => ((parse(of) ?? []) as LoggedColumn[]).filter((column) => !isOwnColumn(column));
  const inputs = columns(record.features);
  const outputs = columns(record.predictions);
  const taken = inputs.find(({ data }) => data === null);
  if (taken !== undefined) {
    const problem = `the values of ${JSON.stringify(taken.name)} are not in the record: redacted, or kept by reference where this server cannot read them`;
    yield { line, values: { id: record.id }, problem };
    return;
  }
  const count = Math.max(1, ...inputs.map(({ shape }) => (shape.length > 1 ? shape[0] : 1)));
  for (let row = 0; row < count; row++) {
    const types: Record<string, FieldType> = { sample_weight: 'number' };
    const values: Record<string, unknown> = {
      id: record.id,
      row,
      event_time: time,
      model,
      version: record.version,
      variant: record.variant,
      route: record.route,
      entity: record.entity,
      sample_weight: 1 / (Number(record.sampleRate) || 1),
    };
    for (const column of inputs) spread(values, types, column.name, column, row, count);
    for (const column of outputs) spread(values, types, `prediction.${column.name}`, column, row, count);
    const { label } = told ?? {};
    values.label = (Array.isArray(label) && label.length === count ? label[row] : label) ?? null;
    values.label_time = label === undefined ? null : told?.time;
    for (const [name, reward] of Object.entries(told?.rewards ?? {})) values[`reward.${name}`] = reward;
    yield { line, values, types };
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
  const part = batched ? data.slice(row * width, (row + 1) * width) : data;
  part.forEach((value, i) => {
    const column = width === 1 ? name : `${name}[${i}]`;
    values[column] = value;
    types[column] = typeOfTensor(datatype);
  });
}

function typeOfTensor(datatype: string): FieldType {
  if (datatype === 'BYTES') return 'string';
  if (datatype === 'BOOL') return 'boolean';
  return datatype.startsWith('FP') || datatype === 'BF16' ? 'number' : 'integer';
}
