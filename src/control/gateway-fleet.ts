import { type MessagePort, Worker } from 'node:worker_threads';
import type { AdmissionConfig } from '../admission/admission-config.ts';
import type { RouteDocument } from '../config/route-schema.ts';
import type { RingMemory } from '../eventlog/handover/memory.ts';
import type { FeatureDocument } from '../features/documents/schema.ts';
import type { SpreadRows } from '../features/online/gateway-features.ts';
import type { JoinCounts } from '../features/serving/join.ts';
import type { Transforms } from '../features/serving/plan.ts';
import type {
  ControlMethod,
  GatewayCommand,
  GatewayEvent,
  GatewayThreadData,
  TableDelta,
} from '../gateway/messages.ts';
import type { RouteActivity } from '../gateway/route-activity.ts';
import type { AliasTable } from '../pipeline/routed/route-version.ts';
import type { ServingModel, ServingTable } from '../pipeline/types.ts';
import type { RouteState } from '../routing/live-route.ts';
import { toSwitchyardError } from '../shared/errors.ts';
import { programFile } from '../shared/program-files.ts';
import type { LogSettings } from '../telemetry/log-settings.ts';
import type { MetricsChunk, ThreadMetrics } from '../telemetry/thread-metrics.ts';
import type { TraceSettingsState } from '../telemetry/trace-settings.ts';
import type { TopicFigures } from '../topics/inference-topic.ts';
import type { DoorCounts, DoorSchemas, LiveStatistics } from '../validation/door.ts';
import { InForce } from './in-force.ts';

export interface GatewayFleetDependencies {
  call(method: ControlMethod, args: unknown[]): Promise<unknown>;
  connect(executor: number, gateway: number): MessagePort | undefined;
  executors(): number[];
  threadMetrics(thread: string): ThreadMetrics;
  chunks(): MetricsChunk[];
  onUsed(models: string[]): void;
  onRouteActivity(activity: RouteActivity): void;
  /** A gateway thread's log record that is too large for its ring. */
  onLargeRecord(gateway: number, record: ArrayBuffer): void;
  /** Features that a gateway thread has joined since it started. */
  onFeatureJoins(gateway: number, counts: JoinCounts): void;
  onViolations(counts: DoorCounts): void;
  onLiveStatistics(statistics: readonly LiveStatistics[]): void;
  /** Inference over topics since the start, by request topic. */
  onTopics(figures: Record<string, TopicFigures>): void;
  /** A gateway thread ended by itself: nothing here can replace its connections, so the process restarts. */
  onLost(message: string): void;
}

interface Gateway {
  id: number;
  worker: Worker;
}

/** The gateway threads: starts them, gives them tables and executors, answers their calls, drains them. */
export class GatewayFleet {
  /** What the readiness probes answer. */
  ready = false;
  private readonly gateways: Gateway[] = [];
  private readonly dependencies: GatewayFleetDependencies;
  /** What each model looked like when it was last sent. */
  private published = new Map<string, string>();
  private generation = 0;
  private readonly tables = new InForce();
  private stopping = false;
  private flushing: Promise<void> | undefined;
  private nextFlush: Promise<void> | undefined;
  /** What a thread that starts now has to know of routes. */
  private routing: { routes: RouteDocument[]; states: Map<string, RouteState>; aliases: AliasTable } | undefined;
  /** Grows with each message on routing. */
  private routingVersion = 0;
  /** The version that threads were last asked to confirm. */
  private askedRouting = 0;
  private readonly routings = new InForce();

  constructor(dependencies: GatewayFleetDependencies) {
    this.dependencies = dependencies;
  }

  /** Starts the threads; resolves when each has its services, before any listens. `rings`: to the log thread, one each. */
  async start(
    count: number,
    data: Omit<GatewayThreadData, 'id' | 'serveGrpc' | 'topics' | 'metrics' | 'chunks' | 'eventLog'>,
    rings: readonly RingMemory[] = [],
  ): Promise<void> {
    const metrics = Array.from({ length: count }, (_, id) => this.dependencies.threadMetrics(`gateway-${id}`));
    const chunks = this.dependencies.chunks();
    await Promise.all(
      metrics.map((own, id) =>
        this.spawn(id, {
          ...data,
          id,
          serveGrpc: id === 0,
          topics: id >= data.config.threads.gateways,
          metrics: own,
          chunks,
          eventLog: rings[id],
        }),
      ),
    );
  }

