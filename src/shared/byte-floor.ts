/** Bytes per second below which a client is cut, unless a port says otherwise. */
export const BYTE_FLOOR = 1024;

/** So long are bytes counted before they are too few, which uWS gives too. */
const WATCHED_MS = 10_000;

/** Whether `bytes` are too few for `ms`: nothing is in the first ten seconds. */
export function tooSlow(bytes: number, ms: number, floor: number): boolean {
  return ms >= WATCHED_MS && bytes < (floor * ms) / 1000;
}

/** A flow of bytes, looked at about once a second and counted anew every ten: what came quickly excuses nothing later. */
export class ByteWatch {
  private since: number;
  private counted = 0;

  /** @param begun milliseconds of the clock that {@link tooSlow} is told */
  constructor(begun: number) {
    this.since = begun;
  }

  /** @param total all bytes of the flow so far */
  tooSlow(total: number, now: number, floor: number): boolean {
    const ms = now - this.since;
    if (tooSlow(total - this.counted, ms, floor)) return true;
    if (ms >= WATCHED_MS) {
      this.since = now;
      this.counted = total;
    }
    return false;
  }
}
