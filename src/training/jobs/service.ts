import type { Digest } from '../../registry/blobs/digest.ts';
import { artifactRoot, noteRunData } from '../../registry/tracking/job-runs.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { type PinnedInputs, runData } from '../inputs/pin.ts';
import type { LogChunk, Runner } from '../runners/runner.ts';
import { type IntakeParts, JobIntake } from './intake.ts';
import { type By, type JobParent, type JobQuery, type Jobs, type JobView, SYSTEM } from './jobs.ts';
import { Leftovers } from './leftovers.ts';
import { attemptName, type JobRecord } from './record.ts';
import { logArtifact } from './results.ts';
import { JobScheduler, type SchedulerParts } from './scheduler.ts';
import type { JobDocument, JobDocumentInput, JobSpec, RunnerKind } from './spec.ts';
import { advance, isActive, isOver } from './state.ts';
import { JobStore } from './store.ts';

export interface ServiceParts
  extends Omit<SchedulerParts, 'store' | 'runner' | 'isLocal' | 'onOutput' | 'failed'>,
    Pick<IntakeParts, 'data'> {
  runners: ReadonlyMap<RunnerKind, Runner>;
  commits: ConstructorParameters<typeof JobStore>[0];
}

const TICK_MS = 1000;

/** All jobs of this server: takes them in, has them run, and answers for them. */
export class JobService implements Jobs {
  readonly store: JobStore;
  private readonly parts: ServiceParts;
  private readonly intake: JobIntake;
  private readonly scheduler: JobScheduler;
  private readonly leftovers: Leftovers;
  private readonly listeners = new Set<(job: JobView) => void>();
  private readonly tickMs: number;
  private timer: NodeJS.Timeout | undefined;
  private closing = false;
  private telling: Promise<void> = Promise.resolve();
  private fullTicks = 0;

  constructor(parts: ServiceParts, tickMs = TICK_MS) {
    this.parts = parts;
    this.tickMs = tickMs;
    this.store = new JobStore(parts.commits, (job) => {
      this.scheduler.changed(job);
      this.tell([job]);
    });
    const shared = { ...parts, store: this.store, runner: (kind: RunnerKind) => this.runner(kind) };
    this.intake = new JobIntake(shared);
    this.scheduler = new JobScheduler({
      ...shared,
      isLocal: (kind) => parts.runners.get(kind)?.local ?? false,
      onOutput: (jobs) => this.tell(jobs),
      failed: (message, error) => this.failed(message, error),
    });
    this.leftovers = new Leftovers({ ...shared, runner: this.runner('process') });
  }

  /** Takes up what this server drove before, and begins to schedule. */
  async start(): Promise<void> {
    await this.parts.lease.renew();
    await this.scheduler.adopt();
    void this.leftovers.endStrays().catch((error: unknown) => this.failed('looking for left processes failed', error));
    this.scheduler.schedule();
    this.tick();
  }

  /** Detaches from what runs: it goes on, and the next server takes it up. */
  async close(): Promise<void> {
    this.closing = true;
    clearTimeout(this.timer);
    this.scheduler.detach();
    await this.parts.environments.close();
    await this.scheduler.settled();
    for (const runner of this.parts.runners.values()) await runner.close();
    await this.parts.lease.release().catch(() => {});
  }

  validate(input: JobDocumentInput, actor = SYSTEM.actor): Promise<JobDocument> {
    return this.intake.validate(input, actor);
  }

  async submit(input: JobDocumentInput, by: By & { parent?: JobParent }): Promise<JobView> {
    const document = await this.intake.check(input);
    const { idempotencyKey: key } = document.spec;
    const known = key === undefined ? undefined : await this.store.withKey(key);
    if (known !== undefined) return this.view(known);
    const { inputs, notes } = await this.intake.pin(document.spec.inputs, by.actor);
    const { vault } = this.parts.work.storage;
    const { kind } = this.parts.database;
    const pinned = { ...document, spec: { ...document.spec, inputs } };
    const { job } = await this.store.create(pinned, by, async (db, runId, now) => {
      for (const { digest } of notes) await vault.claimAgain(db, digest);
      if (notes.length > 0) await noteRunData(db, kind, runId, notes.map(runData), now);
    });
    return this.view(job);
  }

  pinInputs(inputs: JobSpec['inputs'], actor: string, where?: (i: number) => string): Promise<PinnedInputs> {
    return this.intake.pin(inputs, actor, where);
  }

  async get(id: string): Promise<JobView | undefined> {
    const job = await this.store.get(id);
    return job === undefined ? undefined : this.view(job);
  }

  async list(query: JobQuery): Promise<{ jobs: JobView[]; nextPageToken: string }> {
    const { jobs, nextPageToken } = await this.store.list(query);
    return { jobs: await this.store.views(jobs), nextPageToken };
  }

  cancel(id: string, by: By): Promise<JobView> {
    return this.command(id, by, 'cancel');
  }

  retry(id: string, by: By): Promise<JobView> {
    return this.command(id, by, 'retry');
  }

  async remove(id: string): Promise<void> {
    const job = await this.existing(id);
    if (!isOver(job.state.status))
      throw new SwitchyardError('failed_precondition', `job ${id} is ${job.state.status}; cancel it first`);
    const runner = this.runner(job.document.spec.runner);
    if (!runner.local || job.owner === this.parts.serverId)
      for (let attempt = 1; attempt <= job.state.attempt; attempt++) await runner.remove(attemptName(id, attempt));
    await this.store.remove(id);
  }

