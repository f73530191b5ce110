import { readdir } from 'node:fs/promises';
import type { Digest } from '../../registry/blobs/digest.ts';
import { artifactRoot, noteRunData } from '../../registry/tracking/job-runs.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { requirementsProblem } from '../environments/requirements.ts';
import type { DataSources } from '../inputs/data-source.ts';
import { checkInputs, type PinnedInputs, type PinParts, pinInputs, runData } from '../inputs/pin.ts';
import type { LogChunk, Runner } from '../runners/runner.ts';
import { checkSecrets } from '../work/secrets.ts';
import { packSourceDir } from '../work/source-dir.ts';
import { type DriverParts, JobDriver, logArtifact } from './driver.ts';
import type { By, JobParent, JobQuery, Jobs, JobView } from './jobs.ts';
import type { Lease } from './lease.ts';
import { type KeptReading, OutputKeeper } from './output-keeper.ts';
import { type Free, pickJobs } from './pick.ts';
import { readJob } from './read.ts';
import type { JobDocument, JobDocumentInput, JobSpec, RunnerKind } from './spec.ts';
import { advance, isActive, isOver } from './state.ts';
import { attemptName, type JobRecord, JobStore } from './store.ts';

export interface Capacity {
  cpu: number;
  memory: number;
  gpus: number;
}

export interface ServiceParts extends Omit<DriverParts, 'store' | 'keeper' | 'runner' | 'lookMs'> {
  lease: Lease;
  runners: ReadonlyMap<RunnerKind, Runner>;
  capacity: Capacity;
  commits: ConstructorParameters<typeof JobStore>[0];
  /** Where inputs from datasets and feature views come from. */
  data: DataSources;
}

const SYSTEM: By = { actor: 'switchyard', reason: '' };
const TICK_MS = 1000;
/** Jobs of the queue that are looked at together. */
const QUEUE_ROWS = 300;
const COLLECT_MS = 3_600_000;
/** How often the output of a running job is looked at; with more jobs than UNHURRIED less often, so that all together cost the same. */
const LOOK_MS = 500;
const UNHURRIED = 20;
/** What has been read waits for that of other jobs, longer where many run: one write for all of it. */
const KEEP_MS_PER_JOB = 2;
const MAX_KEEP_MS = 100;

/** All jobs of this server: takes them in, starts what fits, drives what runs, and answers for them. */
export class JobService implements Jobs {
  readonly store: JobStore;
  private readonly parts: ServiceParts;
  private readonly keeper: OutputKeeper;
  private readonly drivers = new Map<string, JobDriver>();
  private readonly running = new Set<Promise<void>>();
  private readonly listeners = new Set<(job: JobView) => void>();
  private readonly tickMs: number;
  private timer: NodeJS.Timeout | undefined;
  private scheduling: Promise<void> | undefined;
  private again = false;
  private closing = false;
  private telling: Promise<void> = Promise.resolve();
  private collectedAt = Number.NEGATIVE_INFINITY;
  private fullTicks = 0;

  constructor(parts: ServiceParts, tickMs = TICK_MS) {
    this.parts = parts;
    this.tickMs = tickMs;
    this.store = new JobStore(parts.commits, (job) => this.onChange(job));
    this.keeper = new OutputKeeper({
      database: parts.database,
      serverId: parts.serverId,
      waitMs: () => Math.min(MAX_KEEP_MS, KEEP_MS_PER_JOB * this.drivers.size),
      onKept: (readings) => this.onKept(readings),
    });
  }

  /** Takes up what this server drove before, and begins to schedule. */
  async start(): Promise<void> {
    await this.parts.lease.renew();
    await this.adopt();
    void this.endStrays().catch((error: unknown) => this.failed('looking for left processes failed', error));
    this.schedule();
    this.tick();
  }

  /** Detaches from what runs: it goes on, and the next server takes it up. */
  async close(): Promise<void> {
    this.closing = true;
    clearTimeout(this.timer);
    for (const driver of this.drivers.values()) driver.close();
    await this.parts.environments.close();
    await Promise.all([...this.running, this.scheduling]);
    for (const runner of this.parts.runners.values()) await runner.close();
    await this.parts.lease.release().catch(() => {});
  }

