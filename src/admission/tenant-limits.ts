import { type Clock, monotonicMs } from '../shared/clock.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { AdmissionConfig, LimitsConfig } from './admission-config.ts';
import { type LimitTable, quotaDay } from './limit-table.ts';

const UNLIMITED = 0x7fffffff;

/** Limits of a tenant, or of a tenant on one model, ready for the hot path. Nanoseconds; 0 = no such limit. */
export interface LimitState {
  /** Key in Redis and in the shared table. */
  readonly key: string;
  readonly slot: number;
  intervalNs: number;
  burstNs: number;
  concurrency: number;
  dailyQuota: number;
  config: LimitsConfig | undefined;
}

export interface TenantState {
  readonly own: LimitState;
  /** Undefined while the tenant has no limits by model. */
  models: Map<string, LimitState> | undefined;
  allowedModels: Set<string> | undefined;
}

function setLimits(state: LimitState, config: LimitsConfig | undefined): void {
  const rate = config?.requestsPerSecond ?? 0;
  const burst = config?.burst ?? Math.max(1, Math.ceil(rate));
  state.intervalNs = rate > 0 ? Math.ceil(1e9 / rate) : 0;
  state.burstNs = state.intervalNs * burst;
  state.concurrency = config?.concurrency ?? UNLIMITED;
  state.dailyQuota = config?.dailyQuota ?? 0;
  state.config = config;
}

/** Refusal with a Retry-After; tenants see their own limits, nothing of others. */
export function limitReached(
  what: string,
  tenant: string,
  model: string | undefined,
  retryAfterMs: number,
): SwitchyardError {
  const where = model === undefined ? '' : ` on model ${JSON.stringify(model)}`;
  return new SwitchyardError(
    'overloaded',
    `${what} of tenant ${JSON.stringify(tenant)}${where} is used up; retry after ${Math.ceil(retryAfterMs)} ms`,
    { retryAfterMs: Math.max(1, Math.ceil(retryAfterMs)) },
  );
}

/** Milliseconds to the next UTC midnight. */
export function untilTomorrowMs(epochMs: number): number {
  return 86_400_000 - (epochMs % 86_400_000);
}

/**
 * The limits of this process: exact over its threads, which share the table. States are never dropped, only changed,
 * so that a release always meets the counter its admission raised.
 */
export class TenantLimits {
  private readonly table: LimitTable;
  private readonly now: Clock;
  private readonly nowEpochMs: () => number;
  private readonly tenants = new Map<string, TenantState>();
  private config: AdmissionConfig;
  private readonly overflow: TenantState;

  constructor(
    table: LimitTable,
    config: AdmissionConfig,
    now: Clock = monotonicMs,
    nowEpochMs: () => number = Date.now,
  ) {
    this.table = table;
    this.config = config;
    this.now = now;
    this.nowEpochMs = nowEpochMs;
    this.overflow = {
      own: this.createState('', undefined, table.overflow),
      models: undefined,
      allowedModels: undefined,
    };
    this.update(config);
  }

  /** Takes effect for the next request; counters go on. */
  update(config: AdmissionConfig): void {
    this.config = config;
    setLimits(this.overflow.own, config.defaultLimits);
    for (const name of Object.keys(config.tenants ?? {})) this.stateOf(name);
    for (const [name, state] of this.tenants) this.configure(name, state);
  }

  private createState(key: string, config: LimitsConfig | undefined, slot = this.table.slotFor(key)): LimitState {
    const state: LimitState = { key, slot, intervalNs: 0, burstNs: 0, concurrency: 0, dailyQuota: 0, config };
    setLimits(state, config);
    return state;
  }

  private configure(name: string, state: TenantState): void {
    const tenants = this.config.tenants;
    const config = tenants !== undefined && Object.hasOwn(tenants, name) ? tenants[name] : undefined;
    setLimits(state.own, config?.limits ?? this.config.defaultLimits);
    state.allowedModels = config?.allowedModels === undefined ? undefined : new Set(config.allowedModels);
    const models = config?.modelLimits ?? {};
    for (const [model, limits] of state.models ?? []) if (!Object.hasOwn(models, model)) setLimits(limits, undefined);
    for (const [model, limits] of Object.entries(models)) {
      state.models ??= new Map();
      const known = state.models.get(model);
      if (known === undefined) state.models.set(model, this.createState(`${name}\n${model}`, limits));
      else setLimits(known, limits);
    }
  }

