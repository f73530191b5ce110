import { z } from 'zod';
import { readVersion } from '../datasets/entities/fields.ts';
import { invalidParameter } from '../registry/errors.ts';
import { int64, required } from '../registry/rest/fields.ts';
import { jsonRoute, type RestRoute } from '../registry/rest/route.ts';
import { decodePageToken, encodePageToken } from '../registry/search/page-token.ts';
import { type DataSchemas, parseSchema, type SchemaVersion } from './schemas.ts';

const ROOT = '/api/v1/data-schemas';
const MAX_RESULTS = 1000;
const TOKEN = 'data-schemas';

const at = z.strictObject({
  name: required,
  version: z.union([z.int().positive(), z.literal('latest')]).default('latest'),
});

function place({ name, version }: z.output<typeof at>) {
  return { name, version: version === 'latest' ? undefined : version };
}

function schemaJson({ createdAt, ...rest }: SchemaVersion): object {
  return { ...rest, created_at: createdAt };
}

/**
 * Schemas, and datasets checked by them, beside the routes of datasets.
 * @param onKept another version of a schema has been kept
 */
export function validationRoutes(schemas: DataSchemas, onKept: () => Promise<void>): RestRoute[] {
  return [
    jsonRoute({
      method: 'GET',
      path: ROOT,
      operationId: 'listDataSchemas',
      summary: 'Schemas that data is validated by, by name, the latest version first',
      request: z.object({
        name: z.string().optional().describe('Only its versions'),
        max_results: int64.default(100),
        page_token: z.string().optional(),
      }),
      handle: async ({ name, max_results: limit, page_token }) => {
        if (limit < 1 || limit > MAX_RESULTS)
          throw invalidParameter(`max_results must be 1 to ${MAX_RESULTS}, not ${limit}`);
        const position = decodePageToken(page_token, TOKEN, 2);
        const after = position && { name: String(position[0]), version: Number(position[1]) };
        const found = await schemas.list({ name, after, limit: limit + 1 });
        const page = found.slice(0, limit);
        const last = page.at(-1);
        const more = found.length > limit && last !== undefined;
        return {
          schemas: page.map(schemaJson),
          ...(more ? { next_page_token: encodePageToken(TOKEN, [last.name, last.version]) } : {}),
        };
      },
    }),
    jsonRoute({
      method: 'POST',
      path: `${ROOT}/{name}`,
      operationId: 'putDataSchema',
      summary: 'Make the next version of a schema, written by hand or inferred from a dataset',
      request: z.object({ name: required, schema: z.unknown().optional(), infer_from: at.optional() }),
      handle: async ({ name, schema, infer_from }, by) => {
        if ((schema === undefined) === (infer_from === undefined))
          throw invalidParameter("give either 'schema', or 'infer_from' with the name of a dataset");
        const kept =
          infer_from === undefined
            ? await schemas.put(name, schema, '', by)
            : await schemas.infer(name, place(infer_from), by);
        await onKept();
        return schemaJson(kept);
      },
    }),
    jsonRoute({
      method: 'GET',
      path: `${ROOT}/{name}/versions/{version}`,
      operationId: 'getDataSchema',
      summary: 'One version of a schema; "latest" is one too',
      request: z.object({ name: required, version: z.string() }),
      handle: async ({ name, version }) => schemaJson(await schemas.get(name, readVersion(version))),
    }),
    jsonRoute({
      method: 'POST',
      path: '/api/v1/datasets/{name}/versions/{version}/validate',
      operationId: 'validateDataset',
      summary: 'What a dataset has against a schema, and how far it is from training data',
      request: z.object({
        name: required,
        version: z.string(),
        schema: z.unknown().optional(),
        schema_ref: at.optional(),
        training: at.optional(),
      }),
      handle: async ({ name, version, schema, schema_ref, training }, by) => {
        if ((schema === undefined) === (schema_ref === undefined))
          throw invalidParameter("give either 'schema', or 'schema_ref' with the name of a schema");
        const kept =
          schema_ref === undefined ? undefined : await schemas.get(schema_ref.name, place(schema_ref).version);
        const wanted = kept?.schema ?? parseSchema(schema);
        const reference = training === undefined ? undefined : place(training);
        const found = await schemas.validate({ name, version: readVersion(version) }, wanted, reference, by);
        return {
          name,
          ...found,
          ...(kept === undefined ? {} : { schema: { name: kept.name, version: kept.version } }),
          valid: !found.anomalies.some(({ severity }) => severity === 'error'),
        };
      },
    }),
  ];
}
