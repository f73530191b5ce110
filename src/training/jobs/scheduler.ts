import type { Runner } from '../runners/runner.ts';
import { type DriverParts, JobDriver } from './driver.ts';
import type { Capacity } from './intake.ts';
import { SYSTEM } from './jobs.ts';
import type { Lease } from './lease.ts';
import { OutputKeeper } from './output-keeper.ts';
import { type Free, pickJobs } from './pick.ts';
import type { JobRecord } from './record.ts';
import type { RunnerKind } from './spec.ts';
import { advance, isActive } from './state.ts';

export interface SchedulerParts extends Omit<DriverParts, 'keeper' | 'runner' | 'lookMs'> {
  lease: Lease;
  capacity: Capacity;
  /** Throws invalid_argument naming the runners there are. */
  runner(kind: RunnerKind): Runner;
  /** Whether it takes of this machine's capacity; false for one that is not configured. */
  isLocal(kind: RunnerKind): boolean;
  /** More of the output of jobs has been kept. */
  onOutput(jobs: readonly JobRecord[]): void;
  failed(message: string, error: unknown): void;
}

/** Jobs of the queue that are looked at together. */
const QUEUE_ROWS = 300;
/** How often the output of a running job is looked at; with more jobs than UNHURRIED less often, so that all together cost the same. */
const LOOK_MS = 500;
const UNHURRIED = 20;
/** What has been read waits for that of other jobs, longer where many run: one write for all of it. */
const KEEP_MS_PER_JOB = 2;
const MAX_KEEP_MS = 100;

/** Which jobs run on this server: starts those of the queue that fit, takes up those that were left, and drives them all. */
export class JobScheduler {
  private readonly parts: SchedulerParts;
  private readonly keeper: OutputKeeper;
  private readonly drivers = new Map<string, JobDriver>();
  private readonly running = new Set<Promise<void>>();
  private scheduling: Promise<void> | undefined;
  private again = false;
  private closing = false;

  constructor(parts: SchedulerParts) {
    this.parts = parts;
    this.keeper = new OutputKeeper({
      database: parts.database,
      serverId: parts.serverId,
      waitMs: () => Math.min(MAX_KEEP_MS, KEEP_MS_PER_JOB * this.drivers.size),
      onKept: (readings) =>
        parts.onOutput(
          readings.flatMap(({ jobId, output }) => {
            const record = this.drivers.get(jobId)?.record;
            return record === undefined ? [] : [{ ...record, output }];
          }),
        ),
    });
  }

  /** A job as its driver here knows it, which the database may not yet; undefined: it is not driven here. */
  driven(id: string): JobRecord | undefined {
    return this.drivers.get(id)?.record;
  }

  /** A change of a job is committed. */
  changed(job: JobRecord): void {
    this.drivers.get(job.id)?.changed(job);
    if (!isActive(job.state.status)) this.schedule();
  }

  /** Detaches from what runs: it goes on. */
  detach(): void {
    this.closing = true;
    for (const driver of this.drivers.values()) driver.close();
  }

  /** Resolves when nothing is being driven or started any more. */
  async settled(): Promise<void> {
    await Promise.all([...this.running, this.scheduling]);
  }

  /** Takes up jobs that have resources and no driver here: after a start, and when their server is gone. */
  async adopt(): Promise<void> {
    const active = await this.parts.store.active();
    const orphaned = active.some(({ owner }) => owner !== this.parts.serverId);
    const away =
      orphaned && this.parts.lease.leading()
        ? await this.parts.lease.away(this.parts.config.lostAfterSeconds * 1000)
        : new Set<string>();
    for (const { job_id: id, owner, version } of active) {
      const driver = this.drivers.get(id);
      const ours = owner === this.parts.serverId;
      if (ours && driver !== undefined && driver.record.version >= version) continue;
      if (!ours && !away.has(owner)) continue;
      const job = await this.parts.store.get(id);
      if (job === undefined || this.closing) continue;
      if (!ours) await this.takeOver(job);
      else if (driver !== undefined) driver.changed(job);
      else if (job.owner === this.parts.serverId && isActive(job.state.status)) this.drive(job);
    }
  }

