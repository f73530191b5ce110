import { BYTE_FLOOR, ByteWatch } from '../../shared/byte-floor.ts';

/** A message may rest this long in the middle. */
const STALL_MS = 30_000;

/** How an incomplete message arrives, as looked at about once a second. */
export class Arrival {
  /** Since the message began. */
  bytes = 0;
  private watch: ByteWatch | undefined;
  /** monotonicMs() at the first look since bytes came; 0: not looked at. */
  movedAt = 0;

  /** The next bytes are another message's. */
  begin(): void {
    this.bytes = 0;
    this.watch = undefined;
    this.movedAt = 0;
  }

  /** Why the message is not waited for any longer; '': it is. */
  look(now: number): string {
    this.watch ??= new ByteWatch(now);
    if (this.movedAt === 0) this.movedAt = now;
    if (now - this.movedAt > STALL_MS) return 'a message stopped arriving before its declared length';
    if (!this.watch.tooSlow(this.bytes, now, BYTE_FLOOR)) return '';
    return `a message arrives slower than ${BYTE_FLOOR} bytes per second`;
  }
}
