/** A message may rest this long in the middle. */
const STALL_MS = 30_000;
/** Nothing is too slow before; then a message is that arrives slower than a body over HTTP may. */
const GRACE_MS = 10_000;
const BYTES_PER_SECOND = 1024;

/** How an incomplete message arrives, as looked at about once a second. */
export class Arrival {
  /** Since the message began. */
  bytes = 0;
  /** monotonicMs() at the first look, and at the first one since bytes came; 0: not looked at. */
  private begunAt = 0;
  movedAt = 0;

  /** The next bytes are another message's. */
  begin(): void {
    this.bytes = 0;
    this.begunAt = 0;
    this.movedAt = 0;
  }

  /** Why the message is not waited for any longer; '': it is. */
  look(now: number): string {
    if (this.begunAt === 0) this.begunAt = now;
    if (this.movedAt === 0) this.movedAt = now;
    if (now - this.movedAt > STALL_MS) return 'a message stopped arriving before its declared length';
    const waited = now - this.begunAt;
    if (waited < GRACE_MS || this.bytes >= (BYTES_PER_SECOND * waited) / 1000) return '';
    return `a message arrives slower than ${BYTES_PER_SECOND} bytes per second`;
  }
}
