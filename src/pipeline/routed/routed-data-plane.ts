import type { RouteSet } from '../../config/load-routes.ts';
import { type Decision, decide, newDecision } from '../../routing/decide.ts';
import { eligible, renewVariant, sweepHealth } from '../../routing/health.ts';
import type { RouteState } from '../../routing/live-route.ts';
import { applyState, type CompiledRoute, compileRoutes, type RouteTable } from '../../routing/route-table.ts';
import { monotonicMs } from '../../shared/clock.ts';
import type { SwitchyardError } from '../../shared/errors.ts';
import type { IdSource } from '../../shared/ids.ts';
import type { GatewayDataPlane } from '../data-plane.ts';
import type {
  DataPlane,
  InferRequest,
  InferResponse,
  ModelWaiter,
  RequestContext,
  ResponseObserver,
  RoutedHeaders,
  Served,
  ServingTable,
  Submission,
} from '../types.ts';
import { DirectCall } from './direct-call.ts';
import type {
  DecisionRecord,
  DecisionTap,
  FinishedContext,
  FinishedRequest,
  RequestLog,
  ShadowOutcome,
} from './record.ts';
import { PipelineView } from './request-view.ts';
import { type AliasTable, versionOf } from './route-version.ts';
import { RoutedCall } from './routed-call.ts';
import { routedHeaders } from './routed-headers.ts';
import { ShadowCall } from './shadow-call.ts';

export interface RoutedDataPlaneDependencies {
  ids: IdSource;
  /** Uniform in [0, 1). */
  random(): number;
  /** monotonicMs() */
  now(): number;
  /** Milliseconds since 1970, by the machine's clock. */
  wallClock(): number;
  /** The same by the control thread's steadyTime(), which stamps snapshots. */
  steadyClock(): number;
  taps: readonly DecisionTap[];
  /** Absent: nothing is logged. */
  log?: RequestLog;
  /** Requests in flight on this thread from which on no shadows are sent: they are the first to be dropped. */
  shadowsUpTo: number;
}

const NO_ROUTES: RouteTable = compileRoutes({ routes: [] });
const EMPTY_TABLE: ServingTable = { generation: 0, models: new Map() };
const SWEEP_MS = 1000;

/**
 * Routes requests to variants in front of the data plane: decide, ask, fall back, record. Requests that no route
 * matches pass through. Runs on the gateway thread only.
 */
export class RoutedDataPlane implements DataPlane {
  readonly inner: GatewayDataPlane;
  private readonly dependencies: RoutedDataPlaneDependencies;
  private table = NO_ROUTES;
  private headers: (model: string) => RoutedHeaders = routedHeaders(NO_ROUTES);
  private shown: { of?: ServingTable; routes?: RouteTable; table: ServingTable } = { table: EMPTY_TABLE };
  private aliases: AliasTable = new Map();
  private readonly view = new PipelineView();
  private readonly decision: Decision = newDecision();
  private readonly shadowsInFlight = new Map<string, number>();
  /** Routes with outlier ejection, and when each was swept last. */
  private watched: { route: CompiledRoute; interval: number; swept: number }[] = [];
  /** Routes that may stop asking a variant, with the versions their variants are served by. */
  private guarded: { route: CompiledRoute; versions: string[] }[] = [];
  /** Wall time less the monotonic clock's: the time of a decision needs no clock call. */
  private epochOffset: number;
  private readonly sweeper: NodeJS.Timeout;

  constructor(inner: GatewayDataPlane, dependencies: RoutedDataPlaneDependencies) {
    this.inner = inner;
    this.dependencies = dependencies;
    this.epochOffset = this.measureOffset();
    this.sweeper = setInterval(() => this.sweep(), SWEEP_MS);
    this.sweeper.unref();
  }

  /** Swaps all routes at once. States restore what routes were doing. */
  setRoutes(set: Pick<RouteSet, 'routes'>, states: ReadonlyMap<string, RouteState>): void {
    this.table = compileRoutes(set, { states, table: this.table });
    this.headers = routedHeaders(this.table);
    const before = new Map(this.watched.map(({ route, swept }) => [route.name, swept]));
    this.watched = [...this.table.routes.values()].flatMap((route) => {
      const interval = route.spec.resilience.outlier?.interval;
      return interval === undefined ? [] : [{ route, interval, swept: before.get(route.name) ?? 0 }];
    });
    this.guarded = [...this.table.routes.values()].flatMap((route) => {
      const { outlier, circuitBreaker } = route.spec.resilience;
      return outlier === undefined && circuitBreaker === undefined ? [] : [{ route, versions: this.versionsOf(route) }];
    });
  }

  /** A state that does not fit the route, such as one from before a reload, is ignored. */
  setState(route: string, state: RouteState): void {
    const compiled = this.table.routes.get(route);
    if (compiled !== undefined) applyState(compiled, state);
  }

  setAliases(aliases: AliasTable): void {
    this.aliases = aliases;
    this.versionsChanged();
  }

  /** The serving table or the aliases are others: a variant that has become another version is well until that one fails. */
  versionsChanged(): void {
    for (const guard of this.guarded) {
      const versions = this.versionsOf(guard.route);
      versions.forEach((version, i) => {
        const before = guard.versions[i];
        if (version === '') versions[i] = before;
        else if (before !== '' && version !== before) renewVariant(guard.route.health, i);
      });
      guard.versions = versions;
    }
  }

  private versionsOf({ variants }: CompiledRoute): string[] {
    return variants.map((variant) => this.currentVersion(variant));
  }

