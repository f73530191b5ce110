import type { PartitionKey } from '../../config/event-log-schema.ts';
import { AvroReader } from '../encode/avro-reader.ts';
import { FEEDBACK, type SpoolRecord } from '../spool/format.ts';

/** What Hive, Spark and their kin call the partition of rows that have no value. */
export const NO_VALUE = '__HIVE_DEFAULT_PARTITION__';
const HOUR_MS = 3_600_000;
/** Of a text as it stands in a name: file systems take names of 255 bytes. */
const MAX_TEXT = 200;

/** Where among partitions a record belongs. */
export interface Place {
  time: number;
  route: string;
  model: string;
}

/** Reads no more of a record than that. Undefined: it cannot be read. */
export function placeOf({ kind, u8, start, end }: SpoolRecord): Place | undefined {
  try {
    const reader = new AvroReader(u8, start, end);
    reader.skipBytes();
    const time = reader.long();
    for (let i = 0; i < 3; i++) reader.skipBytes();
    const route = reader.string();
    // The variants that stand between are of requests only.
    if (kind !== FEEDBACK) for (let i = 0; i < 2; i++) reader.skipBytes();
    return { time, route, model: reader.string() };
  } catch {
    return undefined;
  }
}

/** Folders in Hive's form, each with a slash behind it: `date=2026-11-30/hour=07/`. Times are UTC. */
export function partitionOf(place: Place, keys: readonly PartitionKey[]): string {
  return keys.map((key) => `${key}=${partitionValue(place, key)}/`).join('');
}

/** Which records somebody looks for; `from` is among them, `to` is not. Absent: all. */
export interface Sought {
  from: number | undefined;
  to: number;
  model: string | undefined;
  route: string | undefined;
}

/** Whether a file may hold such records, as far as the folders on its way tell. */
export function mayHold(key: string, { from = Number.NEGATIVE_INFINITY, to, model, route }: Sought): boolean {
  const values = new Map<string, string>();
  for (const folder of key.split('/').slice(0, -1)) {
    const [, name, value] = /^(\w+)=(.*)$/.exec(folder) ?? [];
    if (name !== undefined) values.set(name, value);
  }
  const date = values.get('date');
  const hour = values.get('hour');
  const begun = Date.parse(`${date}T${hour ?? '00'}:00:00Z`);
  if (begun >= to || begun + (hour === undefined ? 24 : 1) * HOUR_MS <= from) return false;
  const differs = (name: string, text: string | undefined) =>
    text !== undefined && values.has(name) && values.get(name) !== textOf(text);
  return !differs('model', model) && !differs('route', route);
}

function partitionValue({ time, route, model }: Place, key: PartitionKey): string {
  switch (key) {
    case 'date':
      return isoOf(time)?.slice(0, 10) ?? NO_VALUE;
    case 'hour':
      return isoOf(time)?.slice(11, 13) ?? NO_VALUE;
    case 'model':
      return textOf(model);
    case 'route':
      return textOf(route);
  }
}

/** Neighbours are mostly of one hour. */
let last: { hour: number; iso: string | undefined } = { hour: Number.NaN, iso: undefined };

/** Up to the hour. Undefined: no time of the years that have four digits. */
function isoOf(time: number): string | undefined {
  const hour = Math.floor(time / HOUR_MS);
  if (last.hour === hour) return last.iso;
  const date = new Date(hour * HOUR_MS);
  const year = date.getUTCFullYear();
  last = { hour, iso: year >= 0 && year <= 9999 ? date.toISOString() : undefined };
  return last.iso;
}

/** Escaped as Hive escapes, and a little more than it must be. */
function textOf(text: string): string {
  const escaped = text.replace(/[^\w.@+ -]/gu, (char) =>
    encodeURIComponent(char).replace(/[!'()*]/g, (one) => `%${hexOf(one)}`),
  );
  return escaped === '' || escaped.length > MAX_TEXT ? NO_VALUE : escaped;
}

function hexOf(char: string): string {
  return char.charCodeAt(0).toString(16).toUpperCase();
}
