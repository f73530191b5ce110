/**
 * Numbers as JSON text, written straight into bytes. Every function takes a buffer with at least MAX_NUMBER_BYTES of
 * room at `pos` and returns the position after the text. Floats print the shortest digits that read back as the same
 * element of their own type, always with a fraction or an exponent (`5.0`), so that typed clients see a float; values
 * that JSON has no number for print bare as NaN, Infinity and -Infinity.
 */
export const MAX_NUMBER_BYTES = 40;

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);
const double = new Float64Array(1);
const doubleWords = new Uint32Array(double.buffer);
// Exact up to 10^22; beyond that the nearest double, which the margin below accounts for.
const TENS = Float64Array.from({ length: 64 }, (_, i) => Number(`1e${i}`));
// Powers -46..39 as seen from a float32, for its decimal exponent.
const DECADES = Float64Array.from({ length: 86 }, (_, i) => Number(`1e${i - 46}`));

const ZERO = 0x30;
const POINT = 0x2e;
const MINUS = 0x2d;

export function printAscii(buf: Uint8Array, pos: number, text: string): number {
  for (let i = 0; i < text.length; i++) buf[pos + i] = text.charCodeAt(i);
  return pos + text.length;
}

/** A non-negative integer below 2^31. */
function printUint31(buf: Uint8Array, pos: number, value: number): number {
  let rest = value | 0;
  const end = pos + countDigits(rest);
  let at = end;
  do {
    const next = (rest / 10) | 0;
    buf[--at] = ZERO + rest - next * 10;
    rest = next;
  } while (rest !== 0);
  return end;
}

/** Any integer of magnitude up to 2^53. */
export function printInteger(buf: Uint8Array, pos: number, value: number): number {
  let at = pos;
  let rest = value;
  if (rest < 0) {
    buf[at++] = MINUS;
    rest = -rest;
  }
  if (rest < 2147483648) return printUint31(buf, at, rest);
  const high = Math.floor(rest / 1e9);
  at = printUint31(buf, at, high);
  return printPadded9(buf, at, rest - high * 1e9);
}

/** A 64-bit integer given by its 32-bit halves, `high` signed or not as the type is. */
export function printInteger64(buf: Uint8Array, pos: number, high: number, low: number): number {
  const value = high * 4294967296 + low;
  if (value <= Number.MAX_SAFE_INTEGER && value >= -Number.MAX_SAFE_INTEGER) return printInteger(buf, pos, value);
  return printAscii(buf, pos, ((BigInt(high) << 32n) + BigInt(low)).toString());
}

/** A double. */
export function printFloat64(buf: Uint8Array, pos: number, value: number): number {
  if (value - value !== 0) return printNonFinite(buf, pos, value);
  if (value === Math.floor(value) && value < 1e9 && value > -1e9) return printWhole(buf, pos, value);
  const text = String(value);
  const at = printAscii(buf, pos, text);
  if (value === Math.floor(value) && Math.abs(value) < 1e21) return printAscii(buf, at, '.0');
  return at;
}

/** A value that is exactly a float32. */
export function printFloat32(buf: Uint8Array, pos: number, value: number): number {
  if (value - value !== 0) return printNonFinite(buf, pos, value);
  let magnitude = value;
  let at = pos;
  if (value < 0) {
    buf[at++] = MINUS;
    magnitude = -value;
  }
  if (magnitude < 16777216 && magnitude === Math.floor(magnitude)) {
    return printWhole(buf, magnitude === 0 ? pos : at, magnitude === 0 ? value : magnitude);
  }
  single[0] = magnitude;
  const bits = singleBits[0];
  if (bits < 0x800000) return printSlowly(buf, at, magnitude);
  let exponent = Math.floor(((bits >>> 23) - 127) * 0.30103);
  if (magnitude >= DECADES[exponent + 47]) exponent++;
  // Six digits always survive a float32, so the first length that reads back is the shortest.
  for (let digits = 6; digits <= 9; digits++) {
    const scale = digits - 1 - exponent;
    const scaled = scale >= 0 ? magnitude * TENS[scale] : magnitude / TENS[-scale];
    const nearest = nearestInteger(scaled, scale, magnitude, digits);
    if (readsBack(nearest, scale, magnitude)) return printDigits(buf, at, nearest, scale);
    // Below a power of two the neighbours are half as far: the next decimal above may do where the nearest does not.
    if ((bits & 0x7fffff) === 0 && readsBack(nearest + 1, scale, magnitude)) {
      return printDigits(buf, at, nearest + 1, scale);
    }
  }
  return printSlowly(buf, at, magnitude);
}

