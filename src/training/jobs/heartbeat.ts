/** Notices that a job says nothing any more: no output, and no metric. */
export class Heartbeat {
  private readonly limitMs: number;
  private aliveAt = performance.now();
  private mark = '';

  constructor(seconds: number | undefined) {
    this.limitMs = (seconds ?? Number.POSITIVE_INFINITY) * 1000;
  }

  /** What to say of it; '' = it lives. Metrics are looked at only when output has been missing for a while. */
  async silence(grew: boolean, mark: () => Promise<string>): Promise<string> {
    const now = performance.now();
    if (grew) this.aliveAt = now;
    if (now - this.aliveAt < this.limitMs / 2) return '';
    const current = await mark();
    if (current !== this.mark) {
      this.mark = current;
      this.aliveAt = now;
    }
    if (now - this.aliveAt < this.limitMs) return '';
    return `it hung: no output and no metric for ${this.limitMs / 1000} s`;
  }
}
