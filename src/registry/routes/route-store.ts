import type { RegistryDatabase } from '../database/database.ts';

export interface RouteDocumentRow {
  kind: string;
  name: string;
  body: string;
}

/** Keeps what the gateway's routes need to go on after a restart. */
export interface RouteStore {
  load(): Promise<{ documents: RouteDocumentRow[]; standings: Map<string, string> }>;
  /** All of it in one write. `body: undefined` removes. */
  putDocuments(documents: readonly { kind: string; name: string; body: string | undefined }[]): Promise<void>;
  /** JSON by route. `undefined` removes. */
  putStandings(standings: ReadonlyMap<string, string | undefined>): Promise<void>;
}

export function createRouteStore(database: RegistryDatabase, now: () => number): RouteStore {
  return {
    load: () =>
      database.read(async (db) => {
        const documents = await db
          .selectFrom('route_documents')
          .select(['kind', 'name', 'body'])
          .orderBy('name')
          .execute();
        const standings = await db.selectFrom('route_standings').select(['route', 'standing']).execute();
        return { documents, standings: new Map(standings.map(({ route, standing }) => [route, standing])) };
      }),
    putDocuments: (documents) =>
      database.write(async (db) => {
        for (const { kind, name, body } of documents) {
          if (body === undefined) {
            await db.deleteFrom('route_documents').where('kind', '=', kind).where('name', '=', name).execute();
            continue;
          }
          const changed_at = now();
          await db
            .insertInto('route_documents')
            .values({ kind, name, body, changed_at })
            .onConflict((conflict) => conflict.columns(['kind', 'name']).doUpdateSet({ body, changed_at }))
            .execute();
        }
      }),
    putStandings: (standings) =>
      database.write(async (db) => {
        for (const [route, standing] of standings) {
          if (standing === undefined) {
            await db.deleteFrom('route_standings').where('route', '=', route).execute();
            continue;
          }
          const changed_at = now();
          await db
            .insertInto('route_standings')
            .values({ route, standing, changed_at })
            .onConflict((conflict) => conflict.column('route').doUpdateSet({ standing, changed_at }))
            .execute();
        }
      }),
  };
}