  async logs(id: string, attempt: number | undefined, offset: number, limit: number): Promise<LogChunk> {
    // Of one that is driven here the database knows nothing newer.
    const job = this.scheduler.driven(id) ?? (await this.existing(id));
    const wanted = attempt ?? job.state.attempt;
    if (wanted < 0 || wanted > job.state.attempt)
      throw invalidArgument(`attempt: ${wanted} is not allowed; job ${id} has had ${job.state.attempt}`);
    const waiting = wanted === 0 || (wanted === job.state.attempt && job.state.status === 'provisioning');
    if (waiting) return { bytes: Buffer.alloc(0), next: offset, end: isOver(job.state.status) };
    const runner = this.runner(job.document.spec.runner);
    const name = attemptName(id, wanted);
    const driven =
      this.scheduler.driven(id) !== undefined && wanted === job.state.attempt && job.state.status === 'running';
    const reachable = !runner.local || job.owner === this.parts.serverId;
    if (driven || (reachable && (await runner.status(name)) !== undefined)) {
      const chunk = await runner.logs(name, offset, limit);
      // A job that is retried goes on with the next attempt's log.
      return { ...chunk, end: chunk.end && (wanted < job.state.attempt || !isActive(job.state.status)) };
    }
    return this.keptLog(job, wanted, offset, limit);
  }

  subscribe(listener: (job: JobView) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  ended(id: string): Promise<JobView> {
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const done = (): void => {
        clearTimeout(timer);
        unsubscribe();
      };
      const unsubscribe = this.subscribe((job) => {
        if (job.id !== id || !isOver(job.status)) return;
        done();
        resolve(job);
      });
      const look = async (): Promise<void> => {
        try {
          const job = await this.get(id);
          if (job === undefined) throw new SwitchyardError('not_found', `no such job ${JSON.stringify(id)}`);
          if (isOver(job.status)) {
            done();
            resolve(job);
            return;
          }
          // Another server may drive it, whose changes are only in the database.
          timer = setTimeout(() => void look(), this.tickMs * 2);
        } catch (error) {
          done();
          reject(error);
        }
      };
      void look();
    });
  }

  /** What it went through, oldest first. */
  history(id: string): Promise<{ at: number; status: string; reason: string; actor: string }[]> {
    return this.store.history(id);
  }

  private runner(kind: RunnerKind): Runner {
    const runner = this.parts.runners.get(kind);
    if (runner !== undefined) return runner;
    const known = [...this.parts.runners.keys()].join(', ');
    throw invalidArgument(`spec.runner: ${kind} is not configured on this server; there are: ${known}`);
  }

  private async existing(id: string): Promise<JobRecord> {
    const job = await this.store.get(id);
    if (job === undefined) throw new SwitchyardError('not_found', `no such job ${JSON.stringify(id.slice(0, 100))}`);
    return job;
  }

  private async command(id: string, by: By, type: 'cancel' | 'retry'): Promise<JobView> {
    await this.existing(id);
    const changed = await this.store.change(id, by, (job, now) => {
      const state = advance(job.state, { type, by }, job.document.spec.retry, now);
      if (state === job.state) return undefined;
      return { ...job, state, ...(type === 'retry' ? { logTail: '' } : {}) };
    });
    return this.view(changed ?? (await this.existing(id)));
  }

  private async view(job: JobRecord): Promise<JobView> {
    const [view] = await this.store.views([job]);
    return view;
  }

  private async keptLog(job: JobRecord, attempt: number, offset: number, limit: number): Promise<LogChunk> {
    const { artifacts, vault } = this.parts.work.storage;
    const nothing = { bytes: Buffer.alloc(0), next: offset, end: isOver(job.state.status) };
    const root = await this.parts.database.read((db) => artifactRoot(db, job.runId));
    const found = await artifacts.get(logArtifact(root, attempt)).catch(() => undefined);
    if (found === undefined || offset >= found.size) return nothing;
    const end = Math.min(found.size, offset + limit) - 1;
    const chunks: Buffer[] = [];
    for await (const chunk of await vault.open(found.digest as Digest, { start: offset, end }))
      chunks.push(chunk as Buffer);
    const bytes = Buffer.concat(chunks);
    return { bytes, next: offset + bytes.length, end: offset + bytes.length >= found.size };
  }

  private tell(jobs: readonly JobRecord[]): void {
    if (this.listeners.size === 0 || jobs.length === 0) return;
    // One after the other: views are read, and changes are told in their order.
    this.telling = this.telling
      .then(() => this.store.views(jobs))
      .then((views) => {
        for (const view of views) for (const listener of this.listeners) listener(view);
      })
      .catch((error: unknown) => this.failed('a listener of jobs failed', error));
  }

  private tick(): void {
    if (this.closing) return;
    this.timer = setTimeout(() => {
      void this.round().finally(() => this.tick());
    }, this.tickMs);
    this.timer.unref();
  }

  private async round(): Promise<void> {
    try {
      // The embedded database is this server's alone; a shared one is asked who leads and what others have changed.
      if (this.parts.database.kind === 'postgres' || !this.parts.lease.leading()) await this.parts.lease.renew();
      else if (this.fullTicks++ % 3 === 0) await this.parts.lease.renew();
      await this.scheduler.adopt();
      this.scheduler.schedule();
      await this.leftovers.collect();
    } catch (error) {
      this.failed('looking after jobs failed', error);
    }
  }

  private failed(message: string, error: unknown): void {
    if (!this.closing) this.parts.log('error', message, { err: error });
  }
}
