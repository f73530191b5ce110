import { LatencyTally } from '../experiments/statistics/latency-tally.ts';
import type { DecisionRecord, DecisionTap, ShadowOutcome } from '../pipeline/routed/record.ts';
import { ERROR_TABLE } from '../shared/errors.ts';
import type { LearningRecord, RouteActivity, ShadowActivity, SliceActivity } from './route-activity.ts';

/** Mismatches kept between two reports of a shadowed version. */
const MAX_EXAMPLES = 5;
/** Slices kept from report to report: more than routes have, unless versions come and go for days. */
const MAX_SLICES = 65_536;
/** Decisions kept for learning between two reports; more are counted as lost. */
const MAX_LEARNING = 65_536;

interface Slice extends Omit<SliceActivity, 'latency'> {
  tally: LatencyTally;
}

/**
 * Sums up this gateway thread's decisions per route, variant (served and assigned) and role, and hands them over in bulk: what canary gates,
 * experiments, bandits and metrics work on, without a message per request.
 */
export class RouteRecorder implements DecisionTap {
  /** By route: a route has few, and none is looked up by a text made for it. They are kept and counted anew. */
  private readonly slices = new Map<string, Slice[]>();
  private sliceCount = 0;
  /** Those that were counted in since the last report. */
  private touched: Slice[] = [];
  private shadows = new Map<string, ShadowActivity>();
  private learning: LearningRecord[] = [];
  private lost = 0;
  private learns: ReadonlySet<string> = new Set();
  private readonly steadyOffset: number;

  /** @param steadyOffset see GatewayThreadData */
  constructor(steadyOffset: number) {
    this.steadyOffset = steadyOffset;
  }

  /** Routes whose single decisions are learnt from: bandits and experiments on rewards. */
  setLearning(routes: ReadonlySet<string>): void {
    this.learns = routes;
  }

  decided(record: DecisionRecord): void {
    const slice = this.sliceOf(record);
    if (slice.requests === 0) this.touched.push(slice);
    slice.requests++;
    if (record.fallbacks.length > 0) slice.fallbacks++;
    if (record.status === 'ok') slice.tally.record(record.latencyMs);
    else if (record.status === 'overloaded') slice.sheds++;
    else if (record.status === 'cancelled') slice.cancelled++;
    else if (ERROR_TABLE[record.status].http >= 500) slice.errors++;
    else slice.clientErrors++;
    if (this.learns.has(record.route)) this.learn(record);
  }

  shadowed(outcome: ShadowOutcome): void {
    const { route, variant, model, version } = outcome;
    const key = `${route}\n${variant}\n${model}\n${version}`;
    let shadow = this.shadows.get(key);
    if (shadow === undefined) {
      const counts = { match: 0, mismatch: 0, failed: 0, dropped: 0, uncompared: 0 };
      shadow = { route, variant, model, version, ...counts, examples: [] };
      this.shadows.set(key, shadow);
    }
    shadow[outcome.outcome]++;
    const differs = outcome.outcome === 'mismatch' || outcome.outcome === 'failed';
    if (differs && shadow.examples.length < MAX_EXAMPLES) shadow.examples.push(outcome);
  }

  /** What happened since the last call; undefined: nothing. */
  take(): RouteActivity | undefined {
    if (this.touched.length === 0 && this.shadows.size === 0 && this.learning.length === 0) return undefined;
    const activity: RouteActivity = {
      slices: this.touched.map(report),
      shadows: [...this.shadows.values()],
      learning: this.learning,
      lost: this.lost,
    };
    this.touched = [];
    if (this.sliceCount > MAX_SLICES) {
      this.slices.clear();
      this.sliceCount = 0;
    }
    this.shadows = new Map();
    this.learning = [];
    this.lost = 0;
    return activity;
  }

  private sliceOf(record: DecisionRecord): Slice {
    const { route, served, assigned, version, role, analysed } = record;
    const assignedVersion = assignedVersionOf(record);
    let slices = this.slices.get(route);
    if (slices === undefined) {
      slices = [];
      this.slices.set(route, slices);
    }
    for (const slice of slices) {
      if (slice.variant !== served || slice.assigned !== assigned || slice.version !== version) continue;
      if (slice.assignedVersion !== assignedVersion) continue;
      if (slice.role === role && slice.analysed === analysed) return slice;
    }
    const counts = { requests: 0, errors: 0, clientErrors: 0, sheds: 0, cancelled: 0, fallbacks: 0 };
    const which = { route, variant: served, assigned, version, assignedVersion, role, analysed };
    const slice = { ...which, ...counts, tally: new LatencyTally() };
    slices.push(slice);
    this.sliceCount++;
    return slice;
  }

  private learn(record: DecisionRecord): void {
    if (this.learning.length >= MAX_LEARNING) {
      this.lost++;
      return;
    }
    this.learning.push({
      id: record.id,
      time: Math.round(record.receivedAt + this.steadyOffset),
      route: record.route,
      tenant: record.tenant,
      assigned: record.assigned,
      served: record.served,
      version: record.version,
      analysed: record.analysed,
      bucket: record.bucket,
      unitHash: record.unitHash,
      proposed: record.proposed,
      features: record.features,
      status: record.status,
      latencyMs: record.latencyMs,
      assignedVersion: assignedVersionOf(record),
      failedOver: record.fallbacks.some(({ variant }) => variant === record.assigned),
    });
  }
}

function assignedVersionOf({ served, assigned, version, fallbacks }: DecisionRecord): string {
  if (served === assigned) return version;
  for (const { variant, version: failed } of fallbacks) if (variant === assigned) return failed;
  return '';
}

/** What a slice counted, after which it counts from 0. */
function report(slice: Slice): SliceActivity {
  const { route, variant, assigned, version, assignedVersion, role, analysed } = slice;
  const { requests, errors, clientErrors, sheds, cancelled, fallbacks } = slice;
  const counts = { requests, errors, clientErrors, sheds, cancelled, fallbacks };
  const latency = slice.tally.encode();
  slice.requests = slice.errors = slice.clientErrors = slice.sheds = slice.cancelled = slice.fallbacks = 0;
  slice.tally.clear();
  return { route, variant, assigned, version, assignedVersion, role, analysed, ...counts, latency };
}
