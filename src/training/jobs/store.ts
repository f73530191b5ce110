import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { type CommitContext, commit } from '../../registry/commit.ts';
import type { Db } from '../../registry/database/database.ts';
import { createJobRun, experimentNamed, figuresOf, setJobRunStatus } from '../../registry/tracking/job-runs.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { By, JobParent, JobQuery, JobStatus, JobView } from './jobs.ts';
import { emptyProgress } from './output-progress.ts';
import { eventData, type JobRecord, type JobRow, keptReason, toRecord, toRow, toView } from './record.ts';
import type { JobDocument } from './spec.ts';
import { isOver, newState } from './state.ts';

/** Characters of documents that are kept parsed. */
const DOCUMENT_CHARACTERS = 32 * 1024 ** 2;

/** A row of the queue. */
export interface QueueRow {
  job_id: string;
  runner: string;
  cpu: number;
  memory: number;
  gpu: number;
  created_at: number;
  ready_at: number;
}

const RUN_STATUS: Record<JobStatus, 'SCHEDULED' | 'RUNNING' | 'FINISHED' | 'FAILED' | 'KILLED'> = {
  queued: 'SCHEDULED',
  provisioning: 'SCHEDULED',
  starting: 'SCHEDULED',
  running: 'RUNNING',
  retrying: 'SCHEDULED',
  succeeded: 'FINISHED',
  failed: 'FAILED',
  timedOut: 'FAILED',
  cancelled: 'KILLED',
};
const MAX_RESULTS = 1000;

/** Ids in the order of time. */
function newJobId(now: number): string {
  const random = BigInt(`0x${randomBytes(6).toString('hex')}`).toString(36);
  return `${now.toString(36).padStart(9, '0')}${random.padStart(10, '0')}`;
}

/** Jobs in the registry's database. Every change is one write together with what it tells the run, webhooks and listeners. */
export class JobStore {
  private readonly commits: CommitContext;
  private readonly onChange: (job: JobRecord) => void;
  private readonly documents = new LRUCache<string, JobDocument>({ maxSize: DOCUMENT_CHARACTERS, max: 10_000 });

  constructor(commits: CommitContext, onChange: (job: JobRecord) => void) {
    this.commits = commits;
    this.onChange = onChange;
  }

  /** Keeps a job with its run. Same idempotency key: the job that exists, and `created` is false. */
  async create(
    document: JobDocument,
    { actor, reason, parent }: By & { parent?: JobParent | undefined },
    /** What else is written with it. */
    more: (db: Db, runId: string, now: number) => Promise<void> = async () => {},
  ): Promise<{ job: JobRecord; created: boolean }> {
    const key = document.spec.idempotencyKey ?? null;
    const result = await commit(this.commits, async (db, now, note) => {
      const existing = key === null ? undefined : await this.byKey(db, key);
      if (existing !== undefined) return { job: existing, created: false };
      const id = newJobId(now);
      const { spec, metadata } = document;
      const experimentId = await experimentNamed(db, spec.experiment ?? metadata.name, now);
      const tags = { ...spec.tags, 'switchyard.job': id };
      const run = {
        experiment_id: experimentId,
        user_id: actor,
        start_time: now,
        name: metadata.name,
        tags: keyValues(tags),
        params: keyValues(spec.params),
      };
      const { kind } = this.commits.database;
      const runId = await createJobRun(db, run, kind);
      await setJobRunStatus(db, kind, runId, 'SCHEDULED', null);
      const job: JobRecord = {
        id,
        version: 1,
        document,
        state: newState(),
        runId,
        experimentId,
        output: emptyProgress(0),
        logTail: '',
        gpus: [],
        owner: '',
        actor,
        parent: parent ?? null,
        createdAt: now,
      };
      await db.insertInto('jobs').values(toRow(job)).execute();
      await db
        .insertInto('job_documents')
        .values({ job_id: id, document: JSON.stringify(document) })
        .execute();
      await more(db, runId, now);
      await addHistory(db, job, now, actor, reason);
      note({ entity: 'job', action: 'created', data: eventData(job) });
      return { job, created: true };
    }).catch(async (error: unknown) => {
      // Two requests with one key at a time: the other one was first.
      const other = key === null ? undefined : await this.withKey(key);
      if (other === undefined) throw error;
      return { job: other, created: false };
    });
    if (result.created) this.onChange(result.job);
    return result;
  }

