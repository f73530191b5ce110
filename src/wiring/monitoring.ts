import type { Routes } from '../control/routes/routes.ts';
import { RecordFinder } from '../eventlog/find.ts';
import { TopicRecords } from '../eventlog/find-topic.ts';
import { eventLogFolders } from '../eventlog/folders.ts';
import { Monitors } from '../monitoring/monitors.ts';
import type { Pipelines } from '../training/pipelines/pipelines.ts';
import { contradictions } from '../validation/anomalies.ts';
import type { RegistryServices } from './registry.ts';
import type { Setup } from './setup.ts';
import type { Threads } from './threads.ts';

/** Monitors over the event log, which have models retrained. Throws ConfigError. */
export function createMonitors(
  setup: Setup,
  { eventLog }: Pick<Threads, 'eventLog'>,
  { registry, datasets, schemas }: Pick<RegistryServices, 'registry' | 'datasets' | 'schemas'>,
  pipelines: Pipelines,
  routes: Pick<Routes, 'rolloutOf'>,
): Monitors {
  const { config, baseDir, dataDir, logger, log } = setup;
  const onTopics = config.monitoring.source === 'kafka' || config.eventLog.sinks.some(({ kind }) => kind === 'kafka');
  const watched = (): string[] => monitors.documents().map(({ document }) => document.spec.model);
  const monitors: Monitors = new Monitors({
    config: config.monitoring,
    baseDir,
    dataDir,
    feed: eventLog,
    registry: () => registry.get(),
    keepRows: async (rows) => {
      const { keepLabelledRows } = await import('../datasets/entities/labelled-rows.ts');
      return keepLabelledRows((await datasets()).datasets, rows);
    },
    checkRows: async (rows, { schema: name, version }, monitor) => {
      const known = await schemas();
      const { schema } = await known.get(name, version);
      const { anomalies } = await known.validate(rows, schema, undefined, { actor: `monitor ${monitor}` });
      return contradictions(anomalies);
    },
    pipelines,
    rollout: (model, version) => routes.rolloutOf(model, version),
    records: new RecordFinder({
      folders: eventLogFolders(config.eventLog, dataDir, baseDir),
      log: eventLog,
      others: onTopics ? [new TopicRecords(config.kafka, watched, logger)] : [],
    }),
    log,
  });
  return monitors;
}
