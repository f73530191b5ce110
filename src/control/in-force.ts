/**
 * Who waits until every thread goes by a snapshot. Snapshots are numbered upwards; a thread that has one has all before it,
 * since messages of a port keep their order.
 */
export class InForce {
  /** The last snapshot each live thread has confirmed. */
  private readonly confirmed = new Map<number, number>();
  private waiters: { snapshot: number; resolve(): void }[] = [];

  /** A thread began to serve, or goes by this snapshot from now on. */
  confirm(thread: number, snapshot: number): void {
    this.confirmed.set(thread, snapshot);
    this.settle();
  }

  /** A thread has ended: it routes nothing any more, and nobody waits for it. */
  leave(thread: number): void {
    this.confirmed.delete(thread);
    this.settle();
  }

  /** Resolves when every live thread goes by this snapshot or a later one; at once where there is none. */
  everywhere(snapshot: number): Promise<void> {
    return new Promise((resolve) => {
      this.waiters.push({ snapshot, resolve });
      this.settle();
    });
  }

  private settle(): void {
    const reached = Math.min(...this.confirmed.values());
    this.waiters = this.waiters.filter(({ snapshot, resolve }) => {
      if (snapshot > reached) return true;
      resolve();
      return false;
    });
  }
}
