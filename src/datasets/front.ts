import type { Logger } from 'pino';
import type { DatasetsConfig } from '../config/datasets-schema.ts';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import type { MessageReader } from '../eventlog/record.ts';
import { kafkaClients } from '../kafka/client.ts';
import type { RegistryParts } from '../registry/registry.ts';
import type { RestRoute } from '../registry/rest/route.ts';
import { Connectors } from './connectors/connectors.ts';
import type { ReadPayload } from './connectors/log.ts';
import { Datasets } from './entities/datasets.ts';
import { DatasetFiles } from './entities/files.ts';
import { Imports } from './entities/imports.ts';
import { datasetRoutes } from './entities/routes.ts';

export interface DatasetServices {
  datasets: Datasets;
  connectors: Connectors;
  files: DatasetFiles;
  routes: RestRoute[];
}

export interface DatasetSettings {
  config: DatasetsConfig;
  kafka: KafkaConfig;
  logFolders: Readonly<Record<string, string>>;
  payload?: ReadPayload;
  messages: MessageReader;
  logger: Logger;
}

/** Datasets over a registry's database and blob store. */
export function createDatasets(
  registry: RegistryParts,
  { config, kafka, logFolders, payload, messages, logger }: DatasetSettings,
): DatasetServices {
  const datasets = new Datasets(registry);
  const connectors = new Connectors({
    config,
    logFolders,
    messages,
    ...(payload === undefined ? {} : { payload }),
    kafka: () => kafkaClients(kafka, logger),
  });
  const imports = new Imports(datasets, connectors);
  const { storage } = registry;
  return {
    datasets,
    connectors,
    files: new DatasetFiles(datasets, storage.vault),
    routes: datasetRoutes({ datasets, imports, connectors, storage, maxBytes: config.maxBytes }),
  };
}