  async validate(input: JobDocumentInput, actor = SYSTEM.actor): Promise<JobDocument> {
    const document = await this.checked(input);
    await checkInputs(document.spec.inputs, actor, this.pinParts);
    return document;
  }

  /** All but what its data inputs are. */
  private async checked(input: JobDocumentInput): Promise<JobDocument> {
    let document = readJob(input);
    const { sourceDir } = document.spec;
    if (sourceDir !== undefined) {
      const files = { ...(await packSourceDir(sourceDir, this.parts.config.sourceDirs)), ...document.spec.files };
      const { sourceDir: _packed, ...spec } = document.spec;
      document = readJob({ ...document, spec: { ...spec, files } });
    }
    const { spec } = document;
    this.runner(spec.runner).check(spec);
    checkSecrets(spec.secretRefs, this.parts.config.secrets);
    this.checkEnvironment(document);
    this.checkCapacity(document);
    if (spec.resumeFrom !== undefined) {
      if (spec.checkpoint === undefined)
        throw invalidArgument('spec.resumeFrom: needs spec.checkpoint, the folder it goes to');
      if ((await this.store.get(spec.resumeFrom)) === undefined)
        throw invalidArgument(`spec.resumeFrom: there is no job ${JSON.stringify(spec.resumeFrom)}`);
    }
    return document;
  }

  async submit(input: JobDocumentInput, by: By & { parent?: JobParent }): Promise<JobView> {
    const document = await this.checked(input);
    const { idempotencyKey: key } = document.spec;
    const known = key === undefined ? undefined : await this.store.withKey(key);
    if (known !== undefined) return this.view(known);
    const { inputs, notes } = await pinInputs(document.spec.inputs, by.actor, this.pinParts);
    const { vault } = this.parts.work.storage;
    const { kind } = this.parts.database;
    const pinned = { ...document, spec: { ...document.spec, inputs } };
    const { job } = await this.store.create(pinned, by, async (db, runId, now) => {
      for (const { digest } of notes) await vault.claimAgain(db, digest);
      if (notes.length > 0) await noteRunData(db, kind, runId, notes.map(runData), now);
    });
    return this.view(job);
  }

  async pinInputs(inputs: JobSpec['inputs'], actor: string, where?: (i: number) => string): Promise<PinnedInputs> {
    return pinInputs(inputs, actor, this.pinParts, where);
  }

  private get pinParts(): PinParts {
    const { data, work } = this.parts;
    const { store } = work.storage.vault;
    return { sources: data, sizeOf: async (digest) => (await store.stat(digest))?.size, now: Date.now };
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
    const job = this.drivers.get(id)?.record ?? (await this.existing(id));
    const wanted = attempt ?? job.state.attempt;
    if (wanted < 0 || wanted > job.state.attempt)
      throw invalidArgument(`attempt: ${wanted} is not allowed; job ${id} has had ${job.state.attempt}`);
    const waiting = wanted === 0 || (wanted === job.state.attempt && job.state.status === 'provisioning');
    if (waiting) return { bytes: Buffer.alloc(0), next: offset, end: isOver(job.state.status) };
    const runner = this.runner(job.document.spec.runner);
    const name = attemptName(id, wanted);
    const driven = this.drivers.has(id) && wanted === job.state.attempt && job.state.status === 'running';
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

  private checkEnvironment({ spec }: JobDocument): void {
    const { environment } = spec;
    if (environment === undefined) return;
    this.parts.environments.check(environment.python);
    const { requirementsFile } = environment;
    if (requirementsFile === undefined) return;
    if (!Object.hasOwn(spec.files, requirementsFile))
      throw invalidArgument(
        `spec.environment.requirementsFile: ${JSON.stringify(requirementsFile)} is not among the job's files`,
      );
    const problem = requirementsProblem(spec.files[requirementsFile]);
    if (problem !== undefined) throw invalidArgument(`${requirementsFile}: ${problem}`);
  }

  private checkCapacity({ spec }: JobDocument): void {
    if (!this.runner(spec.runner).local) return;
    const { cpu, memory, gpus } = this.parts.capacity;
    const tooMuch = (field: string, wanted: number, has: number): void => {
      if (wanted > has)
        throw invalidArgument(
          `spec.resources.${field}: ${wanted} is more than the ${has} that training.process allows`,
        );
    };
    tooMuch('cpu', spec.resources.cpu, cpu);
    tooMuch('memory', spec.resources.memory ?? 0, memory);
    tooMuch('gpu', spec.resources.gpu, gpus);
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

  private onChange(job: JobRecord): void {
    this.drivers.get(job.id)?.changed(job);
    if (!isActive(job.state.status)) this.schedule();
    this.tell([job]);
  }

  private onKept(readings: readonly KeptReading[]): void {
    this.tell(
      readings.flatMap(({ jobId, output }) => {
        const record = this.drivers.get(jobId)?.record;
        return record === undefined ? [] : [{ ...record, output }];
      }),
    );
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
      await this.adopt();
      this.schedule();
      await this.collect();
    } catch (error) {
      this.failed('looking after jobs failed', error);
    }
  }

  private failed(message: string, error: unknown): void {
    if (!this.closing) this.parts.log('error', message, { err: error });
  }

  /** Takes up jobs that have resources and no driver here: after a start, and when their server is gone. */
  private async adopt(): Promise<void> {
    const active = await this.store.active();
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
      const job = await this.store.get(id);
      if (job === undefined || this.closing) continue;
      if (!ours) await this.takeOver(job);
      else if (driver !== undefined) driver.changed(job);
      else if (job.owner === this.parts.serverId && isActive(job.state.status)) this.drive(job);
    }
  }

