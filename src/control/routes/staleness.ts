/**
 * Whether what was decided for a fleet has become too old to go by: for so long no gateway that decides has been heard
 * of. A Redis that answers for a moment does not end it: somebody must have been heard of for `backMs` without a gap
 * longer than `gapMs`, or users would change versions with each such moment.
 */
export class Staleness {
  private readonly limits: { staleMs: number; gapMs: number; backMs: number };
  private heardAt = Number.NEGATIVE_INFINITY;
  /** Since when there was no gap. */
  private steadySince = 0;
  private stale = false;

  constructor(limits: { staleMs: number; gapMs: number; backMs: number }) {
    this.limits = limits;
  }

  /** Redis answers, and somebody decides. @param now monotonic milliseconds, here and below */
  heard(now: number): void {
    if (now - this.heardAt > this.limits.gapMs) this.steadySince = now;
    this.heardAt = now;
  }

  look(now: number): boolean {
    const { staleMs, backMs } = this.limits;
    if (now - this.heardAt > staleMs) this.stale = true;
    else if (this.heardAt - this.steadySince >= backMs) this.stale = false;
    return this.stale;
  }
}
