import type { Insertable, Selectable } from 'kysely';
import { type CommitContext, commit, type Happening } from '../../registry/commit.ts';
import type { RegistryDatabase } from '../../registry/database/database.ts';
import type { PipelineRunStatus, PipelineTables } from '../../registry/database/tables/pipelines.ts';
import type { Artifact } from './artifacts.ts';

export type RunRow = Selectable<PipelineTables['pipeline_runs']>;
export type StepRow = Selectable<PipelineTables['pipeline_steps']>;
/** A run without what only its execution needs. */
export type RunSummary = Omit<RunRow, 'document' | 'environment_spec'>;

/** What a step gave: files by output, and plain values by name. */
export interface StepOutputs {
  artifacts: Record<string, Artifact>;
  values: Record<string, unknown>;
}

export const NO_OUTPUTS: StepOutputs = { artifacts: {}, values: {} };

export interface RunQuery {
  pipeline?: string | undefined;
  status?: PipelineRunStatus | undefined;
  trigger?: string | undefined;
  /** Rows whose number is below: the next page. */
  before: number;
  limit: number;
}

const SUMMARY = [
  'run_key',
  'id',
  'pipeline',
  'environment',
  'status',
  'reason',
  'parameters',
  'actor',
  'cause',
  'trigger_name',
  'tracking_run',
  'experiment_id',
  'owner',
  'lease_until',
  'cancelled_by',
  'created_at',
  'ended_at',
] as const;

/** Runs and steps in the registry's database. A run is written by its owner alone, so rows are replaced whole. */
export class PipelineStore {
  readonly database: RegistryDatabase;
  private readonly commits: CommitContext;

  constructor(commits: CommitContext) {
    this.database = commits.database;
    this.commits = commits;
  }

  documents(): Promise<{ kind: string; name: string; body: string }[]> {
    return this.database.read((db) =>
      db.selectFrom('pipeline_documents').select(['kind', 'name', 'body']).orderBy('name').execute(),
    );
  }

  /** All of them in one write. `body: undefined` removes. */
  putDocuments(
    changes: readonly { kind: string; name: string; body: string | undefined }[],
    now: number,
  ): Promise<void> {
    return this.database.write(async (db) => {
      for (const { kind, name, body } of changes) {
        if (body === undefined) {
          await db.deleteFrom('pipeline_documents').where('kind', '=', kind).where('name', '=', name).execute();
          continue;
        }
        await db
          .insertInto('pipeline_documents')
          .values({ kind, name, body, changed_at: now })
          .onConflict((conflict) => conflict.columns(['kind', 'name']).doUpdateSet({ body, changed_at: now }))
          .execute();
      }
    });
  }

  /** @param happening what webhooks hear of it */
  createRun(
    run: Insertable<PipelineTables['pipeline_runs']>,
    steps: readonly StepRow[],
    happening: Happening,
  ): Promise<void> {
    return commit(this.commits, async (db, _, note) => {
      note(happening);
      await db.insertInto('pipeline_runs').values(run).execute();
      await db
        .insertInto('pipeline_steps')
        .values([...steps])
        .execute();
    });
  }

  run(id: string): Promise<RunRow | undefined> {
    return this.database.read((db) =>
      db.selectFrom('pipeline_runs').selectAll().where('id', '=', id).executeTakeFirst(),
    );
  }

  /** Newest first. */
  runs({ pipeline, status, trigger, before, limit }: RunQuery): Promise<RunSummary[]> {
    return this.database.read((db) => {
      let query = db.selectFrom('pipeline_runs').select(SUMMARY).where('run_key', '<', before);
      if (pipeline !== undefined) query = query.where('pipeline', '=', pipeline);
      if (status !== undefined) query = query.where('status', '=', status);
      if (trigger !== undefined) query = query.where('trigger_name', '=', trigger);
      return query.orderBy('run_key', 'desc').limit(limit).execute();
    });
  }

  steps(runId: string): Promise<StepRow[]> {
    return this.database.read((db) =>
      db.selectFrom('pipeline_steps').selectAll().where('run_id', '=', runId).execute(),
    );
  }

  updateRun(id: string, set: Partial<Omit<RunRow, 'run_key' | 'id'>>, happening?: Happening): Promise<void> {
    return commit(this.commits, async (db, _, note) => {
      if (happening !== undefined) note(happening);
      await db.updateTable('pipeline_runs').set(set).where('id', '=', id).execute();
    });
  }

  updateStep(
    runId: string,
    step: string,
    set: Partial<Omit<StepRow, 'run_id' | 'step'>>,
    happenings: readonly Happening[] = [],
  ): Promise<void> {
    return commit(this.commits, async (db, _, note) => {
      for (const happening of happenings) note(happening);
      await db.updateTable('pipeline_steps').set(set).where('run_id', '=', runId).where('step', '=', step).execute();
    });
  }

  /** The newest step that was done with this key; skipped ones name the step that did the work. */
  done(cacheKey: string): Promise<StepRow | undefined> {
    return this.database.read((db) =>
      db
        .selectFrom('pipeline_steps')
        .selectAll()
        .where('cache_key', '=', cacheKey)
        .where('status', '=', 'succeeded')
        .orderBy('ended_at', 'desc')
        .limit(1)
        .executeTakeFirst(),
    );
  }

  /** Takes runs that are under way and that nobody executes, or this owner did before it was restarted. Returns their ids. */
  async claim(owner: string, now: number, until: number): Promise<string[]> {
    const rows = await this.database.write((db) =>
      db
        .updateTable('pipeline_runs')
        .set({ owner, lease_until: until })
        .where('status', '=', 'running')
        .where((is) => is.or([is('owner', '=', owner), is('lease_until', '<', now)]))
        .returning('id')
        .execute(),
    );
    return rows.map(({ id }) => id);
  }

  /** True: the run is still this owner's, and longer now. */
  async renew(id: string, owner: string, until: number): Promise<{ own: boolean; cancelledBy: string }> {
    const row = await this.database.write((db) =>
      db
        .updateTable('pipeline_runs')
        .set({ lease_until: until })
        .where('id', '=', id)
        .where('owner', '=', owner)
        .returning('cancelled_by')
        .executeTakeFirst(),
    );
    return { own: row !== undefined, cancelledBy: row?.cancelled_by ?? '' };
  }

  /** True when this owner has the lease until then. */
  lease(name: string, owner: string, now: number, until: number): Promise<boolean> {
    return this.database.write(async (db) => {
      const row = await db
        .insertInto('pipeline_leases')
        .values({ name, owner, until })
        .onConflict((conflict) =>
          conflict
            .column('name')
            .doUpdateSet({ owner, until })
            .where((is) => is.or([is('pipeline_leases.owner', '=', owner), is('pipeline_leases.until', '<', now)])),
        )
        .returning('owner')
        .executeTakeFirst();
      return row !== undefined;
    });
  }

  /** True when every blob is there, and nobody is removing it. */
  async hasBlobs(digests: readonly string[]): Promise<boolean> {
    const wanted = [...new Set(digests)];
    if (wanted.length === 0) return true;
    const found = await this.database.read((db) =>
      db
        .selectFrom('blobs')
        .select('digest')
        .where('digest', 'in', wanted)
        .where('deleting_time', 'is', null)
        .execute(),
    );
    return found.length === wanted.length;
  }
}
