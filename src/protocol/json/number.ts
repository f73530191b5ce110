import type { JsonCursor } from './cursor.ts';
import { latin1 } from './text.ts';

/** Powers of ten that a double holds exactly. */
export const POWERS = Array.from({ length: 23 }, (_, i) => Number(`1e${i}`));

const SPLITTER = 134217729; // 2^27 + 1: Dekker's constant for halving a double's mantissa

/**
 * Reads the JSON number at the cursor (which stands on `-` or a digit), correctly rounded, and moves past it. Refuses
 * leading zeros, empty fractions and exponents, and magnitudes beyond the range of a double.
 *
 * Up to 18 significant digits are kept in two integers. Small cases are exact in one multiplication or division by an
 * exact power of ten (Clinger); 16 to 18 digits go through a product or quotient in twice the precision, accepted when
 * its error cannot change the rounding; what is left goes to the engine's own parser.
 */
export function parseNumber(cursor: JsonCursor): number {
  const buf = cursor.buf;
  const start = cursor.pos;
  let pos = start;
  const negative = buf[pos] === 0x2d;
  if (negative) pos++;
  let high = 0;
  let low = 0;
  let digits = 0;
  let dropped = 0;
  const first = pos;
  let c = buf[pos] - 0x30;
  while (c >= 0 && c <= 9) {
    if (digits < 9) high = high * 10 + c;
    else if (digits < 18) low = low * 10 + c;
    else dropped++;
    if (digits > 0 || c > 0) digits++;
    c = buf[++pos] - 0x30;
  }
  if (pos === first) throw bad(cursor, pos, 'expected a digit');
  if (buf[first] === 0x30 && pos > first + 1) throw bad(cursor, first, 'a number with a leading zero');
  let exponent = dropped;
  if (c === -2) {
    const point = ++pos;
    c = buf[pos] - 0x30;
    while (c >= 0 && c <= 9) {
      if (digits < 9) high = high * 10 + c;
      else if (digits < 18) low = low * 10 + c;
      else dropped++;
      if (digits < 18) exponent--;
      if (digits > 0 || c > 0) digits++;
      c = buf[++pos] - 0x30;
    }
    if (pos === point) throw bad(cursor, pos, 'expected a digit after the decimal point');
  }
  if (c === 0x35 || c === 0x15) {
    pos++;
    const minus = buf[pos] === 0x2d;
    if (minus || buf[pos] === 0x2b) pos++;
    const from = pos;
    let e = 0;
    c = buf[pos] - 0x30;
    while (c >= 0 && c <= 9) {
      if (e < 100000) e = e * 10 + c;
      c = buf[++pos] - 0x30;
    }
    if (pos === from) throw bad(cursor, pos, 'expected a digit in the exponent');
    exponent += minus ? -e : e;
  }
  cursor.pos = pos;
  let value = -1;
  if (digits === 0) value = 0;
  else if (dropped === 0 && exponent >= -22 && exponent <= 22) value = scaleDecimal(high, low, digits, exponent);
  if (value < 0) {
    value = Number(latin1(buf, first, pos));
    if (value === Infinity) {
      const text = latin1(buf, start, Math.min(pos, start + 40));
      throw bad(cursor, start, `${text} is beyond the range of a 64-bit float`);
    }
  }
  return negative ? -value : value;
}

/**
 * (high·10^k + low)·10^exponent for 1 to 18 digits, of which `high` holds the first nine and `low` the k others, and
 * |exponent| ≤ 22; -1 where the rounding cannot be decided.
 */
export function scaleDecimal(high: number, low: number, digits: number, exponent: number): number {
  if (digits <= 15) {
    const mantissa = digits > 9 ? high * POWERS[digits - 9] + low : high;
    return exponent < 0 ? mantissa / POWERS[-exponent] : mantissa * POWERS[exponent];
  }
  // high·10^k is below 2^60 and exact as an unevaluated sum of two doubles.
  const power = POWERS[digits - 9];
  const product = high * power;
  const sum = product + low;
  // 10^k ≤ 10^9 and high < 10^9 < 2^30: both remainders below are exact.
  const rest = productError(high, power, product) + (low - (sum - product));
  const factor = POWERS[exponent < 0 ? -exponent : exponent];
  let head: number;
  let tail: number;
  if (exponent < 0) {
    head = sum / factor;
    const back = head * factor;
    tail = (sum - back - productError(head, factor, back) + rest) / factor;
  } else {
    head = sum * factor;
    tail = productError(sum, factor, head) + rest * factor;
  }
  const margin = head * 2 ** -98;
  const value = head + (tail - margin);
  return value === head + (tail + margin) ? value : -1;
}

/** a·b − fl(a·b), exactly (Dekker). */
function productError(a: number, b: number, product: number): number {
  const ca = SPLITTER * a;
  const ah = ca - (ca - a);
  const al = a - ah;
  const cb = SPLITTER * b;
  const bh = cb - (cb - b);
  const bl = b - bh;
  return ah * bh - product + ah * bl + al * bh + al * bl;
}

function bad(cursor: JsonCursor, pos: number, what: string): Error {
  cursor.pos = pos;
  return cursor.fail(what);
}
