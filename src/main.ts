import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { startAdminServer } from './admin/server.ts';
import { allocateLimitTable } from './admission/limit-table.ts';
import { machineGpus } from './backends/instances.ts';
import { CUDA_PROVIDER, carriedRuntime, findCudaProvider, linkProvider } from './backends/onnx/cuda-provider.ts';
import { onnxRuntimeWay } from './backends/onnx/runtime-way.ts';
import { EXIT_CONFIG, mustQuarantine, recentCrashes, recordCrashes } from './cli/supervisor.ts';
import { topicThreads } from './config/kafka-schema.ts';
import { ConfigError, loadConfig } from './config/load.ts';
import type { Config } from './config/schema.ts';
import { readAdmissionConfig } from './control/admission-config.ts';
import { ConfigReloader } from './control/config-reloader.ts';
import { ControlPlane } from './control/control-plane.ts';
import { ExecutorPool } from './control/executor-pool.ts';
import { GatewayFleet } from './control/gateway-fleet.ts';
import { LabelTopic } from './control/label-topic.ts';
import { MetricsHub } from './control/metrics-hub.ts';
import { startMetricsServer } from './control/metrics-server.ts';
import { Routes } from './control/routes/routes.ts';
import type { DatasetServices } from './datasets/front.ts';
import { columnsJson } from './eventlog/encode/json.ts';
import { EventLog } from './eventlog/event-log.ts';
import { RecordFinder } from './eventlog/find.ts';
import { TopicRecords } from './eventlog/find-topic.ts';
import { eventLogFolders, eventLogRoot, payloadFolder } from './eventlog/folders.ts';
import { readPayload } from './eventlog/payload-reader.ts';
import { Features } from './features/features.ts';
import { createModelManager, type ModelManager } from './models/manager.ts';
import { PreflightLauncher } from './models/preflight/launcher.ts';
import { RemoteMirrors } from './models/remotes.ts';
import { quarantineNewest } from './models/verdicts.ts';
import { Monitors } from './monitoring/monitors.ts';
import type { RegistryFollower } from './pull/follower.ts';
import { RegistryFront } from './registry/front.ts';
import { MAX_HEADER_BYTES } from './server/http/head.ts';
import { httpLibrary } from './server/http/open.ts';
import { loadUws } from './server/http/uws.ts';
import { monotonicMs } from './shared/clock.ts';
import { DEFAULT_LOG_SETTINGS } from './telemetry/log-settings.ts';
import { createLogger } from './telemetry/logging.ts';
import { renderExecutorLosses, renderModelMemory } from './telemetry/prometheus.ts';
import { TraceSettingsStore } from './telemetry/trace-settings.ts';
import type { TopicCounts } from './topics/inference-topic.ts';
import { renderTopics } from './topics/metrics.ts';
import { TrainingFront } from './training/front.ts';
import type { DataSources } from './training/inputs/data-source.ts';
import { Pipelines } from './training/pipelines/pipelines.ts';
import { KeptAtDoor } from './validation/kept-at-door.ts';
import { LiveSkew } from './validation/live/live-skew.ts';
import { DoorFigures } from './validation/metrics.ts';
import type { DataSchemas } from './validation/schemas.ts';

/** What `switchyard serve` hands to the process that serves, as its only argument (JSON). */
export interface ServeOptions {
  configFile: string | undefined;
  /** From flags and environment; they win over the file, also when it is read again. */
  overrides: Record<string, unknown>;
}

export interface RunningServer {
  httpPort: number;
  grpcPort: number;
  metricsPort: number;
  adminPort: number;
  config: Config;
  /** Reads the configuration again; a bad one is logged and the last good one goes on. */
  reload(): void;
  /** Unready, stop accepting, finish what is in flight, flush, end the threads. */
  drain(): Promise<void>;
  /** Threads inside native code that does not return; `process.exit` would wait for them. */
  stuckThreads(): number;
}

const version = (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string })
  .version;

