import { startAdminServer } from './admin/server.ts';
import type { AdminServices } from './admin/services.ts';
import { EXIT_CONFIG, mustQuarantine, recentCrashes, recordCrashes } from './cli/supervisor.ts';
import { ConfigError } from './config/load.ts';
import { ConfigReloader } from './control/config-reloader.ts';
import { ControlPlane } from './control/control-plane.ts';
import { LabelTopic } from './control/label-topic.ts';
import { startMetricsServer } from './control/metrics-server.ts';
import type { Lag } from './kafka/lag.ts';
import type { ModelManager } from './models/manager.ts';
import { quarantineNewest } from './models/verdicts.ts';
import type { HttpServer } from './server/http/socket.ts';
import { monotonicMs } from './shared/clock.ts';
import { DEFAULT_LOG_SETTINGS } from './telemetry/log-settings.ts';
import { renderExecutorLosses, renderModelMemory } from './telemetry/prometheus.ts';
import { renderLags, renderTopics } from './topics/metrics.ts';
import { createFeatures } from './wiring/features.ts';
import { createFollower, createModels, createRemotes } from './wiring/models.ts';
import { createMonitors } from './wiring/monitoring.ts';
import { createRegistry, type RegistryServices } from './wiring/registry.ts';
import { createRoutes } from './wiring/routing.ts';
import { readSetup, type ServeOptions, type Setup } from './wiring/setup.ts';
import { startThreads, type Threads } from './wiring/threads.ts';
import { createPipelines, createTraining } from './wiring/training.ts';
import { watchDoor } from './wiring/validation.ts';

/** How long sinks may go on sending when the program ends; what is left waits in the spool. */
const LOG_FLUSH_MS = 5000;

const CRASH_REASON = 'the gateway process crashed three times within a minute after this version came';

/**
 * Composition root: every part of the control thread, in the order in which they know of each other. Only what is told back
 * (by threads, to those who built them) is bound late, by functions that run when all is built.
 */
async function build(setup: Setup, adminPort: Promise<number>, onFatal: (message: string) => void) {
  const { config, logger } = setup;

  const threads: Threads = startThreads(setup, {
    call: (method, args) => control.call(method, args),
    onStanding: (handle, { executors, absence }) => void manager.executorsChanged(handle, executors, absence),
    onVersionCrash: (handle, _message, hungMs) => void manager.versionCrashed(handle, monotonicMs(), hungMs),
    onRouteActivity: (activity) => routes.activity(activity),
    onFeatureJoins: (gateway, counts) => features.joined(gateway, counts),
    onViolations: (counts) => door.violations.add(counts),
    onLiveStatistics: (statistics) => door.skew.add(statistics),
    onLost: onFatal,
    routeRules: () => routes.logRules(),
  });
  const { hub, pool, fleet, eventLog } = threads;

  // What is kept, and what requests are checked by.
  const registry: RegistryServices = createRegistry(setup, () => door.keptSchemas.refresh());
  const door = watchDoor(setup, threads, registry);

  // What is served, and how requests come to it.
  const remotes = createRemotes(setup);
  const manager: ModelManager = createModels(setup, threads, remotes, async (table) => {
    await threads.gatewaysStarted;
    await door.keptSchemas.follow(table);
    routes.tableChanges();
    await fleet.publish(table);
    routes.tableChanged();
    pull?.tableChanged();
  });
  const registryToken = (): string => reloader.current.models.registry.token ?? '';
  const routes = createRoutes(setup, threads, registry, manager, registryToken);
  const features = createFeatures(setup, threads, registry);

  // What learns from requests and brings new versions.
  const training = createTraining(setup, registry, features, adminPort);
  const pipelines = createPipelines(setup, registry, training, routes);
  const monitors = createMonitors(setup, threads, registry, pipelines, routes);
  const labels = new LabelTopic({ kafka: config.kafka, log: logger, take: (events) => routes.takeFromTopic(events) });

  // What people and gateway threads ask of it.
  const control = new ControlPlane(
    manager,
    threads.traceSettings,
    fleet,
    { ...DEFAULT_LOG_SETTINGS },
    setup.applyLogSettings,
    (body, tenant) =>
      eventLog === undefined
        ? routes.feedback(body, tenant)
        : eventLog.feedback(body, tenant, (each) => routes.feedback(each, tenant)),
    (verb, tenant, body) => features.call(verb, tenant, body),
  );
  const inUse = { config, asWritten: setup.asWritten, admission: setup.admission };
  const reloader = new ConfigReloader(
    setup.options,
    inUse,
    setup.baseDir,
    (next) => fleet.updateAdmission(next),
    logger,
  );
  const kafkaLags = (): Lag[] => [
    ...Object.values(threads.topicFigures()).flatMap(({ lags }) => lags),
    ...labels.lags(),
    ...routes.lags(),
    ...features.lags(),
    ...(eventLog?.lags() ?? []),
  ];
  for (const text of [
    () => door.violations.render(),
    () => door.skew.render(),
    () => renderModelMemory(pool.describe().versions),
    () => renderExecutorLosses(pool.losses),
    () => eventLog?.metrics() ?? '',
    () => training.metrics(),
    () => routes.metrics(),
    () => features.metrics(),
    () => monitors.metrics(),
    () => renderTopics(threads.topicFigures(), labels.counts),
    () => renderLags(kafkaLags()),
  ])
    hub.addSource(text);

  // Behind all others: what threads tell meanwhile finds who is told.
  const pull = await createFollower(setup, registry, manager, {
    traffic: () => routes.traffic(),
    onMoved: () => routes.aliasesMoved(),
    registryToken,
  });
  return {
    threads,
    registry: registry.registry,
    door,
    remotes,
    manager,
    routes,
    features,
    pull,
    training,
    pipelines,
    monitors,
    labels,
    control,
    reloader,
  };
}

