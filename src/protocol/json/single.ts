import type { JsonCursor } from './cursor.ts';
import { parseNumber } from './number.ts';
import { latin1 } from './text.ts';

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);
const double = new Float64Array(1);
const doubleBits = new BigUint64Array(double.buffer);

/** More digits than a number in the middle of two floats has: whether any follow is all that still matters. */
const MOST_DIGITS = 200;

/**
 * parseNumber for what becomes a float32. A double that is in the middle of two of those would be rounded a second time,
 * so it moves by its last bit to the side on which the decimal lies: then the float32 is the one nearest to the decimal.
 */
export function parseSingle(cursor: JsonCursor): number {
  const start = cursor.pos;
  const value = parseNumber(cursor);
  const magnitude = Math.abs(value);
  if (!isMiddle(magnitude)) return value;
  double[0] = magnitude;
  doubleBits[0] += BigInt(compareToDecimal(latin1(cursor.buf, start, cursor.pos), doubleBits[0]));
  return value < 0 ? -double[0] : double[0];
}

function isMiddle(magnitude: number): boolean {
  const nearest = Math.fround(magnitude);
  if (nearest === magnitude) return false;
  single[0] = nearest;
  singleBits[0] += magnitude > nearest ? 1 : -1;
  return single[0] - magnitude === magnitude - nearest;
}

/** 1, 0 or -1: a decimal's magnitude is above, equal to or below the normal double with these bits. */
function compareToDecimal(text: string, bits: bigint): number {
  const [, whole, fraction = '', exponent = '0'] = /^-?(\d+)(?:\.(\d+))?(?:[eE](.+))?$/.exec(text)!;
  let digits = (whole + fraction).replace(/^0+/, '');
  let power = Number(exponent) - fraction.length;
  if (digits.length > MOST_DIGITS) {
    power += digits.length - MOST_DIGITS - 1;
    digits = digits.slice(0, MOST_DIGITS) + (/[1-9]/.test(digits.slice(MOST_DIGITS)) ? '1' : '0');
  }
  const shift = Number(bits >> 52n) - 1075;
  const decimal = BigInt(digits) * times(10n, power) * times(2n, -shift);
  const binary = ((bits & 0xfffffffffffffn) | 0x10000000000000n) * times(2n, shift) * times(10n, -power);
  return decimal > binary ? 1 : decimal < binary ? -1 : 0;
}

/** base^power, or 1 where the power is negative. */
function times(base: bigint, power: number): bigint {
  return power > 0 ? base ** BigInt(power) : 1n;
}
