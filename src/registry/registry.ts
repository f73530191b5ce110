/**
 * The embedded registry: experiments, runs, models and artifacts, over MLflow's REST API.
 *
 * How it is put together:
 * - `openRegistry` wires everything by plain construction; src/wiring reaches it through `RegistryFront`, which opens it
 *   in the background and gives it the admin port's requests.
 * - `database.read(db => …)` and `database.write(db => …)` take kysely queries; a write is atomic and on disk when it
 *   resolves. Tables of an area: database/tables/<area>.ts and database/migrations/<number>-<area>.ts, named in
 *   database/tables.ts and database/migrations.ts.
 * - Each area gives a list of routes (rest/route.ts): `jsonRoute` with a zod schema, or `stream` for raw bytes in both
 *   directions. They make up the dispatch and the OpenAPI description. Errors are `RegistryError` (errors.ts).
 * - search/ has the filter language and page tokens for every search.
 * - `events` tells in-process listeners what was committed. What webhooks hear too is queued in the write that makes it true:
 *   see commit.ts, by which other parts of the program tell of theirs.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openStorage, type Storage, type StorageSettings } from './artifacts/storage.ts';
import type { CommitContext } from './commit.ts';
import { openDatabase, type RegistryDatabase } from './database/database.ts';
import { RegistryEvents } from './events.ts';
import { signingKey } from './manifest/signature.ts';
import { createModels, type Models } from './models/models.ts';
import { RestDispatch } from './rest/dispatch.ts';
import type { RestRoute } from './rest/route.ts';
import { tokenScope } from './rest/scope.ts';
import type { RouteAliasSource } from './routes/route-aliases.ts';
import { createRouteStore, type RouteStore } from './routes/route-store.ts';
import { createTracking, type Tracking } from './tracking/tracking.ts';
import type { WebhookPolicy } from './webhooks/guard.ts';
import { WebhookQueue } from './webhooks/queue.ts';

export interface RegistrySettings {
  /** Holds the embedded database and files. */
  dataDir: string;
  /** 'sqlite', or the URL of a PostgreSQL database. */
  database: string;
  /** PEM file of the key that signs manifests; undefined: nobody signs them. */
  signingKey?: string | undefined;
  approvals: { aliases: readonly string[] };
  webhooks: WebhookPolicy;
  artifacts: StorageSettings;
}

export interface RegistryLog {
  error(fields: Record<string, unknown>, message: string): void;
}

export interface Registry {
  database: RegistryDatabase;
  events: RegistryEvents;
  /** For writes that tell the world something. */
  commits: CommitContext;
  tracking: Tracking;
  storage: Storage;
  models: Models;
  /** What the gateway's routes keep, and the aliases they follow. */
  routes: RouteStore & { aliases: RouteAliasSource };
  rest: RestDispatch;
  close(): Promise<void>;
}

/** What areas outside this folder are built on. */
export type RegistryParts = Pick<Registry, 'database' | 'events' | 'commits' | 'storage'>;

/**
 * Opens the database, brings its tables up to date and wires the rest. Rejects when the database cannot be opened.
 *
 * @param more routes of areas outside this folder
 */
export async function openRegistry(
  settings: RegistrySettings,
  log: RegistryLog,
  more: (parts: RegistryParts) => readonly RestRoute[] = () => [],
): Promise<Registry> {
  const database = await openDatabase(
    settings.database === 'sqlite'
      ? { kind: 'sqlite', file: join(settings.dataDir, 'registry', 'registry.db') }
      : { kind: 'postgres', url: settings.database },
  );
  const events = new RegistryEvents((error) => log.error({ err: error }, 'a listener of registry events failed'));
  const webhookError = (error: unknown): void => log.error({ err: error }, 'delivering webhooks failed');
  const webhooks = new WebhookQueue({ database, policy: settings.webhooks, now: Date.now, onError: webhookError });
  const wakeWebhooks = (): void => webhooks.wake();
  const commits: CommitContext = { database, events, now: Date.now, wakeWebhooks };
  const tracking = createTracking(commits, (error) =>
    log.error({ err: error }, 'moving metrics to their tables failed'),
  );
  const storage = await openStorage(settings.artifacts, {
    folder: join(settings.dataDir, 'registry'),
    database,
    now: Date.now,
    onError: (error, message) => log.error({ err: error }, message),
  });
  const models = createModels(
    {
      aliases: { approvedOnly: settings.approvals.aliases },
      webhooks: settings.webhooks,
      signingKey: settings.signingKey === undefined ? undefined : signingKey(readFileSync(settings.signingKey)),
    },
    {
      database,
      vault: storage.vault,
      events,
      now: Date.now,
      wakeWebhooks,
    },
  );
  const rest = new RestDispatch(
    [...tracking.routes, ...storage.routes, ...models.routes, ...more({ database, events, commits, storage })],
    tokenScope(database),
    (error) => log.error({ err: error }, 'a registry request failed'),
  );
  webhooks.start();
  const close = async (): Promise<void> => {
    models.close();
    await webhooks.close();
    await storage.close();
    await tracking.close();
    await database.close();
  };
  const routes = { ...createRouteStore(database, Date.now), aliases: models.routeAliases };
  return { database, events, commits, tracking, storage, models, routes, rest, close };
}
