import { z } from 'zod';
import { versionUri } from '../artifacts/version-tree.ts';
import { commit } from '../commit.ts';
import { flag, keyValue, required, text } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import type { ModelsContext } from './context.ts';
import { fixedVersion } from './files.ts';
import { findVersion } from './find.ts';
import { asRecord } from './model-routes.ts';
import { isPrompt, isPromptModel } from './prompts.ts';
import { searchRequest, searchVersions } from './search.ts';
import { transitionStage } from './stages.ts';
import { createVersion, deleteVersion, deleteVersionTag, describeVersion, setVersionTag } from './versions.ts';
import { showVersions } from './view.ts';

const path = (call: string): string => `/api/2.0/mlflow/model-versions/${call}`;
/** Some clients send the number as one. */
const version = z.union([required, z.int().transform(String)]);
const which = { name: required, version };

/** MLflow's calls on model versions. */
export function versionRoutes(context: ModelsContext): RestRoute[] {
  const { database } = context;
  return [
    jsonRoute({
      method: 'POST',
      path: path('create'),
      operationId: 'mlflowCreateModelVersion',
      summary: 'Register the next version of a model; it is READY at once',
      request: z.object({
        name: required,
        source: required,
        run_id: text,
        tags: z.array(keyValue).nullish(),
        run_link: text,
        description: text,
        model_id: text,
      }),
      handle: (request, { actor }) =>
        commit(context, async (db, now, note) => {
          const tags = request.tags ?? [];
          const row = await createVersion(
            db,
            now,
            actor,
            {
              name: request.name,
              source: request.source,
              runId: request.run_id ?? '',
              runLink: request.run_link ?? '',
              modelId: request.model_id ?? '',
              description: request.description ?? '',
              tags,
            },
            context.signingKey,
          );
          const prompt = isPrompt(tags);
          note({
            entity: prompt ? 'prompt_version' : 'model_version',
            action: 'created',
            data: {
              name: row.name,
              version: String(row.version),
              ...(prompt
                ? { template: asRecord(tags)['mlflow.prompt.text'] ?? null }
                : { source: row.source, run_id: row.run_id || null }),
              tags: asRecord(tags),
              description: row.description || null,
            },
          });
          const [model_version] = await showVersions(db, database.kind, [row]);
          return { model_version };
        }),
    }),
    jsonRoute({
      method: 'PATCH',
      path: path('update'),
      operationId: 'mlflowUpdateModelVersion',
      summary: "Change a version's description",
      request: z.object({ ...which, description: text }),
      handle: ({ description, ...rest }) =>
        commit(context, async (db, now) => {
          const row = await describeVersion(db, now, { ...rest, description: description ?? '' });
          const [model_version] = await showVersions(db, database.kind, [row]);
          return { model_version };
        }),
    }),
    jsonRoute({
      method: 'POST',
      path: path('transition-stage'),
      operationId: 'mlflowTransitionModelVersionStage',
      summary: 'Move a version to a stage',
      request: z.object({ ...which, stage: required, archive_existing_versions: flag.nullish() }),
      handle: ({ archive_existing_versions, ...rest }, { actor }) =>
        commit(context, async (db, now, note) => {
          const wish = { ...rest, archive: archive_existing_versions ?? false, actor };
          const row = await transitionStage(db, now, wish, note);
          const [model_version] = await showVersions(db, database.kind, [row]);
          return { model_version };
        }),
    }),
    jsonRoute({
      method: 'DELETE',
      path: path('delete'),
      operationId: 'mlflowDeleteModelVersion',
      summary: 'Delete a version and the aliases that point to it',
      request: z.object(which),
      handle: async ({ name, version }, { actor }) => {
        await commit(context, async (db, now, note) => {
          await deleteVersion(db, now, name, version, actor, note);
          note({ entity: 'model_version', action: 'deleted', data: { name, version } });
        });
        return {};
      },
    }),
    jsonRoute({
      method: 'GET',
      path: path('get'),
      operationId: 'mlflowGetModelVersion',
      summary: 'One version',
      request: z.object(which),
      handle: ({ name, version }) =>
        database.read(async (db) => {
          const [model_version] = await showVersions(db, database.kind, [await findVersion(db, name, version)]);
          return { model_version };
        }),
    }),
    jsonRoute({
      method: 'GET',
      path: path('search'),
      operationId: 'mlflowSearchModelVersions',
      summary: 'Versions by model, run, source and tags, in pages',
      request: searchRequest,
      handle: (request) =>
        database.read(async (db) => {
          const { rows, next } = await searchVersions(db, database.kind, request);
          const model_versions = await showVersions(db, database.kind, rows);
          return { ...(rows.length === 0 ? {} : { model_versions }), ...next };
        }),
    }),
    jsonRoute({
      method: 'GET',
      path: path('get-download-uri'),
      operationId: 'mlflowGetModelVersionDownloadUri',
      summary: "Where a version's files are, as they were when it was registered",
      request: z.object(which),
      handle: async ({ name, version }) => {
        const { row, manifest } = await fixedVersion(context, name, version);
        return { artifact_uri: manifest === undefined ? row.storage_location || row.source : versionUri(row) };
      },
    }),
    jsonRoute({
      method: 'POST',
      path: path('set-tag'),
      operationId: 'mlflowSetModelVersionTag',
      summary: 'Set a tag of a version',
      request: z.object({ ...which, ...keyValue.shape }),
      handle: async ({ name, version, key, value }) => {
        await commit(context, async (db, now, note) => {
          const row = await findVersion(db, name, version);
          await setVersionTag(db, now, row, { key, value });
          const prompt = await isPromptModel(db, row.model_key);
          note({
            entity: prompt ? 'prompt_version_tag' : 'model_version_tag',
            action: 'set',
            data: { name, version, key, value },
          });
        });
        return {};
      },
    }),
    jsonRoute({
      method: 'DELETE',
      path: path('delete-tag'),
      operationId: 'mlflowDeleteModelVersionTag',
      summary: 'Delete a tag of a version',
      request: z.object({ ...which, key: required }),
      handle: async ({ name, version, key }) => {
        await commit(context, async (db, now, note) => {
          const row = await findVersion(db, name, version);
          await deleteVersionTag(db, now, row, key);
          const prompt = await isPromptModel(db, row.model_key);
          note({
            entity: prompt ? 'prompt_version_tag' : 'model_version_tag',
            action: 'deleted',
            data: { name, version, key },
          });
        });
        return {};
      },
    }),
  ];
}
