const WINDOW_MS = 250;
const WEIGHT = 0.3;

/** How many a second, over about the last second. */
export class Rate {
  perSecond = 0;
  private count = 0;
  private since = 0;

  add(count: number, now: number): void {
    this.count += count;
    if (this.since === 0) this.since = now;
    const ms = now - this.since;
    if (ms < WINDOW_MS) return;
    this.perSecond += ((this.count * 1000) / ms - this.perSecond) * WEIGHT;
    this.count = 0;
    this.since = now;
  }
}
