import { z } from 'zod';
import { commit } from '../commit.ts';
import { keyValue, required, text } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import type { ModelsContext } from './context.ts';
import { findModel } from './find.ts';
import { stageOf } from './names.ts';
import { isPrompt, isPromptModel } from './prompts.ts';
import {
  createModel,
  deleteModel,
  deleteModelTag,
  describeModel,
  renameModel,
  setModelTag,
} from './registered-models.ts';
import { searchModels, searchRequest } from './search.ts';
import { newestOfStages, showModels, showVersions } from './view.ts';

const path = (call: string): string => `/api/2.0/mlflow/registered-models/${call}`;
const named = { name: required };
const tagList = z.array(keyValue).nullish();

/** MLflow's calls on registered models. */
export function modelRoutes(context: ModelsContext): RestRoute[] {
  const { database } = context;
  const latest = z.object({ ...named, stages: z.array(z.string()).nullish() });
  const latestVersions = ({ name, stages }: z.output<typeof latest>): Promise<object> =>
    database.read(async (db) => {
      const wanted = new Set((stages ?? []).map(stageOf));
      const rows = await newestOfStages(db, [await findModel(db, name)]);
      const model_versions = await showVersions(
        db,
        database.kind,
        rows.filter((row) => wanted.size === 0 || wanted.has(row.stage)),
      );
      return model_versions.length === 0 ? {} : { model_versions };
    });
  return [
    jsonRoute({
      method: 'POST',
      path: path('create'),
      operationId: 'mlflowCreateRegisteredModel',
      summary: 'Create a registered model',
      request: z.object({ ...named, tags: tagList, description: text }),
      handle: ({ name, tags, description }) =>
        commit(context, async (db, now, note) => {
          const given = { name, tags: tags ?? [], description: description ?? '' };
          const row = await createModel(db, now, given);
          note({
            entity: isPrompt(given.tags) ? 'prompt' : 'registered_model',
            action: 'created',
            data: { name, tags: asRecord(given.tags), description: description ?? null },
          });
          const [registered_model] = await showModels(db, database.kind, [row]);
          return { registered_model };
        }),
    }),
    jsonRoute({
      method: 'POST',
      path: path('rename'),
      operationId: 'mlflowRenameRegisteredModel',
      summary: 'Rename a registered model; its versions, aliases and history go along',
      request: z.object({ ...named, new_name: required }),
      handle: ({ name, new_name }, { actor }) =>
        commit(context, async (db, now, note) => {
          const row = await renameModel(db, now, name, new_name, actor, context.signingKey, note);
          note({ entity: 'registered_model', action: 'updated', data: { name: row.name, previous_name: name } });
          const [registered_model] = await showModels(db, database.kind, [row]);
          return { registered_model };
        }),
    }),
    jsonRoute({
      method: 'PATCH',
      path: path('update'),
      operationId: 'mlflowUpdateRegisteredModel',
      summary: "Change a registered model's description",
      request: z.object({ ...named, description: text }),
      handle: ({ name, description }) =>
        commit(context, async (db, now) => {
          const [registered_model] = await showModels(db, database.kind, [
            await describeModel(db, now, name, description ?? ''),
          ]);
          return { registered_model };
        }),
    }),
    jsonRoute({
      method: 'DELETE',
      path: path('delete'),
      operationId: 'mlflowDeleteRegisteredModel',
      summary: 'Delete a registered model with its versions; the history of its aliases stays',
      request: z.object(named),
      handle: async ({ name }, { actor }) => {
        await commit(context, async (db, now, note) => {
          await deleteModel(db, now, name, actor, note);
          note({ entity: 'registered_model', action: 'deleted', data: { name } });
        });
        return {};
      },
    }),
    jsonRoute({
      method: 'GET',
      path: path('get'),
      operationId: 'mlflowGetRegisteredModel',
      summary: 'One registered model with the newest version of each stage',
      request: z.object(named),
      handle: ({ name }) =>
        database.read(async (db) => {
          const [registered_model] = await showModels(db, database.kind, [await findModel(db, name)]);
          return { registered_model };
        }),
    }),
    jsonRoute({
      method: 'GET',
      path: path('search'),
      operationId: 'mlflowSearchRegisteredModels',
      summary: 'Registered models by name and tags, in pages',
      request: searchRequest,
      handle: (request) =>
        database.read(async (db) => {
          const { rows, next } = await searchModels(db, database.kind, request);
          const registered_models = await showModels(db, database.kind, rows);
          return { ...(rows.length === 0 ? {} : { registered_models }), ...next };
        }),
    }),
    jsonRoute({
      method: 'POST',
      path: path('get-latest-versions'),
      operationId: 'mlflowGetLatestVersions',
      summary: 'The newest version of each stage',
      request: latest,
      handle: latestVersions,
    }),
    jsonRoute({
      method: 'GET',
      path: path('get-latest-versions'),
      operationId: 'mlflowListLatestVersions',
      summary: 'The newest version of each stage',
      request: latest,
      handle: latestVersions,
    }),
    jsonRoute({
      method: 'POST',
      path: path('set-tag'),
      operationId: 'mlflowSetRegisteredModelTag',
      summary: 'Set a tag of a registered model',
      request: z.object({ ...named, ...keyValue.shape }),
      handle: async ({ name, key, value }) => {
        await commit(context, async (db, _now, note) => {
          const { model_key } = await findModel(db, name);
          await setModelTag(db, model_key, { key, value });
          if (await isPromptModel(db, model_key))
            note({ entity: 'prompt_tag', action: 'set', data: { name, key, value } });
        });
        return {};
      },
    }),
    jsonRoute({
      method: 'DELETE',
      path: path('delete-tag'),
      operationId: 'mlflowDeleteRegisteredModelTag',
      summary: 'Delete a tag of a registered model',
      request: z.object({ ...named, key: required }),
      handle: async ({ name, key }) => {
        await commit(context, async (db, _now, note) => {
          const { model_key } = await findModel(db, name);
          await deleteModelTag(db, model_key, key);
          if (await isPromptModel(db, model_key))
            note({ entity: 'prompt_tag', action: 'deleted', data: { name, key } });
        });
        return {};
      },
    }),
  ];
}

export function asRecord(tags: readonly { key: string; value: string }[]): Record<string, string> {
  return Object.fromEntries(tags.map(({ key, value }) => [key, value]));
}
