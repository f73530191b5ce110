import { Routes, type RoutesParts } from '../control/routes/routes.ts';
import type { ModelManager } from '../models/manager.ts';
import { gatewayIdOf } from '../pull/gateway-id.ts';
import { RemoteAliases } from '../pull/remote-aliases.ts';
import { servedAliases } from '../pull/served-aliases.ts';
import type { RegistryServices } from './registry.ts';
import type { Setup } from './setup.ts';
import type { Threads } from './threads.ts';

/** Other processes may move aliases of a database that they share, and nothing tells this one. */
const SHARED_POLL_MS = 1000;
const POLL_MS = 5000;

/**
 * Routes: files, the API and feedback in; states to the gateway threads out. Throws ConfigError.
 *
 * @param registryToken for the registry of another server, as it is configured now; '' = none
 */
export function createRoutes(
  setup: Setup,
  { fleet, eventLog }: Pick<Threads, 'fleet' | 'eventLog'>,
  { registry }: Pick<RegistryServices, 'registry'>,
  manager: ModelManager,
  registryToken: () => string,
): Routes {
  const { config, baseDir, dataDir, logger } = setup;
  return new Routes({
    config: config.routes,
    kafka: config.kafka,
    baseDir,
    dataDir,
    fleet,
    table: () => manager.table(),
    models: async () => new Set((await manager.repositoryIndex(false)).map(({ name }) => name)),
    embedded: config.registry.database === 'sqlite',
    ...aliasParts(setup, registry, registryToken),
    storage: async () => {
      const { routes: store, events } = await registry.get();
      return { store, subscribe: (listener) => events.subscribe(({ type }) => listener(type)) };
    },
    record: async (events, learnt) => eventLog?.feedbackOfTopic(events, learnt) ?? learnt,
    log: logger,
  });
}

/** Aliases of the registry that models come from, by the names they are served under. */
function aliasParts(
  { config: { models, registry: own }, dataDir }: Setup,
  registry: RegistryServices['registry'],
  token: () => string,
): Pick<RoutesParts, 'aliases' | 'aliasPollMs'> {
  const { url, ssl, follow } = models.registry;
  const local: RoutesParts['aliases'] = {
    read: async (names) => (await registry.get()).routes.aliases.read(names),
    move: async (...wish) => (await registry.get()).routes.aliases.move(...wish),
  };
  const localPollMs = own.database === 'sqlite' ? POLL_MS : SHARED_POLL_MS;
  if (models.source !== 'registry') return { aliases: local, aliasPollMs: localPollMs };
  if (url === undefined) return { aliases: servedAliases(local, follow), aliasPollMs: localPollMs };
  const gatewayId = () => gatewayIdOf(models.registry, dataDir);
  const remote = new RemoteAliases({ url, token, gatewayId, ...(ssl === undefined ? {} : { ssl }) });
  return { aliases: servedAliases(remote, follow), aliasPollMs: POLL_MS };
}
