const MAX_WAIT_MS = 2;
/** A commit that takes less is not worth waiting for: while it runs, the requests of the next one are read. */
const QUICK_MS = 2;

/**
 * Whether to wait before the next commit. Clients that wait for their answers come back together after a commit. Begun
 * with the first of them, the next commit would leave the others to one more, and where the disk is slow, each commit
 * costs the same however many writes it has. So those just answered are given a moment to come back. A lone writer never
 * waits. Times are milliseconds of one clock.
 */
export class Gathering {
  private expected = 0;
  private until = Number.NEGATIVE_INFINITY;

  /**
   * A commit is over that the disk was waited for from `begun` to `ended`.
   * @param waiting writes that came meanwhile
   */
  committed(writes: number, waiting: number, begun: number, ended: number): void {
    const took = ended - begun;
    this.expected = writes + waiting;
    this.until = ended + (took < QUICK_MS ? 0 : Math.min(MAX_WAIT_MS, took / 2));
  }

  /** How long to wait for more than the `waiting` writes; 0: commit now. */
  wait(waiting: number, now: number): number {
    return waiting >= this.expected ? 0 : Math.max(0, this.until - now);
  }
}
