import type { RegistryDatabase } from '../../registry/database/database.ts';
import type { FeatureTables } from '../../registry/database/tables/features.ts';

export type TransformRow = FeatureTables['feature_transforms'];

/** What the registry's database keeps of features. */
export class FeatureStore {
  private readonly database: RegistryDatabase;
  private readonly now: () => number;

  constructor(database: RegistryDatabase, now: () => number) {
    this.database = database;
    this.now = now;
  }

  documents(): Promise<{ kind: string; name: string; body: string }[]> {
    return this.database.read((db) =>
      db.selectFrom('feature_documents').select(['kind', 'name', 'body']).orderBy('kind').orderBy('name').execute(),
    );
  }

  /** All of it in one write. `body: undefined` removes. */
  putDocuments(documents: readonly { kind: string; name: string; body: string | undefined }[]): Promise<void> {
    return this.database.write(async (db) => {
      for (const { kind, name, body } of documents) {
        if (body === undefined) {
          await db.deleteFrom('feature_documents').where('kind', '=', kind).where('name', '=', name).execute();
          continue;
        }
        const changed_at = this.now();
        await db
          .insertInto('feature_documents')
          .values({ kind, name, body, changed_at })
          .onConflict((conflict) => conflict.columns(['kind', 'name']).doUpdateSet({ body, changed_at }))
          .execute();
      }
    });
  }

  /** Until when a view was materialised; undefined: never. */
  async materialized(view: string, tenant: string): Promise<number | undefined> {
    const row = await this.database.read((db) =>
      db
        .selectFrom('feature_materializations')
        .select('until')
        .where('feature_view', '=', view)
        .where('tenant', '=', tenant)
        .executeTakeFirst(),
    );
    return row?.until;
  }

  putMaterialized(view: string, tenant: string, until: number): Promise<void> {
    const row = { feature_view: view, tenant, until, changed_at: this.now() };
    return this.database.write(async (db) => {
      await db
        .insertInto('feature_materializations')
        .values(row)
        .onConflict((conflict) =>
          conflict.columns(['feature_view', 'tenant']).doUpdateSet({ until, changed_at: row.changed_at }),
        )
        .execute();
    });
  }

  transforms(): Promise<TransformRow[]> {
    return this.database.read((db) =>
      db.selectFrom('feature_transforms').selectAll().orderBy('name').orderBy('version').execute(),
    );
  }

  /** The next version of a name. The same state as the newest one is that one. */
  putTransform(row: Omit<TransformRow, 'version' | 'created_at'>): Promise<TransformRow> {
    const created_at = this.now();
    return this.database.write(async (db) => {
      const last = await db
        .selectFrom('feature_transforms')
        .selectAll()
        .where('name', '=', row.name)
        .orderBy('version', 'desc')
        .limit(1)
        .executeTakeFirst();
      if (last?.digest === row.digest) return last;
      const made = { ...row, version: (last?.version ?? 0) + 1, created_at };
      await db.insertInto('feature_transforms').values(made).execute();
      return made;
    });
  }
}
