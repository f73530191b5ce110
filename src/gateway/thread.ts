import { readFileSync } from 'node:fs';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { createAdmission } from '../admission/create-admission.ts';
import { createResponseCache } from '../cache/response-cache.ts';
import type { RouteDocument } from '../config/route-schema.ts';
import { LogTap } from '../eventlog/handover/tap.ts';
import { GatewayFeatures } from '../features/online/gateway-features.ts';
import { pipelineCache } from '../pipeline/cache-step.ts';
import { GatewayDataPlane } from '../pipeline/data-plane.ts';
import { ExecutorLink } from '../pipeline/executor-link.ts';
import { RoutedDataPlane } from '../pipeline/routed/routed-data-plane.ts';
import type { ServingTable } from '../pipeline/types.ts';
import { carriesNatively, grpcLibrary, grpcTransportProblem } from '../server/grpc/open-transport.ts';
import { startGrpcServer } from '../server/grpc/start-grpc-server.ts';
import { httpLibrary, openOnFree } from '../server/http/open.ts';
import { startHttpServer } from '../server/http/start.ts';
import type { GatewayServices } from '../server/services.ts';
import { monotonicMs } from '../shared/clock.ts';
import { RequestIds } from '../shared/ids.ts';
import { createLogger, type Logger } from '../telemetry/logging.ts';
import { MetricsReader } from '../telemetry/metrics-reader.ts';
import { createTracer } from '../telemetry/tracing.ts';
import { nativeProblem } from '../tensor/native.ts';
import type { InferenceTopic } from '../topics/inference-topic.ts';
import { Door } from '../validation/door.ts';
import { ThreadControlClient } from './control-client.ts';
import type { GatewayCommand, GatewayEvent, GatewayThreadData } from './messages.ts';
import { RequestRecorder } from './request-recorder.ts';
import { RouteRecorder } from './route-recorder.ts';
import { statisticsOf } from './statistics.ts';

/** Entry of a gateway worker thread: builds one thread's services, wires them to the control thread, and serves. */
const control = parentPort as MessagePort;
const data = workerData as GatewayThreadData;
const { config } = data;

function post(event: GatewayEvent): void {
  control.postMessage(event);
}

/** Only under a memory budget. Short beside the time in which loads on demand could turn over all that fits. */
/** On the HTTP port of each thread, as on the gRPC port. */
const MAX_CONNECTIONS = 10_000;
const USED_INTERVAL_MS = 50;
const ROUTES_INTERVAL_MS = 250;
const FEATURES_INTERVAL_MS = 1000;
const VIOLATIONS_INTERVAL_MS = 500;

/** Rewards are joined with single decisions only where something is learnt from them. */
function learns({ spec }: RouteDocument): boolean {
  return spec.strategy.bandit !== undefined || spec.strategy.experiment !== undefined;
}

