import type { TreeScalar } from '../pbtxt/tree.ts';

const INTEGER_RANGES: Readonly<Record<string, readonly [number, number]>> = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  uint64: [0, Number.MAX_SAFE_INTEGER],
};

/** Reads one scalar as `type`; a string result starting with no value is an error text: `{ error }`. */
export function readScalar(
  scalar: TreeScalar,
  type: string,
  style: 'pbtxt' | 'json',
): { value: string | number | boolean } | { error: string } {
  const shown = scalar.form === 'string' ? JSON.stringify(scalar.text) : scalar.text;
  if (type === 'string') {
    if (scalar.form === 'string' || style === 'json') return { value: scalar.text };
    return { error: `must be a quoted string, not ${shown}` };
  }
  if (scalar.form === 'string' && style === 'pbtxt')
    return { error: `must be ${article(type)}, not the string ${shown}` };
  if (type === 'bool') {
    if (/^(true|True|t|1)$/.test(scalar.text)) return { value: true };
    if (/^(false|False|f|0)$/.test(scalar.text)) return { value: false };
    return { error: `must be true or false, not ${shown}` };
  }
  const number = parseNumber(scalar.text);
  if (type === 'float' || type === 'double') {
    if (number !== undefined) return { value: number };
    return { error: `must be a number, not ${shown}` };
  }
  const [low, high] = INTEGER_RANGES[type];
  if (number === undefined || !Number.isInteger(number)) return { error: `must be an integer, not ${shown}` };
  if (number < low || number > high) return { error: `must lie between ${low} and ${high}, not ${shown}` };
  return { value: Object.is(number, -0) ? 0 : number };
}

function article(type: string): string {
  return type === 'bool' ? 'true or false' : type === 'float' || type === 'double' ? 'a number' : 'an integer';
}

/** Decimal, hexadecimal, octal (leading 0) and float literals with an optional sign and `f` suffix; undefined if none. */
function parseNumber(text: string): number | undefined {
  const sign = text.startsWith('-') ? -1 : 1;
  const body = sign < 0 ? text.slice(1) : text;
  if (/^0[xX][0-9a-fA-F]+$/.test(body)) return sign * Number(body);
  if (/^0[0-7]+$/.test(body)) return sign * Number.parseInt(body, 8);
  if (/^(inf|infinity|\.inf)$/i.test(body)) return sign * Number.POSITIVE_INFINITY;
  if (/^(nan|\.nan)$/i.test(body)) return Number.NaN;
  if (!/^(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[fF]?$/.test(body) || /^0\d+$/.test(body)) return undefined;
  return sign * Number(body.replace(/[fF]$/, ''));
}