  get(id: string): Promise<JobRecord | undefined> {
    return this.commits.database.read(async (db) => {
      const rows = await db.selectFrom('jobs').selectAll().where('job_id', '=', id).execute();
      return (await this.records(db, rows))[0];
    });
  }

  /** Reads of the documents only those that this process has not read. */
  private async records(db: Db, rows: readonly JobRow[]): Promise<JobRecord[]> {
    const documents = new Map(rows.map(({ job_id }) => [job_id, this.documents.get(job_id)]));
    const missing = rows.map(({ job_id }) => job_id).filter((id) => documents.get(id) === undefined);
    if (missing.length > 0) {
      const found = await db.selectFrom('job_documents').selectAll().where('job_id', 'in', missing).execute();
      for (const { job_id, document } of found) {
        const parsed = JSON.parse(document) as JobDocument;
        documents.set(job_id, parsed);
        this.documents.set(job_id, parsed, { size: document.length });
      }
    }
    return rows.flatMap((row) => {
      const document = documents.get(row.job_id);
      // Removed between the two reads.
      return document === undefined ? [] : [toRecord(row, document)];
    });
  }

  /** The job with an idempotency key. */
  withKey(key: string): Promise<JobRecord | undefined> {
    return this.commits.database.read((db) => this.byKey(db, key));
  }

  private async byKey(db: Db, key: string): Promise<JobRecord | undefined> {
    const rows = await db.selectFrom('jobs').selectAll().where('idempotency_key', '=', key).execute();
    return (await this.records(db, rows))[0];
  }

  async list(query: JobQuery): Promise<{ jobs: JobRecord[]; nextPageToken: string }> {
    const limit = Math.min(Math.max(query.maxResults ?? 100, 1), MAX_RESULTS);
    const { jobs, more } = await this.commits.database.read(async (db) => {
      let select = db
        .selectFrom('jobs')
        .selectAll()
        .orderBy('job_id', 'desc')
        .limit(limit + 1);
      if (query.status !== undefined) select = select.where('status', '=', query.status);
      if (query.name !== undefined) select = select.where('name', '=', query.name);
      if (query.parent !== undefined)
        select = select.where('parent_kind', '=', query.parent.kind).where('parent_id', '=', query.parent.id);
      if (query.pageToken) select = select.where('job_id', '<', readPageToken(query.pageToken));
      const rows = await select.execute();
      return { jobs: await this.records(db, rows.slice(0, limit)), more: rows.length > limit };
    });
    return { jobs, nextPageToken: more ? Buffer.from(jobs[jobs.length - 1].id).toString('base64url') : '' };
  }

  /** Adds the last values of the runs' metrics. */
  async views(jobs: readonly JobRecord[]): Promise<JobView[]> {
    // What has never run has said nothing.
    const begun = jobs.filter(({ state }) => state.startedAt !== null).map(({ runId }) => runId);
    const figures = await figuresOf(this.commits.database, begun);
    return jobs.map((job) => toView(job, figures.get(job.runId)?.metrics ?? {}));
  }

  /**
   * Reads a job, lets `change` say what becomes of it, and keeps that. `change` may run again and has no other effects;
   * `more` writes besides, and may add to the change. Undefined of `change`: nothing changes, and undefined is the result.
   * A missing job too.
   */
  async change(
    id: string,
    by: By,
    change: (job: JobRecord, now: number) => JobRecord | undefined,
    more?: (db: Db, job: JobRecord, now: number) => Promise<Partial<JobRecord> | undefined>,
  ): Promise<JobRecord | undefined> {
    const { kind } = this.commits.database;
    const changed = await commit(this.commits, async (db, now, note) => {
      let query = db.selectFrom('jobs').selectAll().where('job_id', '=', id);
      if (kind === 'postgres') query = query.forUpdate();
      const [before] = await this.records(db, await query.execute());
      if (before === undefined) return undefined;
      const wanted = change(before, now);
      if (wanted === undefined) return undefined;
      let after: JobRecord = { ...wanted, version: before.version + 1 };
      if (more !== undefined) after = { ...after, ...(await more(db, after, now)) };
      const { job_id: _id, ...values } = toRow(after);
      await db.updateTable('jobs').set(values).where('job_id', '=', id).execute();
      if (after.state.status !== before.state.status) {
        await addHistory(db, after, now, by.actor, after.state.reason);
        const end = isOver(after.state.status) ? now : null;
        await setJobRunStatus(db, kind, after.runId, RUN_STATUS[after.state.status], end);
        note({ entity: 'job', action: 'updated', data: eventData(after) });
      }
      return after;
    });
    if (changed !== undefined) this.onChange(changed);
    return changed;
  }