  private async takeOver(found: JobRecord): Promise<void> {
    const { serverId, lease } = this.parts;
    const { local } = this.parts.runner(found.document.spec.runner);
    const reason = 'the server that ran it has not been heard of';
    const job = await this.parts.store.change(
      found.id,
      SYSTEM,
      (job, now) => {
        if (job.owner !== found.owner || !isActive(job.state.status)) return undefined;
        if (!local) return { ...job, owner: serverId };
        const event = { type: 'failed' as const, reason, nextStep: 'retry the job', again: true };
        return { ...job, owner: '', gpus: [], state: advance(job.state, event, job.document.spec.retry, now) };
      },
      async (db) => {
        await lease.require(db);
        return undefined;
      },
    );
    if (job?.owner === serverId) this.drive(job);
  }

  private drive(job: JobRecord): void {
    if (this.closing || this.drivers.has(job.id)) return;
    const driver = new JobDriver(job, {
      ...this.parts,
      keeper: this.keeper,
      runner: ({ document }) => this.parts.runner(document.spec.runner),
      lookMs: () => LOOK_MS * Math.max(1, this.drivers.size / UNHURRIED),
    });
    this.drivers.set(job.id, driver);
    const run = driver.run().finally(() => {
      this.drivers.delete(job.id);
      this.running.delete(run);
      this.schedule();
    });
    this.running.add(run);
  }

  /** Starts what fits, soon. */
  schedule(): void {
    if (this.closing || !this.parts.lease.leading()) return;
    if (this.scheduling !== undefined) {
      this.again = true;
      return;
    }
    this.scheduling = this.startWhatFits()
      .catch((error: unknown) => this.parts.failed('starting jobs failed', error))
      .finally(() => {
        this.scheduling = undefined;
        if (!this.again) return;
        this.again = false;
        this.schedule();
      });
  }

  private free(): Free {
    const { capacity, config } = this.parts;
    const free: Free = { slots: config.maxRunning - this.drivers.size, ...capacity, gpu: capacity.gpus };
    for (const { record } of this.drivers.values()) {
      const { runner, resources } = record.document.spec;
      if (!this.parts.runner(runner).local) continue;
      free.cpu -= resources.cpu;
      free.memory -= resources.memory ?? 0;
      free.gpu -= resources.gpu;
    }
    return free;
  }

  private async startWhatFits(): Promise<void> {
    const free = this.free();
    if (free.slots <= 0) return;
    const now = Date.now();
    const rows = await this.parts.store.queue(now, QUEUE_ROWS);
    const waiting = rows.map(({ job_id: id, runner, cpu, memory, gpu, created_at, ready_at }) => ({
      id,
      local: this.parts.isLocal(runner as RunnerKind),
      cpu,
      memory,
      gpu,
      since: Math.max(created_at, ready_at),
    }));
    for (const id of pickJobs(waiting, free, now)) await this.take(id);
  }

  private async take(id: string): Promise<void> {
    const { serverId, lease } = this.parts;
    const job = await this.parts.store.change(
      id,
      SYSTEM,
      (job, now) => {
        const state = advance(job.state, { type: 'taken' }, job.document.spec.retry, now);
        if (state === job.state || job.state.readyAt > now) return undefined;
        return { ...job, state, owner: serverId, gpus: this.freeGpus(job.document.spec.resources.gpu) };
      },
      async (db) => {
        await lease.require(db);
        return undefined;
      },
    );
    if (job !== undefined) this.drive(job);
  }

  private freeGpus(count: number): number[] {
    const used = new Set([...this.drivers.values()].flatMap(({ record }) => record.gpus));
    const all = Array.from({ length: this.parts.capacity.gpus }, (_, i) => i);
    return all.filter((gpu) => !used.has(gpu)).slice(0, count);
  }
}
