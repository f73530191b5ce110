import { parseBig } from '../../shared/exact-json.ts';
import type { Column, FeedbackRecord, LogRecord } from '../record.ts';

interface JsonColumn extends Omit<Column, 'values'> {
  data: (number | bigint | string | boolean | null)[] | null;
}

const NUMBERS: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};

/**
 * Reads what recordJson wrote. Throws for what is none: what readers of records count on is checked. Fields that a record
 * has beside those are left alone: nobody asks for them.
 */
export function readRecordJson(text: string): LogRecord {
  const record = parseBig(text) as Omit<LogRecord, 'features' | 'predictions'> & {
    features: JsonColumn[];
    predictions: JsonColumn[];
  };
  if (typeof record !== 'object' || record === null) throw new TypeError('a record is an object');
  for (const name of ['id', 'model', 'version', 'status'] as const)
    if (typeof record[name] !== 'string') throw new TypeError(`a record without ${name}`);
  if (typeof record.time !== 'number') throw new TypeError('a record without time');
  const features = columnsOf(record.features, 'features');
  const predictions = columnsOf(record.predictions, 'predictions');
  // A float without a fraction is written like an integer.
  const context = (record.context ?? []).map(Number);
  return { ...record, context, redactions: record.redactions ?? [], features, predictions };
}

/** The same of a label or a reward. Events of others are not of this form: without a time nobody could tell which label is the latest. */
export function readFeedbackJson(text: string): FeedbackRecord {
  const record = JSON.parse(text) as FeedbackRecord;
  if (typeof record !== 'object' || record === null || typeof record.id !== 'string')
    throw new TypeError('a label without an id');
  if (typeof record.time !== 'number') throw new TypeError('a label without time, as milliseconds since 1970');
  const { label, rewards = {}, tenant = '' } = record;
  if (typeof tenant !== 'string') throw new TypeError('a tenant is a text');
  if (label !== undefined && typeof label !== 'string') throw new TypeError('a label is JSON as a text');
  if (typeof rewards !== 'object' || rewards === null) throw new TypeError('rewards are numbers by name');
  return { ...record, rewards, tenant };
}

function columnsOf(list: readonly JsonColumn[], of: string): Column[] {
  if (!Array.isArray(list)) throw new TypeError(`${of} are a list`);
  return list.map(({ data, ...column }) => {
    const { name, datatype, shape } = column;
    if (typeof name !== 'string' || typeof datatype !== 'string' || !Array.isArray(shape))
      throw new TypeError(`one of the ${of} is no column: it needs name, datatype and shape`);
    const wide = datatype === 'INT64' || datatype === 'UINT64';
    const values = (data ?? []).map((value: NonNullable<JsonColumn['data']>[number]) => {
      if (typeof value === 'bigint') return wide ? value : Number(value);
      return typeof value === 'string' && datatype !== 'BYTES' ? (NUMBERS[value] ?? value) : value;
    });
    return { ...column, values };
  });
}
