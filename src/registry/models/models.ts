import type { BlobVault } from '../blobs/vault.ts';
import type { RegistryDatabase } from '../database/database.ts';
import type { RegistryEvents } from '../events.ts';
import type { SigningKey } from '../manifest/signature.ts';
import type { RestRoute } from '../rest/route.ts';
import { createRouteAliases, type RouteAliasSource } from '../routes/route-aliases.ts';
import { servingRoutes } from '../serving/routes.ts';
import { createServing, type Serving } from '../serving/serving.ts';
import type { WebhookPolicy } from '../webhooks/guard.ts';
import { webhookRoutes } from '../webhooks/routes.ts';
import { aliasRoutes } from './alias-routes.ts';
import type { AliasPolicy } from './aliases.ts';
import type { ModelsContext } from './context.ts';
import { decisionRoutes } from './decision-routes.ts';
import { modelRoutes } from './model-routes.ts';
import { versionRoutes } from './version-routes.ts';

export interface ModelsSettings {
  aliases: AliasPolicy;
  webhooks: WebhookPolicy;
  /** Signs what versions consist of when they are registered; undefined: nobody does. */
  signingKey: SigningKey | undefined;
}

export interface ModelsParts {
  database: RegistryDatabase;
  vault: BlobVault;
  events: RegistryEvents;
  now(): number;
  wakeWebhooks(): void;
}

export interface Models {
  routes: readonly RestRoute[];
  /** For writes of other areas that belong together with those of this one. */
  context: ModelsContext;
  /** For a gateway in this process. */
  serving: Serving;
  /** For the gateway's routes. */
  routeAliases: RouteAliasSource;
  /** Ends waiting requests. */
  close(): void;
}

/** Registered models, versions, aliases, decisions and webhooks. */
export function createModels(settings: ModelsSettings, parts: ModelsParts): Models {
  const { database, events, now, wakeWebhooks } = parts;
  const { aliases: policy, signingKey } = settings;
  const context: ModelsContext = { database, events, policy, signingKey, now, wakeWebhooks };
  const closing = new AbortController();
  const around = { models: context, vault: parts.vault, closing: closing.signal };
  const serving = createServing(around);
  return {
    routes: [
      ...modelRoutes(context),
      ...versionRoutes(context),
      ...aliasRoutes(context),
      ...decisionRoutes(context),
      ...webhookRoutes({ database, policy: settings.webhooks, now }),
      ...servingRoutes(around, serving),
    ],
    context,
    serving,
    close: () => closing.abort(),
    routeAliases: createRouteAliases(context),
  };
}
