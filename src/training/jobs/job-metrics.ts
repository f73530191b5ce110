import { JOB_STATUSES, type JobStatus, type JobView } from './jobs.ts';
import { isOver } from './state.ts';

const BOUNDS_S = [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400];

class Histogram {
  private readonly counts = BOUNDS_S.map(() => 0);
  private count = 0;
  private sum = 0;

  add(seconds: number): void {
    const value = Math.max(0, seconds);
    this.count++;
    this.sum += value;
    for (const [i, bound] of BOUNDS_S.entries()) if (value <= bound) this.counts[i]++;
  }

  lines(name: string): string[] {
    const buckets = BOUNDS_S.map((bound, i) => `${name}_bucket{le="${bound}"} ${this.counts[i]}`);
    return [
      ...buckets,
      `${name}_bucket{le="+Inf"} ${this.count}`,
      `${name}_sum ${this.sum}`,
      `${name}_count ${this.count}`,
    ];
  }
}

/** Figures of training jobs for Prometheus: those of all servers by state, and this server's times. */
export class JobMetrics {
  private counts: ReadonlyMap<string, number> = new Map();
  private readonly ended = new Map<JobStatus, number>();
  private readonly queued = new Histogram();
  private readonly ran = new Histogram();
  private readonly begun = new Set<string>();

  setCounts(counts: ReadonlyMap<string, number>): void {
    this.counts = counts;
  }

  observe({ id, status, createdAt, startedAt, endedAt }: JobView): void {
    if (status === 'running' && !this.begun.has(id)) {
      this.begun.add(id);
      this.queued.add(((startedAt ?? createdAt) - createdAt) / 1000);
    }
    if (!isOver(status)) return;
    if (this.begun.delete(id) && startedAt !== null && endedAt !== null) this.ran.add((endedAt - startedAt) / 1000);
    this.ended.set(status, (this.ended.get(status) ?? 0) + 1);
  }

  render(): string {
    const family = (name: string, type: string, help: string, lines: readonly string[]): string =>
      `${[`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join('\n')}\n`;
    const states = JOB_STATUSES.map((status) => `switchyard_jobs{status="${status}"} ${this.counts.get(status) ?? 0}`);
    const ended = [...this.ended].map(([status, count]) => `switchyard_jobs_ended_total{status="${status}"} ${count}`);
    const queue = 'switchyard_job_queue_seconds';
    const run = 'switchyard_job_run_seconds';
    return [
      family('switchyard_jobs', 'gauge', 'Training jobs by the state they are in', states),
      family('switchyard_jobs_ended_total', 'counter', 'Training jobs that ended, by how', ended),
      family(queue, 'histogram', 'Time from the submission of a job to its first start', this.queued.lines(queue)),
      family(run, 'histogram', 'Time from the first start of a job to its end', this.ran.lines(run)),
    ].join('');
  }
}
