import type { Db, RegistryDatabase } from '../../registry/database/database.ts';
import { inTexts, run } from '../../registry/database/statements.ts';
import { type JobPoint, logJobMetrics } from '../../registry/tracking/job-runs.ts';
import type { OutputProgress } from './output-progress.ts';

/** What the driver of a job has read of its output. */
export interface Reading {
  jobId: string;
  attempt: number;
  output: OutputProgress;
  points: readonly JobPoint[];
  /** Metrics that were read from the job's output before. */
  own: ReadonlySet<string>;
}

/** A reading that is kept. */
export interface KeptReading {
  jobId: string;
  /** Without metrics that the job reports by itself. */
  output: OutputProgress;
}

interface Waiting {
  reading: Reading;
  resolve(output: OutputProgress | undefined): void;
  reject(error: unknown): void;
}

export interface OutputKeeperParts {
  database: RegistryDatabase;
  serverId: string;
  /** How long a reading may wait for others, in milliseconds. */
  waitMs(): number;
  /** Readings are kept, and whoever brought them does not know yet. */
  onKept(readings: readonly KeptReading[]): void;
}

const MAX_TOGETHER = 500;

/**
 * Keeps what drivers have read: the metrics, and how far the output was read, in one write, so that neither comes twice
 * nor is lost. What several drivers bring within a short time shares that write, its few statements and its one wait for
 * the disk. No reading changes a job's version: nobody but its driver looks at how far it has read.
 */
export class OutputKeeper {
  private readonly parts: OutputKeeperParts;
  private waiting: Waiting[] = [];
  private timer: NodeJS.Timeout | undefined;

  constructor(parts: OutputKeeperParts) {
    this.parts = parts;
  }

  /**
   * Resolves with what is kept; undefined: the job or the attempt is not this server's any more, and nothing was kept.
   * @param urgent what waits is kept at once
   */
  keep(reading: Reading, urgent: boolean): Promise<OutputProgress | undefined> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ reading, resolve, reject });
      if (urgent || this.waiting.length >= MAX_TOGETHER) this.flush();
      else this.timer ??= setTimeout(() => this.flush(), this.parts.waitMs());
    });
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const group = this.waiting;
    this.waiting = [];
    void this.keepTogether(group);
  }

  /** Never rejects. */
  private async keepTogether(group: readonly Waiting[]): Promise<void> {
    try {
      const readings = group.map(({ reading }) => reading);
      const kept = await this.parts.database.write((db) => this.write(db, readings));
      this.parts.onKept([...kept].map(([jobId, output]) => ({ jobId, output })));
      for (const { reading, resolve } of group) resolve(kept.get(reading.jobId));
    } catch (error) {
      // One that cannot be kept must not take the others with it.
      if (group.length > 1) for (const one of group) await this.keepTogether([one]);
      else group[0].reject(error);
    }
  }

  private async write(db: Db, readings: readonly Reading[]): Promise<Map<string, OutputProgress>> {
    const { kind } = this.parts.database;
    let query = db
      .selectFrom('jobs')
      .select(['job_id', 'run_id', 'owner', 'attempt'])
      .where(
        inTexts(
          kind,
          'job_id',
          readings.map(({ jobId }) => jobId),
        ),
      );
    // In one order, so that two such writes never wait for one another.
    if (kind === 'postgres') query = query.orderBy('job_id').forUpdate();
    const rows = new Map((await query.execute()).map((row) => [row.job_id, row]));
    const ours = readings.flatMap((reading) => {
      const row = rows.get(reading.jobId);
      const still = row?.owner === this.parts.serverId && row.attempt === reading.attempt;
      return still ? [{ ...reading, runId: row.run_id }] : [];
    });
    const withPoints = ours.filter(({ points }) => points.length > 0);
    const written = withPoints.length === 0 ? new Map() : await logJobMetrics(db, kind, withPoints);
    const kept = new Map<string, OutputProgress>();
    for (const { jobId, runId, output, own } of ours) {
      const names: ReadonlySet<string> = written.get(runId) ?? new Set();
      // What the job reports by itself stays its own.
      const steps = Object.entries(output.steps).filter(([key]) => own.has(key) || names.has(key));
      const after = { ...output, steps: Object.fromEntries(steps) };
      await run(db, 'UPDATE jobs SET progress = $1, log_state = $2 WHERE job_id = $3', [
        after.progress,
        JSON.stringify(after),
        jobId,
      ]);
      kept.set(jobId, after);
    }
    return kept;
  }
}
