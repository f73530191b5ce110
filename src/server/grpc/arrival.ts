import { BYTE_FLOOR, tooSlow } from '../../shared/byte-floor.ts';

/** A message may rest this long in the middle. */
const STALL_MS = 30_000;

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
    if (!tooSlow(this.bytes, now - this.begunAt, BYTE_FLOOR)) return '';
    return `a message arrives slower than ${BYTE_FLOOR} bytes per second`;
  }
}
