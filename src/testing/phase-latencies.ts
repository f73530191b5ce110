import assert from 'node:assert/strict';

/** Medians may rise this much, and below the floor whatever they like: other tests share the machine. */
const RATIO = 5;
const FLOOR_MS = 100;

/** Latencies of one caller, by what happens elsewhere meanwhile. */
export class PhaseLatencies {
  phase = 'calm';
  private readonly ms = new Map<string, number[]>();

  /** A call counts for the phase in which it began. */
  async time<T>(call: () => Promise<T>): Promise<T> {
    const { phase } = this;
    const begun = performance.now();
    const result = await call();
    const list = this.ms.get(phase);
    if (list === undefined) this.ms.set(phase, [performance.now() - begun]);
    else list.push(performance.now() - begun);
    return result;
  }

  /** Calls of the present phase so far. */
  count(): number {
    return this.ms.get(this.phase)?.length ?? 0;
  }

  /** Each phase's figures beside the calm one's; fails when the median of one has moved. */
  compare(calm: string, phases: readonly string[]): string[] {
    const before = this.figures(calm);
    const lines = [`${calm}: median ${before.median.toFixed(1)} ms, p99 ${before.p99.toFixed(1)} ms`];
    for (const phase of phases) {
      const { median, p99, count } = this.figures(phase);
      const line = `'${phase}': median ${median.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms of ${count}`;
      assert.ok(median < Math.max(FLOOR_MS, RATIO * before.median), `other models slowed down: ${line}; ${lines[0]}`);
      lines.push(line);
    }
    return lines;
  }

  private figures(phase: string): { median: number; p99: number; count: number } {
    const sorted = (this.ms.get(phase) ?? []).sort((a, b) => a - b);
    assert.ok(sorted.length > 0, `no call was made during '${phase}'`);
    const at = (q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
    return { median: at(0.5), p99: at(0.99), count: sorted.length };
  }
}
