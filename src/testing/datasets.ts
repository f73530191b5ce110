import { pino } from 'pino';
import { type DatasetsConfig, datasetsSchema } from '../config/datasets-schema.ts';
import { type KafkaConfig, kafkaSchema } from '../config/kafka-schema.ts';
import { createDatasets, type DatasetServices } from '../datasets/front.ts';
import { MESSAGES } from '../eventlog/encode/message-reader.ts';
import { validationRoutes } from '../validation/routes.ts';
import { DataSchemas } from '../validation/schemas.ts';
import { RegistryUnderTest } from './registry.ts';

/** A registry with datasets, on an HTTP port. */
export async function openDatasets(
  config: Partial<DatasetsConfig> = {},
  kafka: Partial<KafkaConfig> = {},
  logFolders: Readonly<Record<string, string>> = {},
): Promise<{ server: RegistryUnderTest; services: DatasetServices }> {
  let services: DatasetServices | undefined;
  const settings = {
    config: { ...datasetsSchema.parse({}), ...config },
    kafka: { ...kafkaSchema.parse({}), ...kafka },
    logFolders,
    messages: MESSAGES,
    logger: pino({ level: 'silent' }),
  };
  const server = await RegistryUnderTest.open(undefined, undefined, undefined, (parts) => {
    services = createDatasets(parts, settings);
    return [...services.routes, ...validationRoutes(new DataSchemas(parts, services.datasets), async () => {})];
  });
  return { server, services: services as DatasetServices };
}

/** Waits for an import to end, and gives it. */
export async function importEnded(server: RegistryUnderTest, id: string): Promise<Record<string, unknown>> {
  for (;;) {
    const found = await server.ok('GET', `/api/v1/dataset-imports/${id}`);
    if (found.status !== 'running') return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
