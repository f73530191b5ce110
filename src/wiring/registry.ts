import type { DatasetServices } from '../datasets/front.ts';
import { columnsJson } from '../eventlog/encode/json.ts';
import { eventLogFolders, eventLogRoot, payloadFolder } from '../eventlog/folders.ts';
import { PayloadReader } from '../eventlog/payload-reader.ts';
import { RegistryFront } from '../registry/front.ts';
import type { DataSchemas } from '../validation/schemas.ts';
import type { Setup } from './setup.ts';

/** The registry, and what keeps its rows and blobs there. All reject while it cannot be opened. */
export interface RegistryServices {
  registry: RegistryFront;
  datasets(): Promise<DatasetServices>;
  schemas(): Promise<DataSchemas>;
}

/** @param schemaKept a schema has its next version */
export function createRegistry(setup: Setup, schemaKept: () => Promise<void>): RegistryServices {
  const { config, dataDir, baseDir, logger } = setup;
  let datasets: DatasetServices | undefined;
  let schemas: DataSchemas | undefined;
  const registry = new RegistryFront(
    async () => {
      const { openRegistry } = await import('../registry/registry.ts');
      const { createDatasets } = await import('../datasets/front.ts');
      const { validationRoutes } = await import('../validation/routes.ts');
      const { DataSchemas } = await import('../validation/schemas.ts');
      const { MESSAGES: messages } = await import('../eventlog/encode/message-reader.ts');
      const logFolders = eventLogFolders(config.eventLog, dataDir, baseDir);
      const { kafka } = config;
      const settings = { config: config.datasets, kafka, logFolders, payload: payloads(setup), messages, logger };
      return openRegistry({ dataDir, ...config.registry }, logger, (parts) => {
        datasets = createDatasets(parts, settings);
        schemas = new DataSchemas(parts, datasets.datasets);
        return [...datasets.routes, ...validationRoutes(schemas, schemaKept)];
      });
    },
    (error) => logger.error({ err: error }, 'the registry cannot be opened'),
  );
  return {
    registry,
    async datasets() {
      await registry.get();
      return datasets as DatasetServices;
    },
    async schemas() {
      await registry.get();
      return schemas as DataSchemas;
    },
  };
}

/** Reads what records of the event log name by digest. */
function payloads({ config, dataDir, baseDir }: Setup) {
  const { dir, payloads: settings } = config.eventLog;
  const reader = new PayloadReader(payloadFolder(eventLogRoot(dir, dataDir, baseDir)), settings.s3);
  return async (sha256: string) => {
    const { features, predictions } = await reader.read(sha256);
    return { features: columnsJson(features), predictions: columnsJson(predictions) };
  };
}
