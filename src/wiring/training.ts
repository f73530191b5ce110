import type { Config } from '../config/schema.ts';
import type { Routes } from '../control/routes/routes.ts';
import type { Features } from '../features/features.ts';
import { TrainingFront } from '../training/front.ts';
import type { DataSources } from '../training/inputs/data-source.ts';
import { Pipelines } from '../training/pipelines/pipelines.ts';
import type { RegistryServices } from './registry.ts';
import type { Setup } from './setup.ts';

/**
 * Training jobs, opened behind readiness.
 * @param adminPort resolves when it listens: jobs report there
 */
export function createTraining(
  { config, dataDir, logger }: Setup,
  { registry, datasets }: Pick<RegistryServices, 'registry' | 'datasets'>,
  features: Pick<Features, 'view' | 'asOf'>,
  adminPort: Promise<number>,
): TrainingFront {
  const data: DataSources = {
    dataset: async (...wish) => (await datasets()).files.version(...wish),
    features: async (view, asOf, tenant, format) =>
      (await datasets()).files.keep(await features.asOf(tenant, view, asOf), format),
    checkView: async (view) => void (await features.view(view)),
  };
  return new TrainingFront(
    async () => {
      const { openTraining } = await import('../training/training.ts');
      const uri = config.training.trackingUri ?? adminUrl(config, await adminPort);
      const { adminToken, tls } = config.server;
      const tracking = { uri, certificate: tls?.certFile };
      const settings = { dataDir, config: config.training, tracking, adminToken, data };
      return openTraining(settings, await registry.get(), logger);
    },
    (error) => logger.error({ err: error }, 'training cannot be opened'),
  );
}

/** Pipelines of training steps, with evaluations, triggers and promotions. */
export function createPipelines(
  { config, baseDir, dataDir, log }: Setup,
  { registry }: Pick<RegistryServices, 'registry'>,
  training: TrainingFront,
  routes: Pick<Routes, 'change'>,
): Pipelines {
  return new Pipelines({
    config: config.pipelines,
    baseDir,
    dataDir,
    registry: () => registry.get(),
    jobs: async () => (await training.get()).jobs,
    applyRoute: async (document) => {
      const body = JSON.stringify(document, undefined, 2);
      await routes.change([{ kind: 'Route', name: document.metadata.name, body }], false);
    },
    log,
  });
}

/** Where processes on this machine reach the admin port. */
function adminUrl({ server: { tls, adminHost } }: Config, port: number): string {
  const host = adminHost === '0.0.0.0' ? '127.0.0.1' : adminHost === '::' ? '::1' : adminHost;
  return `${tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