  private async takeOver(found: JobRecord): Promise<void> {
    const { serverId, lease } = this.parts;
    const { local } = this.runner(found.document.spec.runner);
    const reason = 'the server that ran it has not been heard of';
    const job = await this.store.change(
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
      store: this.store,
      keeper: this.keeper,
      runner: ({ document }) => this.runner(document.spec.runner),
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
  private schedule(): void {
    if (this.closing || !this.parts.lease.leading()) return;
    if (this.scheduling !== undefined) {
      this.again = true;
      return;
    }
    this.scheduling = this.startWhatFits()
      .catch((error: unknown) => this.failed('starting jobs failed', error))
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
      if (!this.runner(runner).local) continue;
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
    const rows = await this.store.queue(now, QUEUE_ROWS);
    const waiting = rows.map(({ job_id: id, runner, cpu, memory, gpu, created_at, ready_at }) => ({
      id,
      local: this.parts.runners.get(runner as RunnerKind)?.local ?? false,
      cpu,
      memory,
      gpu,
      since: Math.max(created_at, ready_at),
    }));
    for (const id of pickJobs(waiting, free, now)) await this.take(id);
  }

  private async take(id: string): Promise<void> {
    const { serverId, lease } = this.parts;
    const job = await this.store.change(
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

  /** Ends local attempts that belong to no job of this server: it lost them while it was away. */
  private async endStrays(): Promise<void> {
    for (const { name, id, attempt } of await this.attemptFolders()) {
      const job = await this.store.get(id);
      const ours = job?.owner === this.parts.serverId && job.state.attempt === attempt && isActive(job.state.status);
      if (ours) continue;
      const runner = this.runner('process');
      const status = await runner.status(name);
      if (status?.phase === 'running' || status?.phase === 'starting') await runner.cancel(name, 0);
    }
  }

  private async attemptFolders(): Promise<{ name: string; id: string; attempt: number }[]> {
    const names = await readdir(this.parts.folder).catch(() => []);
    return names.flatMap((name) => {
      const [, id, attempt] = /^sy-([a-z0-9]+)-(\d+)$/.exec(name) ?? [];
      return id === undefined ? [] : [{ name, id, attempt: Number(attempt) }];
    });
  }

  /** Removes folders of jobs that ended long ago or are forgotten, and environments that nobody uses. */
  private async collect(): Promise<void> {
    const now = Date.now();
    if (performance.now() - this.collectedAt < COLLECT_MS) return;
    this.collectedAt = performance.now();
    for (const { name, id } of await this.attemptFolders()) {
      const job = await this.store.get(id);
      const endedAt = job === undefined ? 0 : isOver(job.state.status) ? (job.state.endedAt ?? now) : now;
      if (now - endedAt > this.parts.config.keepHours * 3_600_000) await this.runner('process').remove(name);
    }
    await this.parts.environments.collect(now);
  }
}
