/**
 * Which gateways have said nothing for so long that they are taken for gone. Each counts its rounds in Redis; who
 * decides watches, on its own monotonic clock, whether a count still grows: no machine's time of day is compared with
 * another's, so a clock that jumps makes nobody gone. Time in which nobody could speak is no silence: `reset` then.
 */
export class SilentNodes {
  private readonly silenceMs: number;
  /** By gateway: its count, and when it was first seen. */
  private seen = new Map<string, { count: string; since: number }>();
  private lookedAt = Number.NEGATIVE_INFINITY;

  constructor(silenceMs: number) {
    this.silenceMs = silenceMs;
  }

  /** Whether it is time for another look. @param now monotonic milliseconds, here and below */
  due(now: number): boolean {
    return now - this.lookedAt >= this.silenceMs / 10;
  }

  /** @returns those that are gone, and the counts they stood at */
  look(counts: Readonly<Record<string, string>>, now: number): [id: string, count: string][] {
    this.lookedAt = now;
    const seen = new Map<string, { count: string; since: number }>();
    for (const [id, count] of Object.entries(counts)) {
      const known = this.seen.get(id);
      seen.set(id, known?.count === count ? known : { count, since: now });
    }
    this.seen = seen;
    return [...seen].flatMap(([id, { count, since }]) => (now - since > this.silenceMs ? [[id, count]] : []));
  }

  /** Everybody's silence begins anew with the next look. */
  reset(): void {
    this.seen.clear();
    this.lookedAt = Number.NEGATIVE_INFINITY;
  }
}
