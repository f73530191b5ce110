import { type CommitContext, commit } from '../../registry/commit.ts';
import type { RegistryDatabase } from '../../registry/database/database.ts';
import type { FiringOutcome } from '../../registry/database/tables/pipelines.ts';
import { freshState, type TriggerState } from './decide.ts';

export interface Firing {
  key: number;
  at: number;
  outcome: FiringOutcome;
  reason: string;
  /** The run it started; '' = none. */
  run: string;
}

export interface Update {
  state: TriggerState;
  firing?: Omit<Firing, 'key' | 'at'>;
}

/** What triggers remember and what they did, in the registry's database. */
export class TriggerStore {
  private readonly database: RegistryDatabase;
  private readonly commits: CommitContext;

  constructor(commits: CommitContext) {
    this.database = commits.database;
    this.commits = commits;
  }

  async states(names: readonly string[]): Promise<Map<string, TriggerState>> {
    if (names.length === 0) return new Map();
    const rows = await this.database.read((db) =>
      db.selectFrom('trigger_states').select(['name', 'state']).where('name', 'in', names).execute(),
    );
    return new Map(rows.map(({ name, state }) => [name, JSON.parse(state) as TriggerState]));
  }

  /** Changes a state, keeps what was done and tells of it, in one write: several servers may do so at once. */
  update(name: string, now: number, change: (state: TriggerState) => Update): Promise<TriggerState> {
    return commit(this.commits, async (db, _, note) => {
      await db
        .insertInto('trigger_states')
        .values({ name, state: JSON.stringify(freshState()), changed_at: now })
        .onConflict((conflict) => conflict.column('name').doNothing())
        .execute();
      let query = db.selectFrom('trigger_states').select('state').where('name', '=', name);
      if (this.database.kind === 'postgres') query = query.forUpdate();
      const { state, firing } = change(JSON.parse((await query.executeTakeFirstOrThrow()).state) as TriggerState);
      await db
        .updateTable('trigger_states')
        .set({ state: JSON.stringify(state), changed_at: now })
        .where('name', '=', name)
        .execute();
      if (firing !== undefined) {
        const { outcome, reason, run } = firing;
        await db
          .insertInto('trigger_firings')
          .values({ trigger_name: name, at: now, outcome, reason: reason.slice(0, 2000), pipeline_run: run })
          .execute();
        if (outcome === 'fired') note({ entity: 'trigger', action: 'fired', data: { name, run, reason } });
      }
      return state;
    });
  }

  /** Newest first. */
  async firings(name: string, before: number, limit: number): Promise<Firing[]> {
    const rows = await this.database.read((db) =>
      db
        .selectFrom('trigger_firings')
        .selectAll()
        .where('trigger_name', '=', name)
        .where('firing_key', '<', before)
        .orderBy('firing_key', 'desc')
        .limit(limit)
        .execute(),
    );
    return rows.map(({ firing_key, at, outcome, reason, pipeline_run }) => ({
      key: firing_key,
      at,
      outcome,
      reason,
      run: pipeline_run,
    }));
  }
}
