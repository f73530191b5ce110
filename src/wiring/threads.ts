import { randomUUID } from 'node:crypto';
import { allocateLimitTable } from '../admission/limit-table.ts';
import { topicThreads } from '../config/kafka-schema.ts';
import { ExecutorPool, type ExecutorPoolEvents } from '../control/executor-pool.ts';
import { GatewayFleet, type GatewayFleetDependencies } from '../control/gateway-fleet.ts';
import { MetricsHub } from '../control/metrics-hub.ts';
import { EventLog, type EventLogDependencies } from '../eventlog/event-log.ts';
import { monotonicMs, steadyOffset } from '../shared/clock.ts';
import { DEFAULT_LOG_SETTINGS } from '../telemetry/log-settings.ts';
import { TraceSettingsStore } from '../telemetry/trace-settings.ts';
import { native } from '../tensor/native.ts';
import type { TopicFigures } from '../topics/inference-topic.ts';
import type { Setup } from './setup.ts';

/** What threads tell the parts of the control thread, and ask them. Nothing comes before those are built. */
export interface ThreadEvents
  extends Pick<ExecutorPoolEvents, 'onStanding' | 'onVersionCrash'>,
    Pick<
      GatewayFleetDependencies,
      'call' | 'onRouteActivity' | 'onFeatureJoins' | 'onViolations' | 'onLiveStatistics' | 'onLost'
    >,
    Pick<EventLogDependencies, 'routeRules'> {}

/** The threads of the program, and what they count. */
export interface Threads {
  hub: MetricsHub;
  pool: ExecutorPool;
  fleet: GatewayFleet;
  /** The log thread; undefined: nothing is logged. */
  eventLog: EventLog | undefined;
  traceSettings: TraceSettingsStore;
  /** Gateway threads can be given tables. */
  gatewaysStarted: Promise<void>;
  logStarted: Promise<void> | undefined;
  /** When a model was last asked, by the monotonic clock; 0: never. */
  lastUsed(model: string): number;
  /** Inference over topics since the start, by request topic. */
  topicFigures(): Record<string, TopicFigures>;
}

/** Starts executor, gateway and log threads: they load their modules while the rest of the program is built. */
export function startThreads(setup: Setup, events: ThreadEvents): Threads {
  const { config, cores, logger } = setup;
  const lastUsed = new Map<string, number>();
  let topicFigures: Record<string, TopicFigures> = {};
  const hub = new MetricsHub((chunk) => {
    pool.addMetricsChunk(chunk);
    fleet.addMetricsChunk(chunk);
  });
  const threadMetrics = (thread: string) => hub.thread(thread);
  const pool: ExecutorPool = new ExecutorPool(poolSizes(setup), {
    onExecutor: (id) => fleet.addExecutor(id),
    onLost: (id) => {
      logger.error({ executor: id }, 'an executor thread was lost; its models move to a new one');
      fleet.loseExecutor(id);
    },
    onStanding: events.onStanding,
    onVersionCrash: (handle, message, hungMs) => {
      logger.error({ handle, reason: message }, hungMs > 0 ? 'a model version hung' : 'a model version crashed');
      events.onVersionCrash(handle, message, hungMs);
    },
    onAbandoned: (id, message) => logger.error({ executor: id, reason: message }, 'an executor thread does not end'),
    threadMetrics,
    cores: (seat) =>
      cores && {
        own: seat === undefined ? cores.shared : [cores.executors[seat]],
        runs: cores.runs,
        shared: cores.shared,
      },
    freeCore: (thread) => native?.useCores(thread, Int32Array.from(cores?.shared ?? [])),
  });
  const fleet: GatewayFleet = new GatewayFleet({
    ...events,
    connect: (executor, gateway) => pool.connect(executor, gateway),
    executors: () => pool.ids(),
    threadMetrics,
    chunks: () => hub.chunks(),
    onUsed: (models) => {
      const now = monotonicMs();
      for (const model of models) lastUsed.set(model, now);
    },
    onTopics: (figures) => {
      topicFigures = figures;
    },
    onLargeRecord: (gateway, record) => eventLog?.large(gateway, record),
  });
  pool.start();
  const logSettings = { ...DEFAULT_LOG_SETTINGS };
  const eventLog = config.eventLog.enabled
    ? new EventLog({ ...setup, logSettings, routeRules: events.routeRules })
    : undefined;
  const traceSettings = createTraceSettings(setup);
  const gatewaysStarted = fleet.start(
    config.threads.gateways + topicThreads(config.kafka),
    {
      config,
      version: setup.version,
      admission: setup.admission,
      limits: allocateLimitTable(),
      traceSettings: traceSettings.state,
      traceCounters: traceSettings.counters,
      logSettings,
      instanceId: randomUUID(),
      steadyOffset,
    },
    eventLog?.rings,
  );
  return {
    hub,
    pool,
    fleet,
    eventLog,
    traceSettings,
    gatewaysStarted,
    logStarted: eventLog?.start(),
    lastUsed: (model) => lastUsed.get(model) ?? 0,
    topicFigures: () => topicFigures,
  };
}

function poolSizes({ config: { threads, models } }: Setup) {
  return {
    compute: threads.executors,
    io: threads.executors,
    defaultInstances: models.defaultInstances ?? Math.min(4, threads.executors),
  };
}

function createTraceSettings({ config: { telemetry } }: Setup): TraceSettingsStore {
  return new TraceSettingsStore({
    on: telemetry.tracing.endpoint !== undefined,
    rate: Math.max(1, Math.round(1 / Math.max(telemetry.tracing.sampleRatio, 1e-9))),
    count: -1,
  });
}
