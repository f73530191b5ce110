import { pino } from 'pino';
import { datasetsSchema } from '../config/datasets-schema.ts';
import { featuresSchema } from '../config/features-schema.ts';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { createDatasets, type DatasetServices } from '../datasets/front.ts';
import { MESSAGES } from '../eventlog/encode/message-reader.ts';
import type { FeatureKind } from '../features/documents/schema.ts';
import { Features } from '../features/features.ts';
import type { DataSources } from '../training/inputs/data-source.ts';
import { DRIVER_DOCUMENTS } from './features.ts';
import type { RegistryUnderTest } from './registry.ts';

export interface DataUnderTest extends DatasetServices {
  /** With DRIVER_DOCUMENTS. */
  features: Features;
  data: DataSources;
}

/** Datasets and features over a registry under test, as src/wiring gives them to training. */
export async function openData({ registry, dataDir }: RegistryUnderTest): Promise<DataUnderTest> {
  const logger = pino({ level: 'silent' });
  const kafka = kafkaSchema.parse({});
  const services = createDatasets(registry, {
    config: datasetsSchema.parse({}),
    kafka,
    logFolders: {},
    messages: MESSAGES,
    logger,
  });
  const features = new Features({
    config: featuresSchema.parse({}),
    baseDir: dataDir,
    dataDir,
    database: async () => registry.database,
    publish: () => {},
    spread: () => {},
    dataset: (name, source, origin, actor) =>
      services.datasets.create({ name, kind: 'tabular', origin, parents: [], runId: '', tags: {} }, source, { actor }),
    kafka,
    log: logger,
  });
  const changes = DRIVER_DOCUMENTS.map((body) => {
    const { kind, metadata } = body as { kind: FeatureKind; metadata: { name: string } };
    return { kind, name: metadata.name, body };
  });
  await features.change(changes, false);
  const data: DataSources = {
    dataset: (...wish) => services.files.version(...wish),
    features: async (view, asOf, tenant, format) =>
      services.files.keep(await features.asOf(tenant, view, asOf), format),
    checkView: async (view) => void (await features.view(view)),
  };
  return { ...services, features, data };
}
