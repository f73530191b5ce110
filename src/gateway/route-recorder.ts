import { LatencyTally } from '../experiments/statistics/latency-tally.ts';
import type { DecisionRecord, DecisionTap, ShadowOutcome } from '../pipeline/routed/record.ts';
import { ERROR_TABLE } from '../shared/errors.ts';
import type { LearningRecord, RouteActivity, ShadowActivity, SliceActivity } from './route-activity.ts';

/** Mismatches kept between two reports of a route. */
const MAX_EXAMPLES = 5;
/** Decisions kept for learning between two reports; more are counted as lost. */
const MAX_LEARNING = 65_536;

interface Slice extends Omit<SliceActivity, 'latency'> {
  tally: LatencyTally;
}

/**
 * Sums up this gateway thread's decisions per route, variant and role, and hands them over in bulk: what canary gates,
 * experiments, bandits and metrics work on, without a message per request.
 */
export class RouteRecorder implements DecisionTap {
  private slices = new Map<string, Slice>();
  private shadows = new Map<string, ShadowActivity>();
  private learning: LearningRecord[] = [];
  private lost = 0;
  private learns: ReadonlySet<string> = new Set();

  /** Routes whose single decisions are learnt from: bandits and experiments on rewards. */
  setLearning(routes: ReadonlySet<string>): void {
    this.learns = routes;
  }

  decided(record: DecisionRecord): void {
    const slice = this.sliceOf(record);
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
    const key = `${outcome.route}\n${outcome.variant}`;
    let shadow = this.shadows.get(key);
    if (shadow === undefined) {
      const { route, variant } = outcome;
      shadow = { route, variant, match: 0, mismatch: 0, failed: 0, dropped: 0, uncompared: 0, examples: [] };
      this.shadows.set(key, shadow);
    }
    shadow[outcome.outcome]++;
    if (outcome.outcome === 'mismatch' && shadow.examples.length < MAX_EXAMPLES) shadow.examples.push(outcome);
  }

  /** What happened since the last call; undefined: nothing. */
  take(): RouteActivity | undefined {
    if (this.slices.size === 0 && this.shadows.size === 0 && this.learning.length === 0) return undefined;
    const activity: RouteActivity = {
      slices: [...this.slices.values()].map(({ tally, ...slice }) => ({ ...slice, latency: tally.encode() })),
      shadows: [...this.shadows.values()],
      learning: this.learning,
      lost: this.lost,
    };
    this.slices = new Map();
    this.shadows = new Map();
    this.learning = [];
    this.lost = 0;
    return activity;
  }

  private sliceOf({ route, served, version, role, analysed }: DecisionRecord): Slice {
    const key = `${route}\n${served}\n${version}\n${role}\n${analysed}`;
    let slice = this.slices.get(key);
    if (slice === undefined) {
      const counts = { requests: 0, errors: 0, clientErrors: 0, sheds: 0, cancelled: 0, fallbacks: 0 };
      slice = { route, variant: served, version, role, analysed, ...counts, tally: new LatencyTally() };
      this.slices.set(key, slice);
    }
    return slice;
  }

  private learn(record: DecisionRecord): void {
    if (this.learning.length >= MAX_LEARNING) {
      this.lost++;
      return;
    }
    this.learning.push({
      id: record.id,
      time: record.time,
      route: record.route,
      assigned: record.assigned,
      served: record.served,
      analysed: record.analysed,
      bucket: record.bucket,
      pmf: record.pmf,
      proposed: record.proposed,
      snapshotVersion: record.snapshotVersion,
      context: record.context,
      status: record.status,
      latencyMs: record.latencyMs,
    });
  }
}
