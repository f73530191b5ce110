/** Values as they come from files and databases, made cells of a type; and the narrowest type that takes them. */
import { exactText } from '../shared/exact-json.ts';
import type { Cell, FieldType } from './batch.ts';

const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/;
const INTEGER = /^[+-]?\d{1,19}$/;
/** "007" is a name, not a number. */
const PLAIN_INTEGER = /^[+-]?(0|[1-9]\d{0,18})$/;
const PLAIN_NUMBER = /^[+-]?(0|[1-9]\d*|(?=\.))(\.\d*)?([eE][+-]?\d+)?$/;
const DATE_TIME = /^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})$/;
const DATE = /^\d{4}-\d{2}-\d{2}$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const NOT_FINITE: Readonly<Record<string, number>> = {
  nan: Number.NaN,
  inf: Number.POSITIVE_INFINITY,
  infinity: Number.POSITIVE_INFINITY,
  '+inf': Number.POSITIVE_INFINITY,
  '+infinity': Number.POSITIVE_INFINITY,
  '-inf': Number.NEGATIVE_INFINITY,
  '-infinity': Number.NEGATIVE_INFINITY,
};
const MAX_INT64 = 2n ** 63n - 1n;
const MIN_INT64 = -(2n ** 63n);
/** What a Date can be. */
const MAX_TIME = 8.64e15;

/** A value as a cell of a type; undefined: it is none of that type. */
export function castCell(value: unknown, type: FieldType): Cell | undefined {
  if (value === null || value === undefined) return null;
  switch (type) {
    case 'boolean':
      return boolean(value);
    case 'integer':
      return integer(value);
    case 'number':
      return number(value);
    case 'timestamp':
      return timestamp(value);
    case 'binary':
      return binary(value);
    case 'numbers':
      return numbers(value);
    default:
      return text(value);
  }
}

function boolean(value: unknown): Cell | undefined {
  if (typeof value === 'boolean') return value;
  if (value === 1 || value === '1') return true;
  if (value === 0 || value === '0') return false;
  const word = typeof value === 'string' ? value.toLowerCase() : '';
  if (word === 'true') return true;
  return word === 'false' ? false : undefined;
}

function integer(value: unknown): Cell | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : undefined;
  if (typeof value === 'bigint') return wholeNumber(value);
  if (typeof value === 'string' && INTEGER.test(value)) {
    const small = Number(value);
    return Number.isSafeInteger(small) ? small : wholeNumber(BigInt(value.replace('+', '')));
  }
  return undefined;
}

/** A bigint only where a number would lose digits; undefined beyond 64 bits. */
function wholeNumber(value: bigint): Cell | undefined {
  if (value > MAX_INT64 || value < MIN_INT64) return undefined;
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

function number(value: unknown): Cell | undefined {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  if (typeof value !== 'string') return undefined;
  if (NUMBER.test(value)) return Number(value);
  const word = value.toLowerCase();
  return Object.hasOwn(NOT_FINITE, word) ? NOT_FINITE[word] : undefined;
}

function timestamp(value: unknown): Cell | undefined {
  let time = Number.NaN;
  if (typeof value === 'number') time = value;
  else if (typeof value === 'bigint') time = Number(value);
  else if (value instanceof Date) time = value.getTime();
  else if (typeof value === 'string') {
    if (INTEGER.test(value)) time = Number(value);
    else if (DATE_TIME.test(value) || DATE.test(value)) time = Date.parse(value.replace(' ', 'T'));
  }
  return Math.abs(time) <= MAX_TIME ? time : undefined;
}

function binary(value: unknown): Cell | undefined {
  if (value instanceof Uint8Array) return value;
  return typeof value === 'string' && BASE64.test(value) ? new Uint8Array(Buffer.from(value, 'base64')) : undefined;
}

function numbers(value: unknown): Cell | undefined {
  let list = value;
  if (typeof value === 'string') {
    try {
      list = JSON.parse(value);
    } catch {
      return undefined;
    }
  }
  if (ArrayBuffer.isView(list) && !(list instanceof DataView)) list = Array.from(list as unknown as ArrayLike<number>);
  if (!Array.isArray(list)) return undefined;
  const found: number[] = [];
  for (const item of list) {
    const cell = item === null ? Number.NaN : number(item);
    if (typeof cell !== 'number') return undefined;
    found.push(cell);
  }
  return found;
}

/** A list or an object stays what it is, as JSON text. */
function text(value: unknown): Cell | undefined {
  if (typeof value === 'string') return value;
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return undefined;
  if (typeof value === 'object') return exactText(value);
  return typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint'
    ? String(value)
    : undefined;
}

/** The type that a value shows by itself; undefined for a missing one. */
export function typeOfValue(value: unknown): FieldType | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof value === 'boolean') return 'boolean';
  if (typeof value === 'number') return Number.isSafeInteger(value) ? 'integer' : 'number';
  if (typeof value === 'bigint') return wholeNumber(value) === undefined ? 'number' : 'integer';
  if (value instanceof Date) return 'timestamp';
  if (value instanceof Uint8Array) return 'binary';
  if (Array.isArray(value)) return numbers(value) === undefined ? 'string' : 'numbers';
  return typeof value === 'string' ? typeOfText(value) : 'string';
}

function typeOfText(value: string): FieldType {
  const first = value.charCodeAt(0);
  if (first === 0x5b && value.endsWith(']') && numbers(value) !== undefined) return 'numbers';
  if (PLAIN_INTEGER.test(value)) return integer(value) === undefined ? 'number' : 'integer';
  if (PLAIN_NUMBER.test(value) && NUMBER.test(value)) return 'number';
  const word = value.length <= 9 ? value.toLowerCase() : '';
  if (word === 'true' || word === 'false') return 'boolean';
  if (Object.hasOwn(NOT_FINITE, word)) return 'number';
  return DATE_TIME.test(value) && timestamp(value) !== undefined ? 'timestamp' : 'string';
}

/** The narrowest type that takes what both take. */
export function widen(a: FieldType | undefined, b: FieldType | undefined): FieldType | undefined {
  if (a === undefined || a === b) return b;
  if (b === undefined) return a;
  if ((a === 'integer' && b === 'number') || (a === 'number' && b === 'integer')) return 'number';
  return 'string';
}

/** A cell as JSON has it: timestamps in ISO 8601, bytes in base64; a text for what is not finite or has too many digits. */
export function jsonValue(cell: Cell, type: FieldType): unknown {
  if (cell === null) return null;
  if (type === 'timestamp') return new Date(cell as number).toISOString();
  if (cell instanceof Uint8Array) return Buffer.from(cell).toString('base64');
  if (typeof cell === 'number') return Number.isFinite(cell) ? cell : String(cell);
  if (Array.isArray(cell)) return cell.map((item) => (Number.isFinite(item) ? item : String(item)));
  return typeof cell === 'bigint' ? String(cell) : cell;
}

/** A value in a message: JSON, cut. */
export function shownValue(value: unknown): string {
  const shown = value === undefined ? 'undefined' : exactText(value);
  return shown.length > 120 ? `${shown.slice(0, 120)}…` : shown;
}
