import type { RegistryDatabase } from '../../registry/database/database.ts';

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
}