  /** Jobs that could begin now, the first submitted first, without their documents. */
  queue(now: number, limit: number): Promise<QueueRow[]> {
    return this.commits.database.read((db) =>
      db
        .selectFrom('jobs')
        .select(['job_id', 'runner', 'cpu', 'memory', 'gpu', 'created_at', 'ready_at'])
        .where('status', 'in', ['queued', 'retrying'])
        .where('ready_at', '<=', now)
        .orderBy('job_id')
        .limit(limit)
        .execute(),
    );
  }

  /** When the next retrying job may begin. */
  async nextReady(): Promise<number> {
    const row = await this.commits.database.read((db) =>
      db
        .selectFrom('jobs')
        .select(({ fn }) => fn.min('ready_at').as('at'))
        .where('status', '=', 'retrying')
        .executeTakeFirst(),
    );
    return row?.at ?? Number.POSITIVE_INFINITY;
  }

  /** Jobs that have resources, of any server. */
  active(): Promise<{ job_id: string; owner: string; version: number }[]> {
    return this.commits.database.read((db) =>
      db
        .selectFrom('jobs')
        .select(['job_id', 'owner', 'version'])
        .where('status', 'in', ['provisioning', 'starting', 'running'])
        .execute(),
    );
  }

  async counts(): Promise<Map<string, number>> {
    const rows = await this.commits.database.read((db) =>
      db
        .selectFrom('jobs')
        .select(['status', ({ fn }) => fn.countAll().as('count')])
        .groupBy('status')
        .execute(),
    );
    return new Map(rows.map(({ status, count }) => [status, Number(count)]));
  }

  /** What it went through, oldest first. */
  history(id: string): Promise<{ at: number; status: string; reason: string; actor: string }[]> {
    return this.commits.database.read((db) =>
      db
        .selectFrom('job_history')
        .select(['at', 'status', 'reason', 'actor'])
        .where('job_id', '=', id)
        .orderBy('history_key')
        .execute(),
    );
  }

  async remove(id: string): Promise<void> {
    await commit(this.commits, async (db, _now, note) => {
      await db.deleteFrom('job_history').where('job_id', '=', id).execute();
      await db.deleteFrom('job_attempts').where('job_id', '=', id).execute();
      await db.deleteFrom('job_documents').where('job_id', '=', id).execute();
      await db.deleteFrom('jobs').where('job_id', '=', id).execute();
      note({ entity: 'job', action: 'deleted', data: { job_id: id } });
    });
  }
}

/** Writes how an attempt stands, beside a change of its job. */
export async function putAttempt(db: Db, job: JobRecord, phase: string, now: number): Promise<void> {
  const { state, owner } = job;
  const over = phase !== 'running' && phase !== 'starting';
  const row = {
    owner,
    phase,
    exit_code: state.exitCode,
    signal: state.signal,
    reason: keptReason(state.reason),
    ended_at: over ? now : null,
  };
  await db
    .insertInto('job_attempts')
    .values({ job_id: job.id, attempt: state.attempt, started_at: now, ...row })
    .onConflict((conflict) => conflict.columns(['job_id', 'attempt']).doUpdateSet(row))
    .execute();
}

async function addHistory(db: Db, job: JobRecord, at: number, actor: string, reason: string): Promise<void> {
  const { status } = job.state;
  await db
    .insertInto('job_history')
    .values({ job_id: job.id, at, status, reason: keptReason(reason), actor })
    .execute();
}

function keyValues(record: Readonly<Record<string, string>>): { key: string; value: string }[] {
  return Object.entries(record).map(([key, value]) => ({ key, value }));
}

function readPageToken(token: string): string {
  const id = Buffer.from(token, 'base64url').toString();
  if (/^[a-z0-9]{1,40}$/.test(id) && Buffer.from(id).toString('base64url') === token) return id;
  throw new SwitchyardError('invalid_argument', 'page_token: not one that this server gave out; start without one');
}
