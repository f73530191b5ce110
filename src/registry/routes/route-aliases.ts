import { commit } from '../commit.ts';
import { RegistryError } from '../errors.ts';
import { moveAlias } from '../models/aliases.ts';
import type { ModelsContext } from '../models/context.ts';

/** Aliases as the gateway's routes follow and move them. */
export interface RouteAliasSource {
  read(models: readonly string[]): Promise<Map<string, Map<string, string>>>;
  /** Compare-and-set. Resolves with what the alias names after it; '' for nothing. */
  move(model: string, alias: string, expected: string, version: string, reason: string): Promise<string>;
}

export function createRouteAliases(context: ModelsContext): RouteAliasSource {
  const { database } = context;
  const read: RouteAliasSource['read'] = (models) =>
    database.read(async (db) => {
      const rows = await db
        .selectFrom('model_aliases as a')
        .innerJoin('registered_models as m', 'm.model_key', 'a.model_key')
        .select(['m.name', 'a.alias', 'a.version'])
        .where('m.name', 'in', [...models])
        .execute();
      const found = new Map<string, Map<string, string>>();
      for (const { name, alias, version } of rows) {
        if (!found.has(name)) found.set(name, new Map());
        found.get(name)?.set(alias, String(version));
      }
      return found;
    });
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
