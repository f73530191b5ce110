import type { DoorCounts } from './door.ts';

/** Sums the counts of all gateway threads. */
export class DoorFigures {
  private readonly counts: DoorCounts = new Map();

  add(counts: DoorCounts): void {
    for (const [key, count] of counts) this.counts.set(key, (this.counts.get(key) ?? 0) + count);
  }

  /** Prometheus text. */
  render(): string {
    const name = 'switchyard_validation_violations_total';
    const rows = [...this.counts].map(([key, count]) => {
      const [model, field, rule, policy] = key.split('\0').map((text) => text.replace(/["\\\n]/g, '\\$&'));
      return `${name}{model="${model}",field="${field}",rule="${rule}",policy="${policy}"} ${count}`;
    });
    return `${[`# HELP ${name} Requests that went against a rule of their model's schema`, `# TYPE ${name} counter`, ...rows].join('\n')}\n`;
  }
}