  /** The version that a variant is served by now; '' = none. */
  currentVersion({ model, version, alias }: { model: string; version?: string; alias?: string }): string {
    if (alias !== undefined) return this.aliases.get(model)?.get(alias) ?? '';
    return version ?? this.policyVersion(model);
  }

  /** What metadata and decoders look models up in: a name that only a route has stands for its first variant's model. */
  currentTable(): ServingTable {
    const table = this.inner.currentTable();
    if (this.table.byModel.size === 0) return table;
    if (this.shown.of === table && this.shown.routes === this.table) return this.shown.table;
    const models = new Map(table.models);
    for (const [name, routes] of this.table.byModel) {
      const variant = routes[0]?.variants[routes[0].live.first.variant];
      const behind = variant === undefined ? undefined : table.models.get(variant.model);
      if (behind !== undefined && !models.has(name)) models.set(name, { ...behind, name, standsFor: behind.name });
    }
    this.shown = { of: table, routes: this.table, table: { generation: table.generation, models } };
    return this.shown.table;
  }

  headersOf(model: string): RoutedHeaders {
    return this.headers(model);
  }

  infer(request: InferRequest, context: RequestContext, observer: ResponseObserver): Submission {
    const { decision } = this;
    // Who names a version means that version.
    if (
      this.table.routes.size === 0 ||
      request.version !== '' ||
      !decide(this.table, this.view.at(request, context), this.dependencies, decision)
    )
      return this.inferDirectly(request, context, observer);
    const call = new RoutedCall(this, this.dependencies.ids, decision, request, context, observer);
    return call.start(decision.shadow < 0 ? undefined : this.shadowOf(decision, call, context));
  }

  awaitModel(model: string, version: string, context: RequestContext, waiter: ModelWaiter): Submission {
    const behind = this.currentTable().models.get(model)?.standsFor ?? model;
    return this.inner.awaitModel(behind, version, context, waiter);
  }

  private inferDirectly(request: InferRequest, context: RequestContext, observer: ResponseObserver): Submission {
    const { log, ids } = this.dependencies;
    if (log === undefined || !log.wants('', request.model)) return this.inner.infer(request, context, observer);
    const time = this.wallTime(context.receivedAt);
    return new DirectCall(log, ids, time, request, context, observer).start(this.inner);
  }

  refused(model: string, version: string, context: FinishedContext, error: SwitchyardError): Served | undefined {
    const { log, ids, wallClock } = this.dependencies;
    if (log?.wants('', model) !== true) return undefined;
    const id = ids.text(ids.next());
    log.finished({
      id,
      time: wallClock(),
      request: { model, version, id: '', inputs: [], outputs: [], parameters: undefined },
      context,
      response: undefined,
      status: error.code,
      latencyMs: monotonicMs() - context.receivedAt,
      decision: undefined,
      shadow: '',
    });
    return { id, variant: '', version: '' };
  }

  /** Whether requests of a route are logged. */
  logs(route: string, model: string): boolean {
    return this.dependencies.log?.wants(route, model) === true;
  }

  logged(request: FinishedRequest): void {
    this.dependencies.log?.finished(request);
  }

  eligible(route: CompiledRoute): number {
    return eligible(route.health, this.dependencies.now());
  }

  versionOf(variant: { model: string; version?: string; alias?: string }): string {
    return versionOf(variant, this.aliases);
  }

  /** The version that answers requests which name none; '' = none is loaded. */
  policyVersion(model: string): string {
    const versions = this.inner.currentTable().models.get(model)?.versions;
    if (versions === undefined || versions.length === 0) return '';
    for (const { version, absence } of versions) if (absence === '') return version;
    return versions[0].version;
  }

  decided(call: RoutedCall, response: InferResponse | undefined): void {
    for (const tap of this.dependencies.taps) tap.decided(call, call.request, response);
    this.dependencies.log?.finished(call);
  }

  shadowEnded(route: CompiledRoute, outcome: ShadowOutcome): void {
    this.shadowsInFlight.set(route.name, (this.shadowsInFlight.get(route.name) ?? 1) - 1);
    this.shadowed(outcome);
  }

  /** Milliseconds since 1970 of a moment of the monotonic clock. */
  wallTime(at: number): number {
    return Math.round(at + this.epochOffset);
  }

  close(): void {
    clearInterval(this.sweeper);
  }

  private shadowOf(decision: Decision, record: DecisionRecord, context: RequestContext): ShadowCall | undefined {
    const route = decision.route as CompiledRoute;
    const inFlight = this.shadowsInFlight.get(route.name) ?? 0;
    const limit = route.spec.shadow?.maxInFlight ?? DEFAULT_SHADOWS;
    if (inFlight >= limit || this.inner.inFlight >= this.dependencies.shadowsUpTo) {
      const { name, model } = route.variants[decision.shadow];
      this.shadowed({
        id: record.id,
        route: route.name,
        variant: name,
        model,
        version: '',
        outcome: 'dropped',
        latencyMs: 0,
        difference: '',
      });
      return undefined;
    }
    this.shadowsInFlight.set(route.name, inFlight + 1);
    return new ShadowCall(this, route, decision.shadow, record, context);
  }

  private shadowed(outcome: ShadowOutcome): void {
    for (const tap of this.dependencies.taps) tap.shadowed(outcome);
  }

  private measureOffset(): number {
    return this.dependencies.wallClock() - this.dependencies.now();
  }

  private sweep(): void {
    this.epochOffset = this.measureOffset();
    const now = this.dependencies.now();
    for (const each of this.watched) {
      if (now - each.swept < each.interval) continue;
      each.swept = now;
      sweepHealth(each.route.health, now);
    }
  }
}

const DEFAULT_SHADOWS = 64;
