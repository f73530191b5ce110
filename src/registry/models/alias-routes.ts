import { z } from 'zod';
import { commit } from '../commit.ts';
import { invalidParameter, shown } from '../errors.ts';
import { required, text } from '../rest/fields.ts';
import { type Caller, jsonRoute, type RestRoute } from '../rest/route.ts';
import { type AliasWish, moveAlias, versionByAlias } from './aliases.ts';
import type { ModelsContext } from './context.ts';
import { findModel } from './find.ts';
import { allServedAt, movesOf, servedAt, timeOf, withoutKey } from './history.ts';
import { versionNumber } from './names.ts';
import { keyBefore, keyPage, pageFields } from './pages.ts';
import { showVersions } from './view.ts';

const MLFLOW = '/api/2.0/mlflow/registered-models/alias';
const OWN = '/api/v1/registry/models/{name}/aliases';
const which = { name: required, alias: required };
const version = z.union([required, z.int().transform(String)]);
const why = { reason: text, actor: text };

/** Aliases: MLflow's calls, and the registry's own with compare-and-set, reasons and history. */
export function aliasRoutes(context: ModelsContext): RestRoute[] {
  const { database } = context;
  const move = (
    wish: Omit<AliasWish, 'actor' | 'reason'>,
    given: { reason?: string | null; actor?: string | null },
    caller: Caller,
  ) =>
    commit(context, async (db, now, note) => {
      const { actor, reason } = whoAndWhy(given, caller);
      return moveAlias(db, now, { ...wish, actor, reason }, context, note);
    });
  return [
    jsonRoute({
      method: 'POST',
      path: MLFLOW,
      operationId: 'mlflowSetRegisteredModelAlias',
      summary: 'Point an alias to a version',
      request: z.object({ ...which, version }),
      handle: async (wish, caller) => {
        await move(wish, {}, caller);
        return {};
      },
    }),
    jsonRoute({
      method: 'DELETE',
      path: MLFLOW,
      operationId: 'mlflowDeleteRegisteredModelAlias',
      summary: 'Remove an alias; a missing one is no error',
      request: z.object(which),
      handle: async (wish, caller) => {
        await move({ ...wish, version: undefined }, {}, caller);
        return {};
      },
    }),
    jsonRoute({
      method: 'GET',
      path: MLFLOW,
      operationId: 'mlflowGetModelVersionByAlias',
      summary: 'The version that an alias points to',
      request: z.object(which),
      handle: ({ name, alias }) =>
        database.read(async (db) => {
          const [model_version] = await showVersions(db, database.kind, [await versionByAlias(db, name, alias)]);
          return { model_version };
        }),
    }),
    jsonRoute({
      method: 'PUT',
      path: `${OWN}/{alias}`,
      operationId: 'registryMoveAlias',
      summary: 'Point an alias to a version, on the condition that it points where it is expected to (null: nowhere)',
      request: z.object({ ...which, version, expected_version: version.nullish(), ...why }),
      handle: async ({ name, alias, version, expected_version, ...given }, caller) => {
        const expected = readExpected(expected_version);
        const moved = await move({ name, alias, version, expected }, given, caller);
        return shownMove({ name, alias, version, moved: moved !== undefined, previous: moved?.previous });
      },
    }),
    jsonRoute({
      method: 'DELETE',
      path: `${OWN}/{alias}`,
      operationId: 'registryRemoveAlias',
      summary: 'Remove an alias, on the condition that it points where it is expected to',
      request: z.object({ ...which, expected_version: version.nullish(), ...why }),
      handle: async ({ name, alias, expected_version, ...given }, caller) => {
        const expected = expected_version === null ? undefined : readExpected(expected_version);
        const moved = await move({ name, alias, version: undefined, expected }, given, caller);
        return shownMove({ name, alias, version: null, moved: moved !== undefined, previous: moved?.previous });
      },
    }),
    jsonRoute({
      method: 'GET',
      path: OWN,
      operationId: 'registryListAliases',
      summary: "A model's aliases and what they point to",
      request: z.object({ name: required }),
      handle: ({ name }) =>
        database.read(async (db) => {
          const { model_key } = await findModel(db, name);
          const aliases = await db
            .selectFrom('model_aliases')
            .select(['alias', 'version'])
            .where('model_key', '=', model_key)
            .orderBy('alias')
            .execute();
          return { name, aliases: aliases.map(({ alias, version }) => ({ alias, version: String(version) })) };
        }),
    }),
    jsonRoute({
      method: 'GET',
      path: `${OWN}/{alias}/history`,
      operationId: 'registryAliasHistory',
      summary: "An alias's moves, newest first, with who, when and why",
      request: z.object({ ...which, ...pageFields }),
      handle: ({ name, alias, limit, page_token }) =>
        database.read(async (db) => {
          const found = await movesOf(db, name, alias, keyBefore(page_token), limit + 1);
          const { rows, next } = keyPage(found, limit, (row) => row.move_key);
          return {
            moves: rows.map((row) => ({
              ...withoutKey(row),
              version: asText(row.version),
              previous: asText(row.previous),
            })),
            ...next,
          };
        }),
    }),
    jsonRoute({
      method: 'GET',
      path: `${OWN}/{alias}/served`,
      operationId: 'registryServedAt',
      summary: 'What an alias meant at a time, who decided it and on what grounds, and which gateways served it',
      request: z.object({ ...which, at: text }),
      handle: ({ name, alias, at }) =>
        database.read((db) => servedAt(db, name, alias, at ? timeOf(at, 'at') : context.now())),
    }),
    jsonRoute({
      method: 'GET',
      path: '/api/v1/registry/models/{name}/served',
      operationId: 'registryAllServedAt',
      summary: 'As the same of one alias, for every alias that pointed to a version then',
      request: z.object({ name: required, at: text }),
      handle: async ({ name, at: given }) => {
        const at = given ? timeOf(given, 'at') : context.now();
        return { name, at, aliases: await database.read((db) => allServedAt(db, name, at)) };
      },
    }),
  ];
}

/** Who decides may act for another: a gate names itself. The operator's name stays in front. */
export function whoAndWhy(
  given: { reason?: string | null; actor?: string | null },
  caller: Caller,
): { actor: string; reason: string } {
  const reason = given.reason ?? '';
  const actor = given.actor ?? '';
  if (reason.length > 2000)
    throw invalidParameter(`'reason' has ${reason.length} characters; at most 2000 are allowed`);
  if (actor.length > 200) throw invalidParameter(`'actor' has ${actor.length} characters; at most 200 are allowed`);
  return { actor: actor === '' || actor === caller.actor ? caller.actor : `${caller.actor} for ${actor}`, reason };
}

function readExpected(text: string | null | undefined): number | null | undefined {
  if (text === undefined || text === null) return text;
  if (text === '0')
    throw invalidParameter(`Invalid value ${shown(text)} for parameter 'expected_version': null means no version`);
  return versionNumber(text);
}

function asText(version: number | null): string | null {
  return version === null ? null : String(version);
}

function shownMove(answer: {
  name: string;
  alias: string;
  version: string | null;
  moved: boolean;
  previous: number | null | undefined;
}): object {
  const { previous, ...rest } = answer;
  return { ...rest, ...(previous === undefined ? {} : { previous: asText(previous) }) };
}
