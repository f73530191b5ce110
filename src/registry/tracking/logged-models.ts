import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { alreadyExists, doesNotExist, invalidParameter, shown } from '../errors.ts';
import { keyValue, required, text } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import { activeExperiment } from './experiments.ts';
import { checkKey, checkLength, checkTag, LIMITS } from './limits.ts';
import { loggedModelSearchRoute } from './logged-model-search.ts';
import {
  keyed,
  loggedModelById,
  loggedModelViews,
  MODEL_PARAMS,
  MODEL_STATUSES,
  MODEL_TAGS,
} from './logged-model-store.ts';
import { randomName } from './names.ts';
import { findRun } from './run-ref.ts';
import type { KeyValue } from './run-values.ts';
import type { TrackingContext } from './tracking.ts';

const ID = 'model_id';
const path = (rest = ''): string => `/api/2.0/mlflow/logged-models${rest}`;

function checkName(name: string): void {
  checkLength('the name of the logged model', name, LIMITS.key);
  if (!/[/:.%"']/.test(name)) return;
  throw invalidParameter(
    `Invalid model name (${shown(name)}) provided. Model name must not contain: '/', ':', '.', '%', '"', "'"`,
  );
}

function checkParams(params: readonly KeyValue[]): void {
  for (const { key, value } of params) {
    checkKey('param', key);
    checkLength(`value of the param ${shown(key)}`, value, LIMITS.paramValue);
  }
  const twice = params.find(({ key }, i) => params.findIndex((other) => other.key === key) !== i);
  if (twice !== undefined) throw invalidParameter(`the param ${shown(twice.key)} is given twice`);
}

const status = z.union([
  z.enum(MODEL_STATUSES),
  z
    .int()
    .min(0)
    .max(3)
    .transform((number) => MODEL_STATUSES[number]),
]);

export function loggedModelRoutes(context: TrackingContext): RestRoute[] {
  const { database, events, now } = context;
  const { kind } = database;
  const view = (id: string): Promise<{ model: object }> =>
    database.read(async (db) => {
      const [model] = await loggedModelViews(db, kind, [await loggedModelById(db, id)]);
      return { model };
    });
  return [
    loggedModelSearchRoute(context),
    jsonRoute({
      method: 'POST',
      path: path(),
      operationId: 'mlflowCreateLoggedModel',
      summary: 'Create a logged model, pending until its files are there',
      request: z.object({
        experiment_id: text,
        name: text,
        model_type: text,
        source_run_id: text,
        params: z.array(keyValue).default([]),
        tags: z.array(keyValue).default([]),
      }),
      handle: async ({ experiment_id, name, model_type, source_run_id, params, tags }) => {
        checkName(name ?? '');
        checkLength('model_type', model_type ?? '', LIMITS.experimentName);
        checkParams(params);
        for (const { key, value } of tags) checkTag(key, value);
        const id = `m-${randomUUID().replaceAll('-', '')}`;
        await database.write(async (db) => {
          const experiment = await activeExperiment(db, experiment_id || '0');
          if (source_run_id) await findRun(db, source_run_id);
          const { model_key } = await db
            .insertInto('logged_models')
            .values({
              model_id: id,
              experiment_id: experiment.experiment_id,
              name: name || randomName(),
              artifact_uri: `${experiment.artifact_location.replace(/\/+$/, '')}/models/${id}/artifacts`,
              model_type: model_type ?? '',
              source_run_id: source_run_id ?? '',
              status: 'LOGGED_MODEL_PENDING',
              status_message: '',
              lifecycle_stage: 'active',
              creation_time: now(),
              last_update_time: now(),
            })
            .returning('model_key')
            .executeTakeFirstOrThrow();
          await MODEL_PARAMS.run(db, keyed(model_key, params));
          await MODEL_TAGS.run(db, keyed(model_key, [...new Map(tags.map((tag) => [tag.key, tag])).values()]));
        });
        events.emit('logged_model.created', { model_id: id });
        return view(id);
      },
    }),
    jsonRoute({
      method: 'GET',
      path: path(`/{${ID}}`),
      operationId: 'mlflowGetLoggedModel',
      summary: 'One logged model',
      request: z.object({ model_id: required }),
      handle: ({ model_id }) => view(model_id),
    }),
    jsonRoute({
      method: 'PATCH',
      path: path(`/{${ID}}`),
      operationId: 'mlflowFinalizeLoggedModel',
      summary: 'Say that the files of a logged model are there, or failed to come',
      request: z.object({ model_id: required, status }),
      handle: async ({ model_id, status }) => {
        await database.write(async (db) => {
          const { model_key } = await loggedModelById(db, model_id);
          await db
            .updateTable('logged_models')
            .set({ status, last_update_time: now() })
            .where('model_key', '=', model_key)
            .execute();
        });
        events.emit('logged_model.status', { model_id, status });
        return view(model_id);
      },
    }),
    jsonRoute({
      method: 'DELETE',
      path: path(`/{${ID}}`),
      operationId: 'mlflowDeleteLoggedModel',
      summary: 'Mark a logged model as deleted',
      request: z.object({ model_id: required }),
      handle: async ({ model_id }) => {
        await database.write(async (db) => {
          const { model_key } = await loggedModelById(db, model_id);
          await db
            .updateTable('logged_models')
            .set({ lifecycle_stage: 'deleted', last_update_time: now() })
            .where('model_key', '=', model_key)
            .execute();
        });
        return {};
      },
    }),
    jsonRoute({
      method: 'PATCH',
      path: path(`/{${ID}}/tags`),
      operationId: 'mlflowSetLoggedModelTags',
      summary: 'Set tags of a logged model',
      request: z.object({ model_id: required, tags: z.array(keyValue).default([]) }),
      handle: async ({ model_id, tags }) => {
        for (const { key, value } of tags) checkTag(key, value);
        await database.write(async (db) => {
          const { model_key } = await loggedModelById(db, model_id);
          await MODEL_TAGS.run(db, keyed(model_key, [...new Map(tags.map((tag) => [tag.key, tag])).values()]));
        });
        return view(model_id);
      },
    }),
    jsonRoute({
      method: 'DELETE',
      path: path(`/{${ID}}/tags/{tag_key}`),
      operationId: 'mlflowDeleteLoggedModelTag',
      summary: 'Delete a tag of a logged model',
      request: z.object({ model_id: required, tag_key: required }),
      handle: async ({ model_id, tag_key }) => {
        await database.write(async (db) => {
          const { model_key } = await loggedModelById(db, model_id);
          const { numDeletedRows } = await db
            .deleteFrom('logged_model_tags')
            .where('model_key', '=', model_key)
            .where('key', '=', tag_key)
            .executeTakeFirst();
          if (Number(numDeletedRows) === 0)
            throw doesNotExist(`No tag with key ${shown(tag_key)} found for model with ID ${shown(model_id)}.`);
        });
        return {};
      },
    }),
    jsonRoute({
      method: 'POST',
      path: path(`/{${ID}}/params`),
      operationId: 'mlflowLogLoggedModelParams',
      summary: 'Add params to a logged model',
      request: z.object({ model_id: required, params: z.array(keyValue).default([]) }),
      handle: async ({ model_id, params }) => {
        checkParams(params);
        await database.write(async (db) => {
          const { model_key } = await loggedModelById(db, model_id);
          const known = await db
            .selectFrom('logged_model_params')
            .select(['key', 'value'])
            .where('model_key', '=', model_key)
            .execute();
          const before = new Map(known.map(({ key, value }) => [key, value]));
          const changed = params.find(({ key, value }) => before.has(key) && before.get(key) !== value);
          if (changed !== undefined)
            throw alreadyExists(
              `the param ${shown(changed.key)} of this model has another value already; params do not change`,
            );
          await MODEL_PARAMS.run(
            db,
            keyed(
              model_key,
              params.filter(({ key }) => !before.has(key)),
            ),
          );
        });
        return {};
      },
    }),
  ];
}
