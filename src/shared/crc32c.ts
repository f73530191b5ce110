/** CRC-32C (Castagnoli), eight bytes a step. */
const POLYNOMIAL = 0x82f63b78;
const tables = makeTables();

function makeTables(): Int32Array[] {
  const result = Array.from({ length: 8 }, () => new Int32Array(256));
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let k = 0; k < 8; k++) c = (c & 1) !== 0 ? (c >>> 1) ^ POLYNOMIAL : c >>> 1;
    result[0][n] = c;
  }
  for (let n = 0; n < 256; n++) {
    for (let t = 1; t < 8; t++) {
      const before = result[t - 1][n];
      result[t][n] = result[0][before & 0xff] ^ (before >>> 8);
    }
  }
  return result;
}

const [t0, t1, t2, t3, t4, t5, t6, t7] = tables;

/** Of `u8[start]` up to `u8[end - 1]`, as an unsigned 32-bit number. */
export function crc32c(u8: Uint8Array, start: number, end: number): number {
  let crc = -1;
  let i = start;
  for (const last = end - 8; i <= last; i += 8) {
    crc ^= u8[i] | (u8[i + 1] << 8) | (u8[i + 2] << 16) | (u8[i + 3] << 24);
    crc =
      t7[crc & 0xff] ^
      t6[(crc >>> 8) & 0xff] ^
      t5[(crc >>> 16) & 0xff] ^
      t4[crc >>> 24] ^
      t3[u8[i + 4]] ^
      t2[u8[i + 5]] ^
      t1[u8[i + 6]] ^
      t0[u8[i + 7]];
  }
  for (; i < end; i++) crc = (crc >>> 8) ^ t0[(crc ^ u8[i]) & 0xff];
  return ~crc >>> 0;
}
