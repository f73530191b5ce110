import { PENDING } from './element-sink.ts';
import { POWERS, scaleDecimal } from './number.ts';

const pendingWords = new Uint32Array(PENDING.buffer);
const powers = Float64Array.from(POWERS);

const MINUS = 0x2d;
const COMMA = 0x2c;
const SPACE = 0x20;
/** '.' as a digit would count: its code less that of '0'. */
const POINT = -2;

/** Values in PENDING after the last run. */
export let runFill = 0;
/** Whether the last run stopped behind a value (at a delimiter) rather than before one. */
export let runAfterValue = false;

/**
 * The inner loop of every numeric body: reads `number, number, …` from `start` on and adds each to PENDING, which holds
 * `fill` values. It stops where something is not for it (a bracket, a long or malformed number, an exponent, a bare
 * token, unusual white space, PENDING full) and leaves that to the caller. Returns where it stopped. The text must end
 * in a closing bracket.
 */
export function scanNumberRun(buf: Uint8Array, start: number, fill: number): number {
  let pos = start;
  let n = fill;
  runAfterValue = false;
  while (n < PENDING.length) {
    let at = pos;
    const negative = buf[at] === MINUS;
    if (negative) at++;
    const first = at;
    let digit = buf[at] - 0x30;
    if (digit >>> 0 > 9) break;
    const zero = digit === 0;
    let mantissa = digit;
    digit = buf[++at] - 0x30;
    if (zero && digit >>> 0 <= 9) break;
    while (digit >>> 0 <= 9) {
      mantissa = (mantissa * 10 + digit) | 0;
      digit = buf[++at] - 0x30;
    }
    let digits = at - first;
    let fraction = 0;
    if (digit === POINT) {
      const point = ++at;
      digit = buf[at] - 0x30;
      while (digit >>> 0 <= 9) {
        mantissa = (mantissa * 10 + digit) | 0;
        digit = buf[++at] - 0x30;
      }
      fraction = at - point;
      if (fraction === 0) break;
      digits += fraction;
    }
    if (digit === 0x35 || digit === 0x15) break;
    let value = mantissa;
    if (digits > (zero ? 10 : 9)) {
      // The integer overflowed: once more with two of them.
      value = wideNumber(buf, first, at, fraction);
      if (value < 0) break;
    } else {
      // Both sides of the division are exact, so it rounds correctly.
      value /= powers[fraction];
    }
    PENDING[n] = negative ? -value : value;
    // In the middle of two floats: parseSingle tells which one is nearer to the decimal.
    if ((pendingWords[2 * n] & 0x1fffffff) === 0x10000000) break;
    n++;
    pos = at;
    if (digit !== COMMA - 0x30) {
      runAfterValue = true;
      break;
    }
    pos = buf[at + 1] === SPACE ? at + 2 : at + 1;
  }
  runFill = n;
  return pos;
}

/** The decimal in [first, end), which has `fraction` digits after its point; -1 where parseNumber must decide. */
function wideNumber(buf: Uint8Array, first: number, end: number, fraction: number): number {
  if (fraction > 22) return -1;
  let at = first;
  while (buf[at] === 0x30 || buf[at] === 0x2e) at++;
  let high = 0;
  let low = 0;
  let digits = 0;
  for (; at < end && digits < 9; at++) {
    const digit = buf[at] - 0x30;
    if (digit === POINT) continue;
    high = (high * 10 + digit) | 0;
    digits++;
  }
  for (; at < end; at++) {
    const digit = buf[at] - 0x30;
    if (digit === POINT) continue;
    low = (low * 10 + digit) | 0;
    digits++;
  }
  return digits > 18 ? -1 : scaleDecimal(high, low, digits, -fraction);
}