  /** Opens the ports. With several threads the first one's ports are those that the others share. Returns both. */
  async listen(): Promise<{ httpPort: number; grpcPort: number }> {
    const ports = { httpPort: 0, grpcPort: 0 };
    for (const gateway of this.gateways) {
      const event = await this.ask(gateway, { kind: 'listen', ...ports }, 'listening');
      if (ports.httpPort === 0) ports.httpPort = event.httpPort;
      if (gateway.id === 0) ports.grpcPort = event.grpcPort;
    }
    return ports;
  }

  /** Sends what changed; resolves when every thread serves from the new table. */
  async publish(table: ServingTable): Promise<void> {
    const changed: ServingModel[] = [];
    const prints = new Map<string, string>();
    for (const [name, model] of table.models) {
      const print = fingerprint(model);
      prints.set(name, print);
      if (this.published.get(name) !== print) changed.push(model);
    }
    const removed = [...this.published.keys()].filter((name) => !table.models.has(name));
    this.published = prints;
    const delta: TableDelta = { generation: ++this.generation, changed, removed };
    this.broadcast({ kind: 'table', delta });
    await this.tables.everywhere(delta.generation);
  }

  addExecutor(executor: number): void {
    for (const gateway of this.gateways) this.connectTo(gateway, executor);
  }

  loseExecutor(executor: number): void {
    this.broadcast({ kind: 'executorLost', executor });
  }

  /** Ids of the gateway threads, ascending. */
  ids(): number[] {
    return this.gateways.map((gateway) => gateway.id);
  }

  setRoutes(routes: RouteDocument[], states: ReadonlyMap<string, RouteState>): void {
    this.routing = { routes, states: new Map(states), aliases: this.routing?.aliases ?? new Map() };
    this.tellRouting({ kind: 'routes', routes, states });
  }

  setRouteState(route: string, state: RouteState): void {
    this.routing?.states.set(route, state);
    this.tellRouting({ kind: 'routeState', route, state });
  }

  setAliases(aliases: AliasTable): void {
    if (this.routing === undefined) this.routing = { routes: [], states: new Map(), aliases };
    else this.routing.aliases = aliases;
    this.tellRouting({ kind: 'aliases', aliases });
  }

  /** Resolves when every live thread routes by all that was set before the call. */
  routingTaken(): Promise<void> {
    const version = this.routingVersion;
    // Threads confirm when somebody waits, and not each of a bandit's many states.
    if (this.askedRouting < version) this.broadcast({ kind: 'confirmRouting', version });
    this.askedRouting = version;
    return this.routings.everywhere(version);
  }

  /** What feature views and transforms there are. */
  setFeatures(documents: readonly FeatureDocument[], transforms: Transforms): void {
    this.broadcast({ kind: 'features', documents, transforms });
  }

  /** Rows of features for every thread's memory. */
  writeFeatures(rows: SpreadRows): void {
    this.broadcast({ kind: 'featureRows', rows });
  }

  /** The kept schemas that models are checked by at the door, all of them. */
  setDoorSchemas(schemas: DoorSchemas): void {
    this.broadcast({ kind: 'doorSchemas', schemas });
  }

  /** Resolves when every decision taken before the call has been reported. */
  flushRoutes(): Promise<void> {
    if (this.flushing === undefined) {
      this.flushing = Promise.all(
        this.gateways.map((gateway) => this.ask(gateway, { kind: 'flushRoutes' }, 'routesFlushed')),
      ).then(() => {
        this.flushing = undefined;
      });
      return this.flushing;
    }
    // One on its way may have been answered in part: all who come now share the one after it.
    this.nextFlush ??= this.flushing.then(() => {
      this.nextFlush = undefined;
      return this.flushRoutes();
    });
    return this.nextFlush;
  }

  setReady(ready: boolean): void {
    this.ready = ready;
    this.broadcast({ kind: 'ready', ready });
  }

  updateAdmission(config: AdmissionConfig): void {
    this.broadcast({ kind: 'admission', config });
  }

  setTraceSettings(state: TraceSettingsState): void {
    this.broadcast({ kind: 'traceSettings', state });
  }

  setLogSettings(settings: LogSettings): void {
    this.broadcast({ kind: 'logSettings', settings });
  }

  addMetricsChunk(chunk: MetricsChunk): void {
    this.broadcast({ kind: 'metricsChunk', chunk });
  }

  /** Stops accepting, lets requests in flight finish (at most `deadlineMs`), ends the threads. */
  async drain(deadlineMs: number): Promise<void> {
    this.stopping = true;
    await Promise.all(this.gateways.map((gateway) => this.ask(gateway, { kind: 'drain', deadlineMs }, 'drained')));
    await Promise.all(this.gateways.map((gateway) => gateway.worker.terminate()));
  }