  /** The state of a tenant; tenants that find the table full share one, limited as a single tenant. */
  stateOf(tenant: string): TenantState {
    let state = this.tenants.get(tenant);
    if (state === undefined) {
      const own = this.createState(tenant, undefined);
      if (own.slot === this.table.overflow) return this.overflow;
      state = { own, models: undefined, allowedModels: undefined };
      this.tenants.set(tenant, state);
      this.configure(tenant, state);
    }
    return state;
  }

  /** Raises the in-flight counters. Throws permission_denied or overloaded, leaving nothing raised. */
  enter(tenant: string, model: string): TenantState {
    const state = this.stateOf(tenant);
    if (state.allowedModels !== undefined && !state.allowedModels.has(model)) {
      throw new SwitchyardError(
        'permission_denied',
        `tenant ${JSON.stringify(tenant)} may not call model ${JSON.stringify(model)}; ask for it to be added to the tenant's models`,
      );
    }
    if (!this.table.enter(state.own.slot, state.own.concurrency)) {
      throw limitReached(`the concurrency limit (${state.own.concurrency})`, tenant, undefined, 100);
    }
    const limits = state.models?.get(model);
    if (limits !== undefined && !this.table.enter(limits.slot, limits.concurrency)) {
      this.table.leave(state.own.slot);
      throw limitReached(`the concurrency limit (${limits.concurrency})`, tenant, model, 100);
    }
    return state;
  }

  /** Undoes `enter`. */
  leave(tenant: string, model: string): void {
    const state = this.stateOf(tenant);
    this.table.leave(state.own.slot);
    const limits = state.models?.get(model);
    if (limits !== undefined) this.table.leave(limits.slot);
  }

  /** Takes quota, then tokens (which cannot be given back). Throws overloaded, having taken nothing but by a race. */
  consume(state: TenantState, tenant: string, model: string): void {
    const own = state.own;
    const limits = state.models?.get(model);
    const day = own.dailyQuota > 0 || (limits?.dailyQuota ?? 0) > 0 ? quotaDay(this.nowEpochMs()) : 0;
    if (own.dailyQuota > 0 && !this.table.takeQuota(own.slot, day, own.dailyQuota)) {
      throw limitReached(`the daily quota (${own.dailyQuota})`, tenant, undefined, untilTomorrowMs(this.nowEpochMs()));
    }
    if (limits !== undefined && limits.dailyQuota > 0 && !this.table.takeQuota(limits.slot, day, limits.dailyQuota)) {
      if (own.dailyQuota > 0) this.table.returnQuota(own.slot, day);
      throw limitReached(`the daily quota (${limits.dailyQuota})`, tenant, model, untilTomorrowMs(this.nowEpochMs()));
    }
    const waitNs = this.takeTokens(own, limits);
    if (waitNs === 0) return;
    if (own.dailyQuota > 0) this.table.returnQuota(own.slot, day);
    if (limits !== undefined && limits.dailyQuota > 0) this.table.returnQuota(limits.slot, day);
    throw limitReached('the rate limit', tenant, undefined, waitNs / 1e6);
  }

  private takeTokens(own: LimitState, limits: LimitState | undefined): number {
    const byModel = limits !== undefined && limits.intervalNs > 0;
    if (own.intervalNs === 0 && !byModel) return 0;
    const nowNs = Math.floor(this.now() * 1e6);
    if (!byModel) return this.table.takeToken(own.slot, nowNs, own.intervalNs, own.burstNs);
    if (own.intervalNs > 0) {
      // Looked at first: a model's token taken for a request the tenant's own limit then refuses would be lost.
      const wait = this.table.peekToken(own.slot, nowNs, own.intervalNs, own.burstNs);
      if (wait > 0) return wait;
    }
    const wait = this.table.takeToken(limits.slot, nowNs, limits.intervalNs, limits.burstNs);
    if (wait > 0 || own.intervalNs === 0) return wait;
    return this.table.takeToken(own.slot, nowNs, own.intervalNs, own.burstNs);
  }
}
