import { z } from 'zod';
import { answer } from '../../registry/artifacts/routes.ts';
import { required, text } from '../../registry/rest/fields.ts';
import { parseBody, readBody, validate } from '../../registry/rest/request.ts';
import { jsonRoute, type RestRoute } from '../../registry/rest/route.ts';
import type { Connectors } from '../connectors/connectors.ts';
import { joinSpec, sourceSpec, targetSpec } from '../connectors/spec.ts';
import { encodeBatch, encodeSpec, inputJson } from '../tensors/encode.ts';
import { readPictures } from '../tensors/pictures.ts';
import { arrayRoutes } from './array-routes.ts';
import { type ByteParts, byteRoutes, DEFAULT_REJECTS } from './byte-routes.ts';
import type { Datasets } from './datasets.ts';
import {
  datasetJson,
  importJson,
  kind,
  paging,
  readers,
  readVersion,
  tags,
  versionNumber,
  wholeHistory,
} from './fields.ts';
import type { Imports } from './imports.ts';
import { ROOT, VERSION } from './paths.ts';

const MAX_TARGET_BYTES = 64 * 1024;

interface Parts extends ByteParts {
  imports: Imports;
  connectors: Connectors;
}

/** Datasets over REST. They are part of the registry's API, so that jobs reach them with their tokens. */
export function datasetRoutes(parts: Parts): RestRoute[] {
  return [
    ...searchRoutes(parts),
    ...versionRoutes(parts),
    ...byteRoutes(parts),
    ...arrayRoutes(parts),
    ...importRoutes(parts),
  ];
}

function searchRoutes({ datasets }: Parts): RestRoute[] {
  const search = {
    filter: text,
    order_by: z.array(z.string()).default([]),
    ...paging,
  };
  return [
    jsonRoute({
      method: 'GET',
      path: ROOT,
      operationId: 'searchDatasets',
      summary: 'Datasets by filter, such as "tags.team = \'fraud\' AND rows > 1000"; of each name the latest version',
      request: z.object({ ...search, all_versions: wholeHistory }),
      handle: async ({ filter, order_by, max_results, page_token, all_versions }, { actor }) =>
        found(
          await datasets.search({
            filter: filter ?? undefined,
            orderBy: order_by,
            maxResults: max_results,
            pageToken: page_token,
            allVersions: all_versions,
            reader: actor,
          }),
        ),
    }),
    jsonRoute({
      method: 'GET',
      path: `${ROOT}/{name}/versions`,
      operationId: 'listDatasetVersions',
      summary: 'All versions of a dataset, the latest first',
      request: z.object({ name: required, ...paging }),
      handle: async ({ name, max_results, page_token }, by) => {
        await datasets.get(name, undefined, by);
        return found(
          await datasets.search({
            filter: `name = '${name}'`,
            orderBy: ['version DESC'],
            maxResults: max_results,
            pageToken: page_token,
            allVersions: true,
          }),
        );
      },
    }),
  ];
}

function found({ datasets, nextPageToken }: Awaited<ReturnType<Datasets['search']>>): object {
  return {
    datasets: datasets.map(datasetJson),
    ...(nextPageToken === '' ? {} : { next_page_token: nextPageToken }),
  };
}