  private async spawn(id: number, data: GatewayThreadData): Promise<void> {
    const worker = new Worker(programFile('gateway/thread'), {
      workerData: data,
      name: `gateway-${id}`,
    });
    const gateway: Gateway = { id, worker };
    worker.on('message', (event: GatewayEvent) => this.handle(gateway, event));
    worker.on('error', (error) => this.lose(gateway, error.message));
    worker.on('exit', () => {
      this.tables.leave(id);
      this.routings.leave(id);
      this.lose(gateway, 'the thread ended');
    });
    await new Promise<void>((resolve, reject) => {
      const listener = (event: GatewayEvent): void => {
        if (event.kind === 'started') resolve();
        else if (event.kind === 'failed') reject(new Error(event.message));
        else return;
        worker.off('message', listener);
      };
      worker.on('message', listener);
    });
    this.gateways.push(gateway);
    this.gateways.sort((a, b) => a.id - b.id);
    this.tables.confirm(id, 0);
    this.routings.confirm(id, 0);
    for (const executor of this.dependencies.executors()) this.connectTo(gateway, executor);
    if (this.routing === undefined) return;
    const { routes, states, aliases } = this.routing;
    this.post(gateway, { kind: 'aliases', aliases });
    this.post(gateway, { kind: 'routes', routes, states });
    this.post(gateway, { kind: 'confirmRouting', version: this.routingVersion });
  }

  private connectTo(gateway: Gateway, executor: number): void {
    const port = this.dependencies.connect(executor, gateway.id);
    if (port !== undefined)
      gateway.worker.postMessage({ kind: 'executor', executor, port } satisfies GatewayCommand, [port]);
  }

  private handle(gateway: Gateway, event: GatewayEvent): void {
    if (event.kind === 'table') {
      this.tables.confirm(gateway.id, event.generation);
    } else if (event.kind === 'routing') {
      this.routings.confirm(gateway.id, event.version);
    } else if (event.kind === 'used') {
      this.dependencies.onUsed(event.models);
    } else if (event.kind === 'routes') {
      this.dependencies.onRouteActivity(event.activity);
    } else if (event.kind === 'featureJoins') {
      this.dependencies.onFeatureJoins(gateway.id, event.counts);
    } else if (event.kind === 'violations') {
      this.dependencies.onViolations(event.counts);
    } else if (event.kind === 'liveStatistics') {
      this.dependencies.onLiveStatistics(event.statistics);
    } else if (event.kind === 'topics') {
      this.dependencies.onTopics(event.figures);
    } else if (event.kind === 'largeRecord') {
      this.dependencies.onLargeRecord(gateway.id, event.record);
    } else if (event.kind === 'call') {
      this.dependencies.call(event.method, event.args).then(
        (value) => this.post(gateway, { kind: 'reply', call: event.call, value }),
        (thrown: unknown) => {
          const { code, message } = toSwitchyardError(thrown);
          this.post(gateway, { kind: 'refusal', call: event.call, code, message });
        },
      );
    }
  }

  private ask<K extends GatewayEvent['kind']>(
    gateway: Gateway,
    command: GatewayCommand,
    kind: K,
  ): Promise<Extract<GatewayEvent, { kind: K }>> {
    return new Promise((resolve, reject) => {
      const listener = (event: GatewayEvent): void => {
        if (event.kind === kind) resolve(event as Extract<GatewayEvent, { kind: K }>);
        else if (event.kind === 'failed') reject(new Error(event.message));
        else return;
        gateway.worker.off('message', listener);
      };
      gateway.worker.on('message', listener);
      this.post(gateway, command);
    });
  }

  private lose(gateway: Gateway, message: string): void {
    if (!this.stopping) this.dependencies.onLost(`gateway thread ${gateway.id}: ${message}`);
  }

  private tellRouting(command: GatewayCommand): void {
    this.routingVersion++;
    this.broadcast(command);
  }

  private broadcast(command: GatewayCommand): void {
    for (const gateway of this.gateways) this.post(gateway, command);
  }

  private post(gateway: Gateway, command: GatewayCommand): void {
    gateway.worker.postMessage(command);
  }
}

/** Equal for equal entries: a handle stands for its configuration. */
function fingerprint(model: ServingModel): string {
  const versions = model.versions.map(({ handle, executors }) => `${handle}:${executors.join()}`);
  const index = model.index.map(({ version, state, reason }) => `${version}:${state}:${reason}`);
  return `${model.onDemand} ${versions.join()} ${index.join()}`;
}
