/** Conversions between 16-bit floats and numbers. The 16-bit side is always the raw bit pattern, 0..65535. */

const f32 = new Float32Array(1);
const bits = new Uint32Array(f32.buffer);
const f64 = new Float64Array(1);
const words = new Uint32Array(f64.buffer);

/** Value of an IEEE binary16 bit pattern; exact. */
export function fp16ToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** Nearest binary16, ties to even; beyond ±65520 becomes infinity; any NaN becomes the quiet one. */
export function numberToFp16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  // The spacing of binary16 around the value is a power of two, so the divisions below are exact and round once.
  if (magnitude < 2 ** -14) return sign | roundHalfEven(magnitude * 2 ** 24);
  f64[0] = magnitude;
  const exponent = (words[1] >>> 20) - 1023;
  // 1024..2048; a mantissa that rounds up to 2048 carries into the exponent by plain addition.
  const steps = roundHalfEven(magnitude / 2 ** (exponent - 10));
  return sign | ((exponent + 14) * 1024 + steps);
}

/** Value of a bfloat16 bit pattern; exact. */
export function bf16ToNumber(half: number): number {
  bits[0] = half << 16;
  return f32[0];
}

/** Nearest bfloat16 of the value's float32, ties to even; any NaN becomes the quiet one. */
export function numberToBf16(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0;
  f32[0] = value;
  const raw = bits[0];
  return ((raw + 0x7fff + ((raw >>> 16) & 1)) >>> 16) & 0xffff;
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest > 0.5 || (rest === 0.5 && floor % 2 === 1)) return floor + 1;
  return floor;
}
