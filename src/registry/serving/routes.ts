import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { commit } from '../commit.ts';
import { modelKeysOf } from '../models/history.ts';
import { invalidToken, keyBefore, keyPage, pageFields } from '../models/pages.ts';
import { int64, required } from '../rest/fields.ts';
import { jsonRoute, type RestRoute, type StreamCall } from '../rest/route.ts';
import { readAliases } from '../routes/route-aliases.ts';
import { forgetGateway, listGateways } from './gateway-list.ts';
import { endSilent, isGatewayId, servedBy } from './gateways.ts';
import type { Serving, ServingContext } from './serving.ts';
import { AWAY_MS } from './types.ts';

const MAX_WAIT_SECONDS = 60;
const DAY_MS = 24 * 3600 * 1000;
/** Pods without a volume draw a new id at each start: those that are gone would fill the list for ever. */
const AWAY_DAYS = 7;
const MAX_AWAY_DAYS = 36_500;
const name = z.string().min(1).max(256);
const toVersion = { name, version: z.string().max(20), route: name, variant: name };

/** What gateways ask and tell: what to serve, what it consists of, what they serve. */
export function servingRoutes({ models }: ServingContext, serving: Serving): RestRoute[] {
  const { database, now } = models;
  return [
    jsonRoute({
      method: 'POST',
      path: '/api/v1/registry/serving/watch',
      operationId: 'registryWatchServing',
      summary: 'What a gateway should serve; with the mark of the last answer it waits for a change',
      request: z.object({
        models: z
          .array(z.object({ name, alias: name, served: name }))
          .max(10_000)
          .default([]),
        every_alias: z.string().max(255).default(''),
        mark: z.string().default(''),
        wait_seconds: z.number().min(0).max(MAX_WAIT_SECONDS).default(0),
      }),
      handle: ({ models: followed, every_alias, mark, wait_seconds }, { response }) => {
        const gone = new AbortController();
        response?.once('close', () => gone.abort());
        return serving.watch({ models: followed, everyAlias: every_alias }, mark, wait_seconds * 1000, gone.signal);
      },
    }),
    jsonRoute({
      method: 'POST',
      path: '/api/v1/registry/serving/aliases',
      operationId: 'registryReadAliases',
      summary: "What all aliases of some models point to, for a gateway's routes; models without one are left out",
      request: z.object({ models: z.array(name).max(10_000) }),
      handle: async ({ models: asked }) => ({
        models: [...(await readAliases(database, asked))].map(([name, aliases]) => ({
          name,
          aliases: [...aliases].map(([alias, version]) => ({ alias, version })),
        })),
      }),
    }),
    jsonRoute({
      method: 'GET',
      path: '/api/v1/registry/models/{name}/versions/{version}/manifest',
      operationId: 'registryVersionManifest',
      summary: 'What a version consists of, by digest, with the signature that was made when it was registered',
      request: z.object({ name: required, version: required }),
      handle: (which) => serving.manifest(which.name, which.version),
    }),
    {
      method: 'GET',
      path: '/api/v1/registry/blobs/{digest}',
      operationId: 'registryReadBlob',
      summary: 'The bytes of a stored file, by their digest',
      stream: (call) => sendBlob(serving, call),
    },
    jsonRoute({
      method: 'PUT',
      path: '/api/v1/registry/gateways/{gateway_id}',
      operationId: 'registryReportGateway',
      summary: 'What a gateway serves; a gateway that does not report for half a minute is away',
      request: z.object({
        gateway_id: required,
        host: z.string().default(''),
        program_version: z.string().default(''),
        started_at: int64,
        models: z.array(
          z.object({
            served: name,
            name,
            alias: z.string().max(255),
            version: z.string().max(20),
            digest: z.string().max(100),
            state: z.string().max(30),
            problem: z.string().max(4000),
          }),
        ),
        // Gateways of earlier programs do not tell.
        routes: z.array(z.object(toVersion)).default([]),
        decisions: z
          .array(
            z.object({
              ...toVersion,
              role: z.string().max(30),
              requests: z.int().min(0),
              errors: z.int().min(0),
              first_at: int64,
              last_at: int64,
            }),
          )
          .default([]),
      }),
      handle: async (report) => {
        await serving.report(report);
        return {};
      },
    }),
    jsonRoute({
      method: 'GET',
      path: '/api/v1/registry/gateways',
      operationId: 'registryListGateways',
      summary:
        'The gateways that have reported, by id, with what they serve now; those away for longer than away_days are left out',
      request: z.object({
        ...pageFields,
        away_days: int64
          .refine((days) => days >= 0 && days <= MAX_AWAY_DAYS, `allowed: 0 to ${MAX_AWAY_DAYS}`)
          .default(AWAY_DAYS),
      }),
      handle: async ({ limit, page_token, away_days }) => {
        const after = gatewayBefore(page_token);
        await database.write((db) => endSilent(db, now()));
        const seenSince = now() - AWAY_MS - away_days * DAY_MS;
        const rows = await database.read((db) =>
          listGateways(db, database.kind, { after, limit: limit + 1, seenSince, now: now() }),
        );
        const gateways = rows.slice(0, limit);
        if (rows.length <= limit) return { gateways };
        const next_page_token = Buffer.from(gateways[limit - 1].gateway_id).toString('base64url');
        return { gateways, next_page_token };
      },
    }),
    jsonRoute({
      method: 'DELETE',
      path: '/api/v1/registry/gateways/{gateway_id}',
      operationId: 'registryForgetGateway',
      summary: 'Take a gateway that is away out of the list; the history of what it served stays',
      request: z.object({ gateway_id: required }),
      handle: async ({ gateway_id }, { actor }) => {
        await commit(models, async (db, at, note) => {
          await forgetGateway(db, gateway_id, at);
          note({ entity: 'gateway', action: 'deleted', data: { gateway_id, actor } });
        });
        return {};
      },
    }),
    jsonRoute({
      method: 'GET',
      path: '/api/v1/registry/gateways/{gateway_id}/history',
      operationId: 'registryGatewayHistory',
      summary: 'What a gateway has served, newest first',
      request: z.object({ gateway_id: required, ...pageFields }),
      handle: async ({ gateway_id, limit, page_token }) => {
        await database.write((db) => endSilent(db, now()));
        return database.read(async (db) => {
          const found = await servedBy(db, {
            gatewayId: gateway_id,
            before: keyBefore(page_token),
            limit: limit + 1,
          });
          const { rows, next } = keyPage(found, limit, (row) => row.row_key);
          return { models: rows.map(withoutKeys), ...next };
        });
      },
    }),
    jsonRoute({
      method: 'GET',
      path: '/api/v1/registry/models/{name}/gateways',
      operationId: 'registryModelGateways',
      summary: 'Which gateways serve which version of a model, and have served, newest first',
      request: z.object({ name: required, ...pageFields }),
      handle: async ({ name, limit, page_token }) => {
        await database.write((db) => endSilent(db, now()));
        return database.read(async (db) => {
          const modelKeys = await modelKeysOf(db, name);
          const found = await servedBy(db, { modelKeys, before: keyBefore(page_token), limit: limit + 1 });
          const { rows, next } = keyPage(found, limit, (row) => row.row_key);
          return { gateways: rows.map(({ row_key: _, ...row }) => row), ...next };
        });
      },
    }),
  ];
}

/** The gateway behind which a list goes on. Throws INVALID_PARAMETER_VALUE. */
function gatewayBefore(token: string): string {
  const id = Buffer.from(token, 'base64url').toString();
  if (token === '' || isGatewayId(id)) return id;
  throw invalidToken(token);
}

function withoutKeys<T extends { row_key: number; gateway_id: string }>(row: T): Omit<T, 'row_key' | 'gateway_id'> {
  const { row_key: _, gateway_id: __, ...rest } = row;
  return rest;
}

async function sendBlob(serving: Serving, { params, response }: StreamCall): Promise<void> {
  const { size, open } = await serving.blob(params.digest);
  // Opened before the head goes out: bytes that are gone must still become an error answer.
  const body = await open();
  response.writeHead(200, [
    ...['Content-Type', 'application/octet-stream'],
    ...['Content-Length', String(size)],
    ...['X-Content-Type-Options', 'nosniff'],
    ...['ETag', `"${params.digest}"`],
  ]);
  await pipeline(body, response);
}
