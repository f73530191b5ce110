import { invalidArgument } from '../../shared/errors.ts';

/** Types of features. A timestamp is whole seconds since 1970, as Feast keeps it. */
export const FEATURE_TYPES = ['bool', 'int32', 'int64', 'float32', 'float64', 'string', 'timestamp'] as const;
export type FeatureType = (typeof FEATURE_TYPES)[number];
export const ENTITY_TYPES = ['int64', 'int32', 'string'] as const;
export type EntityType = (typeof ENTITY_TYPES)[number];

export type Scalar = number | bigint | boolean | string;
/** A feature's value; null is a value that is known to be missing. Integers beyond 2^53 are bigints, and only those. */
export type FeatureValue = Scalar | Scalar[] | null;

const MIN_64 = -(2n ** 63n);
const MAX_64 = 2n ** 63n - 1n;
const MAX_TEXT = 64 * 1024;
/** What parseExact makes of a long whole number. */
const WIDE = /^-?\d{16,}$/;
const NON_FINITE: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};

/**
 * The value as one of `type`; `length` > 0: a vector of so many. Throws invalid_argument: `what` says where it stood.
 * NaN of a float column is a missing value in data frames, and stays NaN here.
 */
export function readFeature(type: FeatureType, length: number, value: unknown, what: string): FeatureValue {
  if (value === null || value === undefined) return null;
  if (length === 0) return readScalar(type, value, what);
  if (!Array.isArray(value) || value.length !== length)
    throw invalidArgument(`${what} must be a list of ${length} values of type ${type}, not ${shown(value)}`);
  return value.map((each: unknown, i) => readScalar(type, each, `${what}[${i}]`));
}

function readScalar(type: FeatureType, value: unknown, what: string): Scalar {
  switch (type) {
    case 'bool':
      if (typeof value === 'boolean') return value;
      if (value === 0 || value === 1) return value === 1;
      break;
    case 'string':
      if (typeof value === 'string' && value.length <= MAX_TEXT) return value;
      if (typeof value === 'string')
        throw invalidArgument(`${what} is a text of ${value.length} characters; at most ${MAX_TEXT} are allowed`);
      break;
    case 'float32':
    case 'float64': {
      const number = typeof value === 'string' ? (WIDE.test(value) ? Number(value) : NON_FINITE[value]) : value;
      if (typeof number === 'number') return type === 'float32' ? Math.fround(number) : number;
      break;
    }
    case 'int32':
      if (typeof value === 'number' && (value | 0) === value) return value;
      break;
    case 'int64':
      return readInteger(value, what);
    case 'timestamp':
      return typeof value === 'number' && Number.isSafeInteger(value)
        ? value
        : Math.floor(readTime(value, what) / 1000);
  }
  throw invalidArgument(`${what} must be of type ${type}, not ${shown(value)}`);
}

/** Of an integer that JSON gave: a number, or its digits. */
function readInteger(value: unknown, what: string): number | bigint {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value === 0 ? 0 : value;
  if (typeof value === 'bigint' || (typeof value === 'string' && /^-?\d{1,19}$/.test(value))) {
    const wide = BigInt(value);
    if (wide >= MIN_64 && wide <= MAX_64) return Number.isSafeInteger(Number(wide)) ? Number(wide) : wide;
  }
  throw invalidArgument(`${what} must be an integer of 64 bits, not ${shown(value)}`);
}

/** An entity's key as the text it is stored under. Throws invalid_argument. */
export function readKey(type: EntityType, value: unknown, what: string): string {
  if (type === 'string') {
    if (typeof value === 'string' && value !== '' && value.length <= 512) return value;
    throw invalidArgument(`${what} must be a text of 1 to 512 characters, not ${shown(value)}`);
  }
  const integer = readInteger(value, what);
  if (type === 'int32' && (Number(integer) | 0) !== Number(integer))
    throw invalidArgument(`${what} must be an integer of 32 bits, not ${shown(value)}`);
  return String(integer);
}

const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)\s?(Z|[+-]\d\d:?\d\d)?)?$/;

/** Milliseconds since 1970 of ISO 8601 (without a zone: UTC), of such a number, or of a Date. Throws invalid_argument. */
export function readTime(value: unknown, what: string): number {
  if (typeof value === 'number' && Number.isFinite(value) && Math.abs(value) <= 8.64e15) return Math.trunc(value);
  if (value instanceof Date && !Number.isNaN(value.getTime())) return Math.floor(value.getTime());
  if (typeof value === 'string') {
    const match = TIME.exec(value);
    if (match !== null) {
      const [, day, clock = '00:00', zone = 'Z'] = match;
      const ms = Date.parse(`${day}T${clock.replace(/(\.\d{3})\d+$/, '$1')}${zone}`);
      if (!Number.isNaN(ms)) return ms;
    }
  }
  throw invalidArgument(
    `${what} must be a time such as "2026-01-31T12:00:00Z", or milliseconds since 1970, not ${shown(value)}`,
  );
}

/** As JSON. Infinities and NaN are texts, as in the JSON of protocol buffers. */
export function valueText(value: FeatureValue): string {
  if (typeof value === 'number')
    return Number.isFinite(value) ? (Object.is(value, -0) ? '-0.0' : String(value)) : `"${value}"`;
  if (value === null) return 'null';
  if (typeof value === 'string') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(valueText).join(',')}]`;
  return String(value);
}

function shown(value: unknown): string {
  const text = typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? 'undefined');
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
