import { Routes } from '../control/routes/routes.ts';
import type { ModelManager } from '../models/manager.ts';
import type { RegistryServices } from './registry.ts';
import type { Setup } from './setup.ts';
import type { Threads } from './threads.ts';

/** Routes: files, the API and feedback in; states to the gateway threads out. Throws ConfigError. */
export function createRoutes(
  { config, baseDir, dataDir, logger }: Setup,
  { fleet, eventLog }: Pick<Threads, 'fleet' | 'eventLog'>,
  { registry }: Pick<RegistryServices, 'registry'>,
  manager: ModelManager,
): Routes {
  return new Routes({
    config: config.routes,
    kafka: config.kafka,
    baseDir,
    dataDir,
    fleet,
    table: () => manager.table(),
    models: async () => new Set((await manager.repositoryIndex(false)).map(({ name }) => name)),
    embedded: config.registry.database === 'sqlite',
    storage: async () => {
      const { routes: store, events } = await registry.get();
      return { store, aliases: store.aliases, subscribe: (listener) => events.subscribe(({ type }) => listener(type)) };
    },
    record: async (events, learnt) => eventLog?.feedbackOfTopic(events, learnt) ?? learnt,
    log: logger,
  });
}
