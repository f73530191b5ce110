import { Features } from '../features/features.ts';
import type { RegistryServices } from './registry.ts';
import type { Setup } from './setup.ts';
import type { Threads } from './threads.ts';

/** The feature store: written here, read on the gateway threads. Throws ConfigError. */
export function createFeatures(
  { config, baseDir, dataDir, logger }: Setup,
  { fleet }: Pick<Threads, 'fleet'>,
  { registry, datasets }: Pick<RegistryServices, 'registry' | 'datasets'>,
): Features {
  return new Features({
    config: config.features,
    kafka: config.kafka,
    baseDir,
    dataDir,
    database: async () => (await registry.get()).database,
    publish: (documents, transforms) => fleet.setFeatures(documents, transforms),
    spread: (rows) => fleet.writeFeatures(rows),
    dataset: async (name, source, origin, actor) => {
      const facts = { name, kind: 'tabular' as const, origin, parents: [], runId: '', tags: {} };
      return (await datasets()).datasets.create(facts, source, { actor });
    },
    log: logger,
  });
}
