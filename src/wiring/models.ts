import { join, resolve } from 'node:path';
import { createModelManager, type ModelManager } from '../models/manager.ts';
import { PreflightLauncher } from '../models/preflight/launcher.ts';
import { RemoteMirrors } from '../models/remotes.ts';
import type { ServingTable } from '../pipeline/types.ts';
import type { RegistryFollower } from '../pull/follower.ts';
import type { PullParts } from '../pull/pull.ts';
import type { RegistryServices } from './registry.ts';
import type { Setup } from './setup.ts';
import type { Threads } from './threads.ts';

/** Models of remote servers, mirrored as repositories. */
export function createRemotes({ config, dataDir, log }: Setup): RemoteMirrors {
  const sources = config.models.remotes.map((remote) => ({ ...remote, refreshMs: remote.refreshSeconds * 1000 }));
  return new RemoteMirrors(sources, join(dataDir, 'remotes'), {
    discover: async (url) => (await import('../backends/v2grpc/discover.ts')).discoverModels(url),
    log,
  });
}

/** @param publish resolves when every gateway thread serves by the table */
export function createModels(
  { config: { models }, baseDir, dataDir, onnxRuntime, logger, log }: Setup,
  { pool, hub, lastUsed }: Pick<Threads, 'pool' | 'hub' | 'lastUsed'>,
  remotes: RemoteMirrors,
  publish: (table: ServingTable) => Promise<void>,
): ModelManager {
  const repositories = models.repositories.map((repository) => resolve(baseDir, repository));
  return createModelManager(
    {
      repositories: [...repositories, ...remotes.repositories],
      dataDir,
      controlMode: models.mode,
      pollIntervalMs: models.pollSeconds * 1000,
      startupModels: models.load,
      memoryBudgetBytes: models.memoryBudgetBytes,
      remoteHosts: models.remoteHosts,
      gpus: onnxRuntime.gpus(),
      runtimeId: onnxRuntime.id,
    },
    {
      pool: {
        load: (spec, handle) => pool.load(spec, handle, hub.acquire(spec.model, spec.version)),
        unload: (handle) => pool.unload(handle),
      },
      preflight: new PreflightLauncher({
        timeoutMs: models.preflightTimeoutMs,
        // Whoever moves an alias waits for it.
        spare: models.source === 'registry',
        onCrash: (spec, reason, stderr) =>
          logger.error({ model: spec.model, version: spec.version, reason, stderr }, 'a version crashed in preflight'),
      }),
      publish,
      lastUsed,
      metricsRow: (model, version) => hub.acquire(model, version),
      log,
    },
  );
}

/** What has models from the registry; undefined: the configuration wants none. Rejects when a key cannot be read. */
export async function createFollower(
  { config: { models }, dataDir, version, onnxRuntime, log }: Setup,
  { registry }: Pick<RegistryServices, 'registry'>,
  manager: ModelManager,
  { traffic, onMoved, registryToken }: Pick<PullParts, 'traffic' | 'onMoved' | 'registryToken'>,
): Promise<RegistryFollower | undefined> {
  if (models.source !== 'registry') return undefined;
  const { createPull } = await import('../pull/pull.ts');
  const { gpuFacts, gpuPlaces } = await import('../doctor/gpu.ts');
  const { systemPlaces } = await import('../doctor/libraries.ts');
  return createPull(models.registry, {
    dataDir,
    registryToken,
    serving: async () => (await registry.get()).models.serving,
    provide: (wanted) => manager.provide(wanted),
    index: () => manager.repositoryIndex(false),
    prove: (model) => manager.foresee(model),
    traffic,
    onMoved,
    programVersion: version,
    runtimes: { onnxruntime: onnxRuntime.version, node: process.versions.node },
    ...gpuFacts(gpuPlaces(systemPlaces(), onnxRuntime.cudaProvider)),
    hasModel: (name) => manager.table().models.has(name),
    memoryBudgetBytes: models.memoryBudgetBytes,
    log,
  });
}
