/** Bytes per second below which a client is cut, unless a port says otherwise. */
export const BYTE_FLOOR = 1024;

/** Whether `bytes` are too few for `ms`: nothing is in the first ten seconds, which uWS gives too. */
export function tooSlow(bytes: number, ms: number, floor: number): boolean {
  return ms >= 10_000 && bytes < (floor * ms) / 1000;
}