async function build() {
  const log = createLogger({ thread: `gateway-${data.id}`, settings: data.logSettings });
  log.logger.level = config.telemetry.logLevel;
  if (data.id === 0 && nativeProblem !== '') log.logger.warn(nativeProblem);
  const grpcProblem = grpcTransportProblem(config.server.tls !== undefined);
  if (data.id === 0 && grpcProblem !== '') log.logger.warn(grpcProblem);
  const client = new ThreadControlClient(post);
  const reader = new MetricsReader();
  for (const { thread, chunk } of data.chunks) reader.addChunk(thread, chunk);
  const admission = await createAdmission(data.admission, { limits: data.limits, redisUrl: config.admission.redisUrl });
  const { memoryBytes, ttlSeconds, redisUrl } = config.cache;
  const cache =
    memoryBytes > 0 || redisUrl !== undefined
      ? createResponseCache({ maxBytes: memoryBytes, ttlMs: ttlSeconds * 1000, redisUrl })
      : undefined;
  const { endpoint } = config.telemetry.tracing;
  const tracer = await createTracer(
    endpoint === undefined ? undefined : { url: endpoint, serviceVersion: data.version, instanceId: data.instanceId },
    data.traceSettings,
    data.traceCounters,
  );
  const features = new GatewayFeatures(config.features);
  const door = new Door();
  const recorder = new RequestRecorder(data.metrics, tracer, log.logger);
  const used = new Set<string>();
  const reportUsed = (): void => {
    if (used.size === 0) return;
    post({ kind: 'used', models: [...used] });
    used.clear();
  };
  const dataPlane = new GatewayDataPlane(config.limits, {
    metrics: recorder,
    cache: cache === undefined ? undefined : pipelineCache(cache),
    features: features.joiner,
    door,
    demand: (model) => {
      // First what is in use: loading one step of an ensemble must not evict another.
      reportUsed();
      return client.demand(model);
    },
    onUsed: config.models.memoryBudgetBytes > 0 ? (model) => used.add(model) : undefined,
  });
  setInterval(reportUsed, USED_INTERVAL_MS).unref();

  const tap =
    data.eventLog === undefined
      ? undefined
      : new LogTap(data.eventLog, config.eventLog, {
          table: () => dataPlane.currentTable(),
          random: Math.random,
          sendLarge: (record) => control.postMessage({ kind: 'largeRecord', record } satisfies GatewayEvent, [record]),
        });
  const routes = new RouteRecorder(data.steadyOffset);
  const routed = new RoutedDataPlane(dataPlane, {
    ids: new RequestIds(),
    random: Math.random,
    now: monotonicMs,
    wallClock: Date.now,
    steadyClock: () => monotonicMs() + data.steadyOffset,
    taps: [routes],
    log: tap,
    shadowsUpTo: config.limits.maxOutstanding >> 2,
  });
  const reportRoutes = (): void => {
    const activity = routes.take();
    if (activity !== undefined) post({ kind: 'routes', activity });
  };
  setInterval(reportRoutes, ROUTES_INTERVAL_MS).unref();

  setInterval(() => {
    const counts = door.take();
    if (counts !== undefined) post({ kind: 'violations', counts });
    const statistics = door.takeStatistics();
    if (statistics.length > 0) post({ kind: 'liveStatistics', statistics });
  }, VIOLATIONS_INTERVAL_MS).unref();

  let told = 0;
  setInterval(() => {
    const { counts } = features.joiner;
    const requests = counts.joined + counts.defaulted + counts.failed;
    if (requests !== told) post({ kind: 'featureJoins', counts });
    told = requests;
  }, FEATURES_INTERVAL_MS).unref();

  const topics = data.topics ? await openTopics(routed, log.logger) : [];

  const state = { ready: false };
  const services: GatewayServices = {
    dataPlane: routed,
    table: () => routed.currentTable(),
    admission,
    statistics: (model, version) => statisticsOf(reader, dataPlane.currentTable(), model, version),
    control: client,
    features: {
      online: (tenant, body) => features.online(tenant, body),
      call: (verb, tenant, body) => client.features(verb, tenant, body),
    },
    server: {
      name: config.server.name,
      version: data.version,
      live: () => true,
      ready: () => state.ready,
      maxBodyBytes: config.server.maxBodyBytes,
      streamForm: config.server.streamForm,
    },
  };
  return {
    log,
    reader,
    recorder,
    client,
    admission,
    cache,
    features,
    door,
    topics,
    tracer,
    dataPlane,
    routed,
    routes,
    reportRoutes,
    tap,
    state,
    services,
  };
}

/** Node's TLS takes the PEM texts where uWS takes file names. */
function grpcTls(tls: typeof config.server.tls) {
  if (tls === undefined) return undefined;
  return {
    cert: readFileSync(tls.certFile),
    key: readFileSync(tls.keyFile),
    ca: tls.caFile === undefined ? undefined : readFileSync(tls.caFile),
    clientCertificates:
      tls.caFile === undefined
        ? ('none' as const)
        : tls.requireClientCertificate
          ? ('require' as const)
          : ('request' as const),
  };
}

/** Requests over topics: only the thread that serves them loads what reads Kafka. */
async function openTopics(plane: RoutedDataPlane, logger: Logger): Promise<InferenceTopic[]> {
  const { InferenceTopic: Topic } = await import('../topics/inference-topic.ts');
  const { inference } = config.kafka;
  const topics = inference.map((each) => new Topic(each, { kafka: config.kafka, plane, log: logger }));
  setInterval(() => {
    const figures = Object.fromEntries(inference.map(({ requests }, i) => [requests, topics[i].figures()]));
    post({ kind: 'topics', figures });
  }, FEATURES_INTERVAL_MS).unref();
  return topics;
}

type Built = Awaited<ReturnType<typeof build>>;

