import { type CommitContext, commit, type Happening } from '../registry/commit.ts';
import type { RegistryDatabase } from '../registry/database/database.ts';
import { freshState, type MonitorState } from './state.ts';
import type { Reference } from './types.ts';

/** What monitors are, compare with and remember, in the registry's database. */
export class MonitorStore {
  private readonly database: RegistryDatabase;
  private readonly commits: CommitContext;

  constructor(commits: CommitContext) {
    this.database = commits.database;
    this.commits = commits;
  }

  documents(): Promise<{ name: string; body: string }[]> {
    return this.database.read((db) =>
      db.selectFrom('monitor_documents').select(['name', 'body']).orderBy('name').execute(),
    );
  }

  /** All in one write. `body: undefined` removes. */
  putDocuments(changes: readonly { name: string; body: string | undefined }[], now: number): Promise<void> {
    return this.database.write(async (db) => {
      for (const { name, body } of changes) {
        if (body === undefined) await db.deleteFrom('monitor_documents').where('name', '=', name).execute();
        else
          await db
            .insertInto('monitor_documents')
            .values({ name, body, changed_at: now })
            .onConflict((conflict) => conflict.column('name').doUpdateSet({ body, changed_at: now }))
            .execute();
      }
    });
  }

  async references(monitor: string): Promise<Reference[]> {
    const rows = await this.database.read((db) =>
      db.selectFrom('monitor_references').select('body').where('monitor', '=', monitor).orderBy('frozen_at').execute(),
    );
    return rows.map(({ body }) => JSON.parse(body) as Reference);
  }

  putReference(reference: Reference): Promise<void> {
    const { monitor, version, digest, frozenAt: frozen_at } = reference;
    const body = JSON.stringify(reference);
    return this.database.write(async (db) => {
      await db
        .insertInto('monitor_references')
        .values({ monitor, version, digest, body, frozen_at })
        .onConflict((conflict) => conflict.columns(['monitor', 'version', 'digest']).doUpdateSet({ body, frozen_at }))
        .execute();
    });
  }

  dropReferences(monitor: string): Promise<void> {
    return this.database.write(async (db) => {
      await db.deleteFrom('monitor_references').where('monitor', '=', monitor).execute();
    });
  }

  async state(name: string): Promise<MonitorState> {
    const row = await this.database.read((db) =>
      db.selectFrom('monitor_states').select('body').where('name', '=', name).executeTakeFirst(),
    );
    return row === undefined ? freshState() : (JSON.parse(row.body) as MonitorState);
  }

  /** Changes a state in one write: several servers may do so at once. `before` is what `change` was given. */
  update(
    name: string,
    now: number,
    change: (state: MonitorState) => MonitorState,
    tells: (before: MonitorState, after: MonitorState) => readonly Happening[] = () => [],
  ): Promise<{ before: MonitorState; after: MonitorState }> {
    return commit(this.commits, async (db, _, note) => {
      await db
        .insertInto('monitor_states')
        .values({ name, body: JSON.stringify(freshState()), changed_at: now })
        .onConflict((conflict) => conflict.column('name').doNothing())
        .execute();
      let query = db.selectFrom('monitor_states').select('body').where('name', '=', name);
      if (this.database.kind === 'postgres') query = query.forUpdate();
      const before = JSON.parse((await query.executeTakeFirstOrThrow()).body) as MonitorState;
      const after = change(before);
      if (after !== before)
        await db
          .updateTable('monitor_states')
          .set({ body: JSON.stringify(after), changed_at: now })
          .where('name', '=', name)
          .execute();
      for (const happening of tells(before, after)) note(happening);
      return { before, after };
    });
  }
}