/** magnitude · 10^scale, of which `scaled` is the computed value, as the nearest integer; of two that are equally near, the even one. */
function nearestInteger(scaled: number, scale: number, magnitude: number, digits: number): number {
  const nearest = Math.floor(scaled + 0.5);
  const rest = nearest - scaled;
  if (rest < 0.499999 && rest > -0.499999) return nearest;
  // No float32 lies in the very middle beyond this scale (5^14 has no room in it): the product was rounded to it.
  if (scale > 13 || scale < -13) return Number(magnitude.toExponential(digits - 1).replace(/\.|e.*/g, ''));
  return rest === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest;
}

/** Whether decimal · 10^−scale, read as a double and rounded to a float32, is `value`. */
function readsBack(decimal: number, scale: number, value: number): boolean {
  const back = scale >= 0 ? decimal / TENS[scale] : decimal * TENS[-scale];
  if (scale <= 22 && scale >= -22) return Math.fround(back) === value;
  const below = Math.fround(back * (1 - 2 ** -50)) === value;
  if (below === (Math.fround(back * (1 + 2 ** -50)) === value)) return below;
  // The power is not exact: next to the middle between two floats the engine's own reading decides. Where it gives the
  // very middle, readers by way of a double and direct ones differ, so that is for neither float.
  double[0] = Number(`${decimal}e${-scale}`);
  return Math.fround(double[0]) === value && (doubleWords[0] & 0x1fffffff) !== 0x10000000;
}

/** The engine's exact printing, for subnormals and for what lies too near to a rounding boundary. */
function printSlowly(buf: Uint8Array, pos: number, value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const text = value.toExponential(digits - 1);
    if (Math.fround(Number(text)) === value) return printAscii(buf, pos, text);
  }
  return printAscii(buf, pos, value.toExponential(8));
}

/** decimal · 10^−scale; `decimal` is an integer of at most ten digits. */
function printDigits(buf: Uint8Array, pos: number, decimal: number, scale: number): number {
  let rest = decimal | 0;
  let fraction = scale;
  let next = (rest / 10) | 0;
  while (rest === next * 10) {
    rest = next;
    fraction--;
    next = (rest / 10) | 0;
  }
  const digits = countDigits(rest);
  const exponent = digits - 1 - fraction;
  let at = pos;
  if (exponent < -7 || exponent > 15) return printScientific(buf, at, rest, digits, exponent);
  if (fraction <= 0) {
    at = printUint31(buf, at, rest);
    while (fraction++ < 0) buf[at++] = ZERO;
    buf[at++] = POINT;
    buf[at++] = ZERO;
    return at;
  }
  if (exponent < 0) {
    buf[at++] = ZERO;
    buf[at++] = POINT;
    for (let i = exponent + 1; i < 0; i++) buf[at++] = ZERO;
    return printUint31(buf, at, rest);
  }
  const end = at + digits + 1;
  const point = end - fraction - 1;
  for (at = end - 1; at >= pos; at--) {
    if (at === point) {
      buf[at] = POINT;
    } else {
      next = (rest / 10) | 0;
      buf[at] = ZERO + rest - next * 10;
      rest = next;
    }
  }
  return end;
}

function printScientific(buf: Uint8Array, pos: number, decimal: number, digits: number, exponent: number): number {
  // Written one to the right, then the leading digit moves left to make room for the point.
  let at = printUint31(buf, pos + 1, decimal);
  buf[pos] = buf[pos + 1];
  if (digits > 1) buf[pos + 1] = POINT;
  else at = pos + 1;
  buf[at++] = 0x65;
  return printInteger(buf, at, exponent);
}

function printWhole(buf: Uint8Array, pos: number, value: number): number {
  let at = pos;
  if (value < 0 || Object.is(value, -0)) buf[at++] = MINUS;
  at = printUint31(buf, at, Math.abs(value));
  buf[at++] = POINT;
  buf[at++] = ZERO;
  return at;
}

function printNonFinite(buf: Uint8Array, pos: number, value: number): number {
  if (value === Infinity) return printAscii(buf, pos, 'Infinity');
  return printAscii(buf, pos, value === -Infinity ? '-Infinity' : 'NaN');
}

function printPadded9(buf: Uint8Array, pos: number, value: number): number {
  let rest = value | 0;
  for (let at = pos + 8; at >= pos; at--) {
    const next = (rest / 10) | 0;
    buf[at] = ZERO + rest - next * 10;
    rest = next;
  }
  return pos + 9;
}

function countDigits(value: number): number {
  if (value < 10000) {
    if (value < 100) return value < 10 ? 1 : 2;
    return value < 1000 ? 3 : 4;
  }
  if (value < 100000000) {
    if (value < 1000000) return value < 100000 ? 5 : 6;
    return value < 10000000 ? 7 : 8;
  }
  return value < 1000000000 ? 9 : 10;
}