function versionRoutes({ datasets, connectors }: Parts): RestRoute[] {
  const one = z.object({ name: required, version: z.string() });
  return [
    jsonRoute({
      method: 'GET',
      path: `${ROOT}/{name}`,
      operationId: 'getDataset',
      summary: 'The latest version of a dataset',
      request: z.object({ name: required }),
      handle: async ({ name }, by) => datasetJson(await datasets.get(name, undefined, by)),
    }),
    jsonRoute({
      method: 'GET',
      path: VERSION,
      operationId: 'getDatasetVersion',
      summary: 'One version of a dataset; "latest" is one too',
      request: one,
      handle: async ({ name, version }, by) => datasetJson(await datasets.get(name, readVersion(version), by)),
    }),
    jsonRoute({
      method: 'GET',
      path: `${VERSION}/profile`,
      operationId: 'getDatasetProfile',
      summary: 'Statistics of each column: counts, missing values, moments, quantiles, histogram, most frequent values',
      request: one,
      handle: async ({ name, version }, by) => datasets.profile(name, readVersion(version), by),
    }),
    jsonRoute({
      method: 'GET',
      path: `${VERSION}/lineage`,
      operationId: 'getDatasetLineage',
      summary: 'Where a version came from; the runs and model versions that used it',
      request: one,
      handle: async ({ name, version }, by) => datasets.lineage(name, readVersion(version), by),
    }),
    jsonRoute({
      method: 'POST',
      path: `${VERSION}/tags`,
      operationId: 'setDatasetTag',
      summary: 'Set a tag of a version',
      request: z.object({ name: required, version: versionNumber, key: required, value: z.string().default('') }),
      handle: async ({ name, version, key, value }, by) => {
        await datasets.setTag(name, version, key, value, by);
        return datasetJson(await datasets.get(name, version, by));
      },
    }),
    jsonRoute({
      method: 'DELETE',
      path: `${VERSION}/tags/{key}`,
      operationId: 'deleteDatasetTag',
      summary: 'Remove a tag of a version',
      request: z.object({ name: required, version: versionNumber, key: required }),
      handle: async ({ name, version, key }, by) => {
        await datasets.removeTag(name, version, key, by);
        return datasetJson(await datasets.get(name, version, by));
      },
    }),
    jsonRoute({
      method: 'POST',
      path: `${ROOT}/{name}/share`,
      operationId: 'shareDataset',
      summary: 'Say who may read all versions of a dataset: "*", "jobs", or names of people',
      request: z.object({ name: required, readers }),
      handle: async ({ name, readers: wanted }, by) => datasetJson(await datasets.share(name, wanted, by)),
    }),
    {
      method: 'POST',
      path: `${VERSION}/export`,
      operationId: 'exportDataset',
      summary:
        'Write a version to a file, a bucket, a database or a topic: {"target": {"kind": …}}; answers when all rows are there',
      stream: async (call) => {
        const { params, request, contentLength, actor } = call;
        request.setTimeout(0);
        const body = parseBody(await readBody(request, contentLength, MAX_TARGET_BYTES));
        const { target } = validate(z.object({ target: targetSpec }), body);
        const source = await datasets.open(params.name, readVersion(params.version), { actor });
        await connectors.write(target, source);
        answer(call, { name: params.name, version: source.version.version, rows: source.rows });
      },
    },
    jsonRoute({
      method: 'POST',
      path: `${VERSION}/tensors`,
      operationId: 'encodeDataset',
      summary: 'Rows as inputs of a model, ready for the v2 protocol: columns, texts, hashed words, pictures',
      request: z.object({
        name: required,
        version: z.string(),
        inputs: z.array(encodeSpec).min(1).max(100),
        from: z.int().min(0).default(0),
        rows: z.int().min(1).max(10_000).default(10),
        max_rejects: z.int().min(0).max(10_000).default(0),
      }),
      handle: async ({ name, version, inputs, from, rows, max_rejects: maxRejects }, by) => {
        const found = await datasets.rows(name, readVersion(version), by, from, rows);
        const { source } = found.version;
        const columns = inputs.flatMap((input) => ('image' in input ? [input.image] : []));
        const read = (path: string) => connectors.picture(source, path);
        const named = { columns: [...new Set(columns)], recorded: 'path', firstLine: from + 1, maxRejects, read };
        const { batch, rejects } = await readPictures(found.schema, found.batch, named);
        const tensors = await encodeBatch(found.schema, batch, inputs, connectors.maxImagePixels);
        return { name, version: found.version.version, rows: batch.rows, inputs: tensors.map(inputJson), rejects };
      },
    }),
    jsonRoute({
      method: 'DELETE',
      path: VERSION,
      operationId: 'deleteDatasetVersion',
      summary: 'Forget a version; its bytes go with the next garbage collection',
      request: z.object({ name: required, version: versionNumber }),
      handle: async ({ name, version }, by) => {
        await datasets.remove(name, version, by);
        return {};
      },
    }),
  ];
}

function importRoutes({ imports }: Parts): RestRoute[] {
  const root = '/api/v1/dataset-imports';
  return [
    jsonRoute({
      method: 'POST',
      path: root,
      operationId: 'importDataset',
      summary: 'Begin to read a file, URL, object, query, topic or folder of images into a version',
      request: z.object({
        name: required,
        source: sourceSpec,
        joins: z.array(joinSpec).max(20).default([]),
        kind,
        tags,
        description: z.string().max(5000).optional(),
        readers: readers.optional(),
        run_id: z.string().default(''),
        max_rejects: z.int().min(0).max(1_000_000_000).default(DEFAULT_REJECTS),
      }),
      handle: async (
        { name, source, joins, kind: chosen, tags: given, description, readers: who, run_id, max_rejects },
        by,
      ) => {
        const facts = { name, tags: given, parents: [], runId: run_id, description, readers: who };
        const found = source.kind === 'images' ? ('images' as const) : chosen;
        return importJson(imports.start({ ...facts, kind: found }, source, joins, max_rejects, by));
      },
    }),
    jsonRoute({
      method: 'GET',
      path: root,
      operationId: 'listDatasetImports',
      summary: 'Imports since the server started, the newest first',
      request: z.object({}),
      handle: async () => ({ imports: imports.list().map(importJson) }),
    }),
    jsonRoute({
      method: 'GET',
      path: `${root}/{id}`,
      operationId: 'getDatasetImport',
      summary: 'How far an import has come',
      request: z.object({ id: required }),
      handle: async ({ id }) => importJson(imports.get(id)),
    }),
  ];
}