type Program = Awaited<ReturnType<typeof build>>;

/** The ports of the control thread. */
interface Ports {
  metrics: HttpServer;
  admin: HttpServer;
}

/** Opens the ports while models are proven and loaded, then brings up routes. Resolves when the program is ready. */
async function start(setup: Setup, program: Program, adminListens: (port: number) => void): Promise<Ports> {
  const { config, dataDir, logger } = setup;
  const { threads, pull, routes, features, labels, reloader } = program;
  if (mustQuarantine(recentCrashes(dataDir, Date.now()))) {
    const set = await quarantineNewest(dataDir, CRASH_REASON, Date.now(), Number.POSITIVE_INFINITY);
    logger.error({ quarantined: set }, CRASH_REASON);
    recordCrashes(dataDir, []);
  }
  const modelsStarted = startModels(program);
  // A port that is taken ends the start before anyone waits for them.
  modelsStarted.catch(() => {});
  await Promise.all([threads.gatewaysStarted, threads.logStarted]);
  const [{ httpPort, grpcPort }, metrics, admin] = await Promise.all([
    threads.fleet.listen(),
    startMetricsServer(threads.hub, config.server),
    startAdminServer(adminServices(setup, program), config.server),
  ]);
  adminListens(admin.port);
  await modelsStarted;
  pull?.start();
  await routes.start();
  features.publish();
  labels.start();
  threads.fleet.setReady(true);
  reloader.watch();
  // Behind readiness: inference does not wait for a database, and requests to the registry do.
  setImmediate(() => startBehindRegistry(program));
  const ms = Math.round(performance.now() - setup.startedAt);
  logger.info({ http: httpPort, grpc: grpcPort, metrics: metrics.port, admin: admin.port, ms }, 'ready');
  return { metrics, admin };
}

/** What it loads is served as soon as the gateway threads are there. */
async function startModels({ remotes, pull, manager }: Program): Promise<void> {
  await remotes.start();
  await pull?.restore();
  await manager.start();
}

function adminServices({ version, logger }: Setup, program: Program): AdminServices {
  const { control, manager, registry, routes, training, pipelines, features, monitors, reloader } = program;
  const { hub, pool, fleet, eventLog } = program.threads;
  return {
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
    skew: program.door.skew,
    version,
    logger,
  };
}

function startBehindRegistry({ registry, training, pipelines, features, monitors }: Program): void {
  void registry.get().then(
    async () => {
      await training.start();
      await pipelines.start();
      await features.start();
      await monitors.start();
    },
    () => {},
  );
}

/** Unready, stop accepting, finish what is in flight, flush, end the threads. */
async function drain({ config }: Setup, program: Program, { metrics, admin }: Ports): Promise<void> {
  const { pool, fleet, eventLog } = program.threads;
  fleet.setReady(false);
  program.reloader.close();
  await program.monitors.close();
  await program.pipelines.close();
  await Promise.all([program.features.close(), program.labels.close()]);
  await program.routes.close();
  program.remotes.stop();
  await program.pull?.stop();
  await program.manager.stop();
  await fleet.drain(config.server.drainSeconds * 1000);
  await pool.stop();
  await eventLog?.close(LOG_FLUSH_MS);
  await Promise.all([metrics.close(1000), admin.close(1000)]);
  await program.training.close();
  await program.registry.close();
}

async function main(): Promise<void> {
  const { configFile, overrides = {} } = JSON.parse(process.argv[2] ?? '{}') as ServeOptions;
  const setup = await readSetup({ configFile, overrides });
  let adminListens = (_port: number): void => {};
  const adminPort = new Promise<number>((resolve) => {
    adminListens = resolve;
  });
  const program = await build(setup, adminPort, (message) => {
    process.stderr.write(`${JSON.stringify({ level: 60, time: Date.now(), msg: message })}\n`);
    process.exit(1);
  });
  const ports = await start(setup, program, adminListens);
  let draining: Promise<void> | undefined;
  const stop = (): void => {
    const exit = (code: number): void => {
      // Threads inside native code that does not return; `process.exit` would wait for them.
      if (program.threads.pool.losses.abandoned > 0) process.kill(process.pid, 'SIGKILL');
      else process.exit(code);
    };
    draining ??= drain(setup, program, ports);
    draining.then(
      () => exit(0),
      () => exit(1),
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('SIGHUP', () => program.reloader.reload());
  // A gateway without its supervisor would hold the ports for nobody.
  process.on('disconnect', stop);
  process.send?.({ kind: 'ready' });
}

main().catch((error: unknown) => {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(
    `${error instanceof ConfigError ? message : JSON.stringify({ level: 60, time: Date.now(), msg: message })}\n`,
  );
  // A taken port or an unreadable certificate stays so: only a process that dies by itself is worth starting again,
  // and only such a death may count against a model version.
  process.exit(EXIT_CONFIG);
});
