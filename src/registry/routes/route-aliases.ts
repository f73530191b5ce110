import { commit } from '../commit.ts';
import type { RegistryDatabase } from '../database/database.ts';
import { inTexts } from '../database/statements.ts';
import { RegistryError } from '../errors.ts';
import { moveAlias } from '../models/aliases.ts';
import type { ModelsContext } from '../models/context.ts';

/** Model → alias → version. Models that do not exist or have no alias are left out. */
type Aliases = Map<string, Map<string, string>>;

/** Aliases as the gateway's routes follow and move them. */
export interface RouteAliasSource {
  read(models: readonly string[]): Promise<Aliases>;
  /** Compare-and-set. Resolves with what the alias names after it; '' for nothing. */
  move(model: string, alias: string, expected: string, version: string, reason: string): Promise<string>;
}

/** What aliases of these models point to now. */
export function readAliases(database: RegistryDatabase, models: readonly string[]): Promise<Aliases> {
  return database.read(async (db) => {
    const rows = await db
      .selectFrom('model_aliases as a')
      .innerJoin('registered_models as m', 'm.model_key', 'a.model_key')
      .select(['m.name', 'a.alias', 'a.version'])
      .where(inTexts(database.kind, 'm.name', models))
      .orderBy('m.name')
      .orderBy('a.alias')
      .execute();
    const found: Aliases = new Map();
    for (const { name, alias, version } of rows) {
      if (!found.has(name)) found.set(name, new Map());
      found.get(name)?.set(alias, String(version));
    }
    return found;
  });
}

export function createRouteAliases(context: ModelsContext): RouteAliasSource {
  const read: RouteAliasSource['read'] = (models) => readAliases(context.database, models);
  return {
    read,
    move: async (model, alias, expected, version, reason) => {
      const wish = { name: model, alias, version, expected: Number(expected), actor: 'rollout', reason };
      try {
        await commit(context, (db, now, note) => moveAlias(db, now, wish, context, note));
        return version;
      } catch (error) {
        if (!(error instanceof RegistryError) || error.registryCode !== 'RESOURCE_CONFLICT') throw error;
        return (await read([model])).get(model)?.get(alias) ?? '';
      }
    },
  };
}