function dependencyVersion(name: string): string {
  const file = createRequire(import.meta.url).resolve(`${name}/package.json`);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** Like every file that the configuration names, relative to it. */
function resolveTlsFiles({ server: { tls } }: Config, baseDir: string): void {
  if (tls === undefined) return;
  tls.certFile = resolve(baseDir, tls.certFile);
  tls.keyFile = resolve(baseDir, tls.keyFile);
  if (tls.caFile !== undefined) tls.caFile = resolve(baseDir, tls.caFile);
}

/** As resolveTlsFiles, for the keys of the registry and of Kafka's clients. */
function resolveKeyFiles({ models, registry, kafka }: Config, baseDir: string): void {
  models.registry.trustedKeys = models.registry.trustedKeys.map((file) => resolve(baseDir, file));
  if (registry.signingKey !== undefined) registry.signingKey = resolve(baseDir, registry.signingKey);
  for (const file of ['caFile', 'certFile', 'keyFile'] as const)
    if (kafka.ssl?.[file] !== undefined) kafka.ssl[file] = resolve(baseDir, kafka.ssl[file]);
}

/**
 * Puts a CUDA provider from elsewhere beside ONNX Runtime, by links in the data folder, for threads and child processes.
 * Returns what is wrong with it, or ''; models that want a GPU then say so.
 */
function prepareCuda(setting: string | undefined, baseDir: string, dataDir: string): string {
  if (setting === undefined) return '';
  try {
    if (onnxRuntimeWay() === 'node')
      throw new Error('models.cuda.providerLibrary needs models.onnxRuntime to be native or auto');
    const runtime = carriedRuntime();
    const folder = findCudaProvider(resolve(baseDir, setting), runtime);
    process.env.SWITCHYARD_ONNX_LIBRARY = linkProvider(folder, runtime, join(dataDir, 'onnxruntime'));
    return '';
  } catch (error) {
    process.env.SWITCHYARD_ONNX_CUDA_PROBLEM = (error as Error).message;
    return (error as Error).message;
  }
}

/** GPUs that KIND_AUTO may take: none where no CUDA provider can be used, since a model that found none would not load. */
function gpusForAuto(setting: string | undefined, problem: string): number {
  const provider = setting !== undefined || existsSync(join(carriedRuntime().folder, CUDA_PROVIDER));
  return provider && problem === '' ? machineGpus().length : 0;
}

/** As resolveTlsFiles, for what imports may read. */
function resolveDatasetFolders({ datasets }: Config, baseDir: string): void {
  datasets.folders = datasets.folders.map((folder) => resolve(baseDir, folder));
}

/** As resolveTlsFiles, for what jobs may use. */
function resolveTrainingFiles({ training }: Config, baseDir: string): void {
  training.sourceDirs = training.sourceDirs.map((folder) => resolve(baseDir, folder));
  const { kubernetes, ray } = training;
  if (kubernetes?.kubeconfig !== undefined) kubernetes.kubeconfig = resolve(baseDir, kubernetes.kubeconfig);
  for (const secret of [...Object.values(training.secrets), ray?.token ?? {}])
    if (secret.file !== undefined) secret.file = resolve(baseDir, secret.file);
  for (const [name, program] of Object.entries(training.pythons))
    if (program.includes('/')) training.pythons[name] = resolve(baseDir, program);
}

/** Several threads can share the HTTP port through the addon or uWebSockets.js, which cannot check client certificates. */
async function gatewayThreads({ threads, server }: Config): Promise<number> {
  if (threads.gateways === 1) return 1;
  const library = httpLibrary(process.env.SWITCHYARD_HTTP);
  if (library === 'native') return threads.gateways;
  if (server.tls?.caFile !== undefined || library === 'node') return 1;
  return loadUws().then(
    () => threads.gateways,
    () => 1,
  );
}

/** Where processes on this machine reach the admin port. */
function adminUrl({ server: { tls, adminHost } }: Config, port: number): string {
  const host = adminHost === '0.0.0.0' ? '127.0.0.1' : adminHost === '::' ? '::1' : adminHost;
  return `${tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** How long sinks may go on sending when the program ends; what is left waits in the spool. */
const LOG_FLUSH_MS = 5000;
const SKEW_INTERVAL_MS = 10_000;
/** Another server of the same registry may keep the next version of a schema. */
const KEPT_SCHEMAS_INTERVAL_MS = 5000;

const CRASH_REASON = 'the gateway process crashed three times within a minute after this version came';

/** Composition root: builds the whole program on the control thread and starts it. Rejects with ConfigError or a start-up failure. */
export async function startServer(options: ServeOptions, onFatal: (message: string) => void): Promise<RunningServer> {
  const startedAt = performance.now();
  // uWS reads it once, when the first thread loads it; its own 4 KiB would refuse long tokens.
  process.env.UWS_HTTP_MAX_HEADERS_SIZE ??= String(MAX_HEADER_BYTES);
  const config = loadConfig(options.configFile, options.overrides);
  const asWritten = structuredClone(config);
  const baseDir = options.configFile === undefined ? process.cwd() : dirname(resolve(options.configFile));
  resolveTlsFiles(config, baseDir);
  resolveKeyFiles(config, baseDir);
  resolveTrainingFiles(config, baseDir);
  resolveDatasetFolders(config, baseDir);
  config.threads.gateways = await gatewayThreads(config);
  // Threads and child processes inherit it; given from outside, the variable wins over the file.
  process.env.SWITCHYARD_ONNX_RUNTIME ||= config.models.onnxRuntime;
  process.env.SWITCHYARD_ONNX_THREADS ||= String(config.models.onnxThreads);
  const dataDir = resolve(config.dataDir);
  const cudaProblem = prepareCuda(config.models.cuda.providerLibrary, baseDir, dataDir);
  const { logger, apply } = createLogger({ thread: 'control', settings: { ...DEFAULT_LOG_SETTINGS } });
  logger.level = config.telemetry.logLevel;
  if (cudaProblem !== '') logger.warn({ problem: cudaProblem }, 'Models cannot be put on a GPU');
  const admission = readAdmissionConfig(config.admission, baseDir, options.configFile);
  const traceSettings = new TraceSettingsStore({
    on: config.telemetry.tracing.endpoint !== undefined,
    rate: Math.max(1, Math.round(1 / Math.max(config.telemetry.tracing.sampleRatio, 1e-9))),
    count: -1,
  });

  const lastUsed = new Map<string, number>();
  const hub = new MetricsHub((chunk) => {
    pool.addMetricsChunk(chunk);
    fleet.addMetricsChunk(chunk);
  });
  const pool: ExecutorPool = new ExecutorPool(
    {
      compute: config.threads.executors,
      io: config.threads.executors,
      defaultInstances: config.models.defaultInstances ?? Math.min(4, config.threads.executors),
    },
    {
      onExecutor: (id) => fleet.addExecutor(id),
      onLost: (id) => {
        logger.error({ executor: id }, 'an executor thread was lost; its models move to a new one');
        fleet.loseExecutor(id);
      },
      onRelocated: (handle, executors) => void manager.executorsChanged(handle, executors),
      onVersionCrash: (handle, message, hungMs) => {
        logger.error({ handle, reason: message }, hungMs > 0 ? 'a model version hung' : 'a model version crashed');
        void manager.versionCrashed(handle, monotonicMs(), hungMs);
      },
      onAbandoned: (id, message) => logger.error({ executor: id, reason: message }, 'an executor thread does not end'),
      threadMetrics: (thread) => hub.thread(thread),
    },
  );
  const violations = new DoorFigures();
  hub.addSource(() => violations.render());
  const skew = new LiveSkew({
    now: Date.now,
    profile: async (name, version) => (await datasetServices()).datasets.profile(name, version, { actor: 'gateway' }),
  });
  hub.addSource(() => skew.render());
  const keptAtDoor = new KeptAtDoor({
    read: async (...wish) => {
      await registry.get();
      return (dataSchemas as DataSchemas).get(...wish);
    },
    publish: (schemas) => fleet.setDoorSchemas(schemas),
    log: (level, message, fields) => logger[level](fields, message),
  });
  setInterval(() => void keptAtDoor.refresh(), KEPT_SCHEMAS_INTERVAL_MS).unref();
  hub.addSource(() => renderModelMemory(pool.describe().versions));
  hub.addSource(() => renderExecutorLosses(pool.losses));
  setInterval(() => void skew.refresh(), SKEW_INTERVAL_MS).unref();
  let topicCounts: Record<string, TopicCounts> = {};
  const fleet: GatewayFleet = new GatewayFleet({
    call: (method, args) => control.call(method, args),
    connect: (executor, gateway) => pool.connect(executor, gateway),
    executors: () => pool.ids(),
    threadMetrics: (thread) => hub.thread(thread),
    chunks: () => hub.chunks(),
    onUsed: (models) => {
      const now = monotonicMs();
      for (const model of models) lastUsed.set(model, now);
    },
    onRouteActivity: (activity) => routes.activity(activity),
    onTopics: (counts) => {
      topicCounts = counts;
    },
    onFeatureJoins: (gateway, counts) => features.joined(gateway, counts),
    onViolations: (counts) => violations.add(counts),
    onLiveStatistics: (statistics) => skew.add(statistics),
    onLargeRecord: (gateway, record) => eventLog?.large(gateway, record),
    onLost: onFatal,
  });
  pool.start();
  const eventLog = config.eventLog.enabled
    ? new EventLog({ config, dataDir, baseDir, logSettings: { ...DEFAULT_LOG_SETTINGS }, logger })
    : undefined;
  hub.addSource(() => eventLog?.metrics() ?? '');
  const gatewaysStarted = fleet.start(
    config.threads.gateways + topicThreads(config.kafka),
    {
      config,
      version,
      admission,
      limits: allocateLimitTable(),
      traceSettings: traceSettings.state,
      traceCounters: traceSettings.counters,
      logSettings: { ...DEFAULT_LOG_SETTINGS },
      instanceId: randomUUID(),
    },
    eventLog?.rings,
  );
  const logStarted = eventLog?.start();
  const remotes = new RemoteMirrors(
    config.models.remotes.map((remote) => ({ ...remote, refreshMs: remote.refreshSeconds * 1000 })),
    join(dataDir, 'remotes'),
    {
      discover: async (url) => (await import('./backends/v2grpc/discover.ts')).discoverModels(url),
      log: (level, message, fields) => logger[level](fields, message),
    },
  );
  const repositories = config.models.repositories.map((repository) => resolve(baseDir, repository));
  const manager: ModelManager = createModelManager(
    {
      repositories: [...repositories, ...remotes.repositories],
      dataDir,
      controlMode: config.models.mode,
      pollIntervalMs: config.models.pollSeconds * 1000,
      startupModels: config.models.load,
      memoryBudgetBytes: config.models.memoryBudgetBytes,
      remoteHosts: config.models.remoteHosts,
      gpus: gpusForAuto(config.models.cuda.providerLibrary, cudaProblem),
      runtimeId: `onnxruntime ${dependencyVersion('onnxruntime-node')}${onnxRuntimeWay() === 'node' ? '' : ' shared'}`,
    },
    {
      pool: {
        load: (spec, handle) => pool.load(spec, handle, hub.acquire(spec.model, spec.version)),
        unload: (handle) => pool.unload(handle),
      },
      preflight: new PreflightLauncher({
        timeoutMs: config.models.preflightTimeoutMs,
        onCrash: (spec, reason, stderr) =>
          logger.error({ model: spec.model, version: spec.version, reason, stderr }, 'a version crashed in preflight'),
      }),
      publish: async (table) => {
        await gatewaysStarted;
        await keptAtDoor.follow(table);
        await fleet.publish(table);
        routes.tableChanged();
        pull?.tableChanged();
      },
      lastUsed: (model) => lastUsed.get(model) ?? 0,
      metricsRow: (model, modelVersion) => hub.acquire(model, modelVersion),
      log: (level, message, fields) => logger[level](fields, message),
    },
  );
  let openDatasets: DatasetServices | undefined;
  let dataSchemas: DataSchemas | undefined;
  const datasetServices = async (): Promise<DatasetServices> => {
    await registry.get();
    return openDatasets as DatasetServices;
  };
  const registry = new RegistryFront(
    async () => {
      const { openRegistry } = await import('./registry/registry.ts');
      const { createDatasets } = await import('./datasets/front.ts');
      const { validationRoutes } = await import('./validation/routes.ts');
      const { DataSchemas } = await import('./validation/schemas.ts');
      const logFolders = eventLogFolders(config.eventLog, dataDir, baseDir);
      const payloads = payloadFolder(eventLogRoot(config.eventLog.dir, dataDir, baseDir));
      const payload = async (sha256: string) => {
        const { features, predictions } = await readPayload(payloads, sha256);
        return { features: columnsJson(features), predictions: columnsJson(predictions) };
      };
      const settings = { config: config.datasets, kafka: config.kafka, logFolders, payload, logger };
      return openRegistry({ dataDir, ...config.registry }, logger, (parts) => {
        openDatasets = createDatasets(parts, settings);
        dataSchemas = new DataSchemas(parts, openDatasets.datasets);
        return [...openDatasets.routes, ...validationRoutes(dataSchemas, () => keptAtDoor.refresh())];
      });
    },
    (error) => logger.error({ err: error }, 'the registry cannot be opened'),
  );
  let adminListens = (_port: number): void => {};
  const adminPort = new Promise<number>((resolve) => {
    adminListens = resolve;
  });
  const training = new TrainingFront(
    async () => {
      const { openTraining } = await import('./training/training.ts');
      const uri = config.training.trackingUri ?? adminUrl(config, await adminPort);
      const { adminToken, tls } = config.server;
      const tracking = { uri, certificate: tls?.certFile };
      const data: DataSources = {
        dataset: async (...wish) => (await datasetServices()).files.version(...wish),
        features: async (view, asOf, tenant, format) =>
          (await datasetServices()).files.keep(await features.asOf(tenant, view, asOf), format),
        checkView: async (view) => void (await features.view(view)),
      };
      const settings = { dataDir, config: config.training, tracking, adminToken, data };
      return openTraining(settings, await registry.get(), logger);
    },
    (error) => logger.error({ err: error }, 'training cannot be opened'),
  );
  hub.addSource(() => training.metrics());
  const pull = config.models.source === 'registry' ? await startPull() : undefined;
  async function startPull(): Promise<RegistryFollower> {
    const { createPull } = await import('./pull/pull.ts');
    const { gpuFacts, gpuPlaces } = await import('./doctor/gpu.ts');
    const { systemPlaces } = await import('./doctor/libraries.ts');
    const setting = config.models.cuda.providerLibrary;
    const named = setting === undefined || cudaProblem !== '' ? '' : resolve(baseDir, setting);
    return createPull(config.models.registry, {
      dataDir,
      serving: async () => (await registry.get()).models.serving,
      provide: (models) => manager.provide(models),
      index: () => manager.repositoryIndex(false),
      prove: (model) => manager.foresee(model),
      traffic: () => routes.traffic(),
      programVersion: version,
      runtimes: { onnxruntime: dependencyVersion('onnxruntime-node'), node: process.versions.node },
      ...gpuFacts(gpuPlaces(systemPlaces(), named)),
      hasModel: (name) => manager.table().models.has(name),
      memoryBudgetBytes: config.models.memoryBudgetBytes,
      log: (level, message, fields) => logger[level](fields, message),
    });
  }
  const routes: Routes = new Routes({
    config: config.routes,
    kafka: config.kafka,
    baseDir,
    dataDir,
    fleet,
    table: () => manager.table(),
    models: async () => new Set((await manager.repositoryIndex(false)).map(({ name }) => name)),
    storage: async () => {
      const { routes: store, events } = await registry.get();
      return { store, aliases: store.aliases, subscribe: (listener) => events.subscribe(({ type }) => listener(type)) };
    },
    record: async (events, learnt) => eventLog?.feedbackOfTopic(events, learnt) ?? learnt,
    log: logger,
  });
  hub.addSource(() => routes.metrics());
  const pipelines = new Pipelines({
    config: config.pipelines,
    baseDir,
    dataDir,
    registry: () => registry.get(),
    jobs: async () => (await training.get()).jobs,
    applyRoute: async (document) => {
      const body = JSON.stringify(document, undefined, 2);
      await routes.change([{ kind: 'Route', name: document.metadata.name, body }], false);
    },
    log: (level, message, fields) => logger[level](fields, message),
  });
  const features: Features = new Features({
    config: config.features,
    baseDir,
    dataDir,
    database: async () => (await registry.get()).database,
    publish: (documents, transforms) => fleet.setFeatures(documents, transforms),
    spread: (rows) => fleet.writeFeatures(rows),
    dataset: async (name, source, origin, actor) => {
      const facts = { name, kind: 'tabular' as const, origin, parents: [], runId: '', tags: {} };
      return (await datasetServices()).datasets.create(facts, source, { actor });
    },
    kafka: config.kafka,
    log: logger,
  });
  hub.addSource(() => features.metrics());
  const onTopics = config.monitoring.source === 'kafka' || config.eventLog.sinks.some(({ kind }) => kind === 'kafka');
  const watched = (): string[] => monitors.documents().map(({ document }) => document.spec.model);
  const monitors: Monitors = new Monitors({
    config: config.monitoring,
    baseDir,
    dataDir,
    feed: eventLog,
    registry: () => registry.get(),
    pipelines,
    rollout: (model, version) => routes.rolloutOf(model, version),
    records: new RecordFinder({
      folders: eventLogFolders(config.eventLog, dataDir, baseDir),
      log: eventLog,
      others: onTopics ? [new TopicRecords(config.kafka, watched, logger)] : [],
    }),
    log: (level, message, fields) => logger[level](fields, message),
  });
  hub.addSource(() => monitors.metrics());
  const feedback = (body: unknown) =>
    eventLog === undefined ? routes.feedback(body) : eventLog.feedback(body, (each) => routes.feedback(each));
  const labels = new LabelTopic({
    kafka: config.kafka,
    log: logger,
    take: (events) => routes.takeFromTopic(events),
  });
  hub.addSource(() => renderTopics(topicCounts, labels.counts));
  const control = new ControlPlane(
    manager,
    traceSettings,
    fleet,
    { ...DEFAULT_LOG_SETTINGS },
    apply,
    feedback,
    (verb, tenant, body) => features.call(verb, tenant, body),
  );

  await Promise.all([gatewaysStarted, logStarted]);
  if (mustQuarantine(recentCrashes(dataDir, Date.now()))) {
    const set = await quarantineNewest(dataDir, CRASH_REASON, Date.now(), Number.POSITIVE_INFINITY);
    logger.error({ quarantined: set }, CRASH_REASON);
    recordCrashes(dataDir, []);
  }
  const inUse = { config, asWritten, admission };
  const reloader = new ConfigReloader(options, inUse, baseDir, (next) => fleet.updateAdmission(next), logger);
  const [ports, metrics, admin] = await Promise.all([
    fleet.listen(),
    startMetricsServer(hub, config.server),
    startAdminServer(
      {
        config: () => reloader.current,
        control,
        manager,
        hub,
        reloader,
        pool,
        fleet,
        registry,
        routes,
        training,
        eventLog,
        pipelines,
        features,
        monitors,
        skew,
        version,
        logger,
      },
      config.server,
    ),
  ]);
  adminListens(admin.port);
  await remotes.start();
  await pull?.restore();
  await manager.start();
  pull?.start();
  await routes.start();
  features.publish();
  labels.start();
  fleet.setReady(true);
  reloader.watch();
  // Behind readiness: inference does not wait for a database, and requests to the registry do.
  setImmediate(
    () =>
      void registry.get().then(
        async () => {
          await training.start();
          await pipelines.start();
          await features.start();
          await monitors.start();
        },
        () => {},
      ),
  );
  logger.info(
    {
      http: ports.httpPort,
      grpc: ports.grpcPort,
      metrics: metrics.port,
      admin: admin.port,
      ms: Math.round(performance.now() - startedAt),
    },
    'ready',
  );
  let draining: Promise<void> | undefined;
  const drain = async (): Promise<void> => {
    fleet.setReady(false);
    reloader.close();
    await monitors.close();
    await pipelines.close();
    await Promise.all([features.close(), labels.close()]);
    await routes.close();
    remotes.stop();
    await pull?.stop();
    await manager.stop();
    await fleet.drain(config.server.drainSeconds * 1000);
    await pool.stop();
    await eventLog?.close(LOG_FLUSH_MS);
    await Promise.all([metrics.close(1000), admin.close(1000)]);
    await training.close();
    await registry.close();
  };
  return {
    httpPort: ports.httpPort,
    grpcPort: ports.grpcPort,
    metricsPort: metrics.port,
    adminPort: admin.port,
    config,
    stuckThreads: () => pool.losses.abandoned,
    reload: () => void reloader.reload(),
    drain: () => {
      draining ??= drain();
      return draining;
    },
  };
}

async function main(): Promise<void> {
  const options = JSON.parse(process.argv[2] ?? '{}') as ServeOptions;
  const server = await startServer(
    { configFile: options.configFile, overrides: options.overrides ?? {} },
    (message) => {
      process.stderr.write(`${JSON.stringify({ level: 60, time: Date.now(), msg: message })}\n`);
      process.exit(1);
    },
  );
  const stop = (): void => {
    const exit = (code: number): void => {
      if (server.stuckThreads() > 0) process.kill(process.pid, 'SIGKILL');
      else process.exit(code);
    };
    server.drain().then(
      () => exit(0),
      () => exit(1),
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('SIGHUP', () => server.reload());
  // A gateway without its supervisor would hold the ports for nobody.
  process.on('disconnect', stop);
  process.send?.({ kind: 'ready' });
}

if (process.argv[1] !== undefined && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  main().catch((error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(
      `${error instanceof ConfigError ? message : JSON.stringify({ level: 60, time: Date.now(), msg: message })}\n`,
    );
    // A taken port or an unreadable certificate stays so: only a process that dies by itself is worth starting again,
    // and only such a death may count against a model version.
    process.exit(EXIT_CONFIG);
  });
}
