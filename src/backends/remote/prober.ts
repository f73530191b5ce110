import type { Replica, ReplicaSet } from './replicas.ts';

/** Asks every replica for its health at an interval. A probe still running is not started again. */
export class HealthProber {
  readonly #timer: NodeJS.Timeout;
  readonly #running = new Set<Replica>();

  /** @param probe resolves false, or rejects, for a replica that cannot serve; bounds its own time */
  constructor(set: ReplicaSet, intervalMs: number, probe: (replica: Replica) => Promise<boolean>) {
    this.#timer = setInterval(() => {
      for (const replica of set.replicas) {
        if (this.#running.has(replica)) continue;
        this.#running.add(replica);
        void probe(replica)
          .catch(() => false)
          .then((healthy) => {
            this.#running.delete(replica);
            set.probed(replica, healthy);
          });
      }
    }, intervalMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