async function listen({ services, log }: Built, sharedHttpPort: number, sharedGrpcPort: number) {
  const { server } = config;
  if (data.topics) {
    post({ kind: 'listening', httpPort: 0, grpcPort: 0 });
    return undefined;
  }
  // uWS shares ports among threads, and would share one with a stranger's process in silence.
  const openHttp = (port: number) =>
    startHttpServer(services, {
      host: server.host,
      port,
      tls: server.tls,
      maxConnections: MAX_CONNECTIONS,
      maxConnectionsPerAddress: server.maxConnectionsPerAddress,
      settings: { serverTiming: server.serverTiming, overloadStatus: server.overloadStatus },
      library: httpLibrary(process.env.SWITCHYARD_HTTP),
      exclusivePort: config.threads.gateways === 1,
      log: log.logger,
    });
  const http =
    sharedHttpPort === 0 ? await openOnFree(server.host, server.httpPort, openHttp) : await openHttp(sharedHttpPort);
  const library = grpcLibrary(process.env.SWITCHYARD_GRPC);
  const shared = config.threads.gateways > 1 && carriesNatively(library, server.tls !== undefined);
  const openGrpc = (port: number) =>
    startGrpcServer(services, {
      host: server.host,
      port,
      tls: grpcTls(server.tls),
      maxMessageBytes: server.maxBodyBytes,
      library,
      shared,
    });
  let grpc: Awaited<ReturnType<typeof openGrpc>> | undefined;
  if (!shared) grpc = data.serveGrpc ? await openGrpc(server.grpcPort) : undefined;
  // As with HTTP: a port that threads share would be shared with a stranger in silence.
  else if (sharedGrpcPort === 0) grpc = await openOnFree(server.host, server.grpcPort, openGrpc);
  else grpc = await openGrpc(sharedGrpcPort);
  post({ kind: 'listening', httpPort: http.port, grpcPort: grpc?.port ?? 0 });
  return { http, grpc };
}

async function run(): Promise<void> {
  const built = await build();
  const { dataPlane, routed, routes, client, admission, tracer, reader, recorder, log, state } = built;
  let servers: Awaited<ReturnType<typeof listen>> | undefined;

  async function drain(deadlineMs: number): Promise<void> {
    const timeout = new Promise<void>((resolve) => setTimeout(resolve, deadlineMs).unref());
    await Promise.race([
      Promise.all([
        servers?.http.close(deadlineMs),
        servers?.grpc?.drain(),
        Promise.all(built.topics.map((topic) => topic.close())).then(() => dataPlane.idle()),
      ]),
      timeout,
    ]);
    routed.close();
    dataPlane.close();
    built.features.close();
    await Promise.race([
      Promise.all([servers?.grpc?.close(), tracer.close(), admission.close(), built.cache?.close()]),
      timeout,
    ]);
    post({ kind: 'drained' });
  }

  const fail = (error: unknown): void =>
    post({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });

  control.on('message', (command: GatewayCommand) => {
    switch (command.kind) {
      case 'table': {
        const models = new Map(dataPlane.currentTable().models);
        for (const name of command.delta.removed) models.delete(name);
        for (const model of command.delta.changed) models.set(model.name, model);
        const table: ServingTable = { generation: command.delta.generation, models };
        dataPlane.setTable(table);
        routed.versionsChanged();
        // Behind what links send at the end of this turn: whoever hears of it may unload what the old table named.
        setImmediate(() => post({ kind: 'table', generation: table.generation }));
        break;
      }
      case 'executor':
        dataPlane.addExecutor(
          new ExecutorLink(command.executor, command.port, (link, frame) => dataPlane.onFrame(link, frame)),
        );
        break;
      case 'executorLost':
        dataPlane.loseExecutor(command.executor);
        break;
      case 'listen':
        listen(built, command.httpPort, command.grpcPort).then((opened) => {
          servers = opened;
        }, fail);
        break;
      case 'ready':
        state.ready = command.ready;
        // Not before models are there: a request that comes early would wait for nothing.
        if (command.ready) for (const topic of built.topics) topic.start();
        break;
      case 'routes':
        routed.setRoutes(command, command.states);
        built.tap?.setRoutes(new Map(command.routes.map(({ metadata, spec }) => [metadata.name, spec.log])));
        routes.setLearning(new Set(command.routes.filter(learns).map(({ metadata }) => metadata.name)));
        break;
      case 'routeState':
        routed.setState(command.route, command.state);
        break;
      case 'flushRoutes':
        built.reportRoutes();
        post({ kind: 'routesFlushed' });
        break;
      case 'aliases':
        routed.setAliases(command.aliases);
        break;
      case 'confirmRouting':
        post({ kind: 'routing', version: command.version });
        break;
      case 'features':
        built.features.setDocuments(command.documents, command.transforms);
        break;
      case 'featureRows':
        built.features.take(command.rows);
        break;
      case 'doorSchemas':
        built.door.setSchemas(command.schemas);
        break;
      case 'admission':
        admission.update(command.config);
        break;
      case 'metricsChunk':
        reader.addChunk(command.chunk.thread, command.chunk.chunk);
        if (command.chunk.thread === `gateway-${data.id}`) recorder.block.addChunk(command.chunk.chunk);
        break;
      case 'traceSettings':
        tracer.apply(command.state);
        break;
      case 'logSettings':
        log.apply(command.settings);
        break;
      case 'reply':
      case 'refusal':
        client.settle(command);
        break;
      case 'drain':
        drain(command.deadlineMs).catch(fail);
        break;
    }
  });
  post({ kind: 'started' });
}

run().catch((error: unknown) =>
  post({ kind: 'failed', message: error instanceof Error ? error.message : String(error) }),
);
