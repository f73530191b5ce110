import type { Metric, RouteSpec, TemplateDocument } from '../../config/route-schema.ts';
import type { CanarySpec } from '../../config/strategy-schema.ts';
import { advance, alphaShare, templatesInForce } from '../../experiments/rollout/controller.ts';
import {
  type ArmEvidence,
  type Evidence,
  judge,
  type Measurements,
  measure,
  NO_MEASUREMENTS,
  type Report,
} from '../../experiments/rollout/judge.ts';
import { beginRollout, isOver, note, type RolloutEvent, type RolloutState } from '../../experiments/rollout/state.ts';
import { newHistogram } from '../../experiments/statistics/latency-histogram.ts';
import { canaryWeights, initialState, withWeights } from '../../routing/live-route.ts';
import { decodeSums, type EncodedSums, encodeSums, type RouteSums, shadowOf } from './ledger.ts';
import { comparisons } from './shadow-view.ts';
import type { Standing } from './standing.ts';

/** A rollout as it is kept: where it is, and what its analyses count from. JSON as it is. */
export interface RolloutStanding {
  state: RolloutState;
  /** Sums when the present comparison began, and when the rollout did. */
  window: EncodedSums;
  start: EncodedSums;
  /** The version of stable that is compared, if it is not the one the rollout began with. */
  stable?: string;
  /** Outcomes of queries, by where they are asked, template and metric. */
  queries: Record<string, Measurements & { askedAt: number }>;
}

export interface VersionPair {
  stable: string;
  candidate: string;
}

/** An alias the registry is to move, if it still points where it did. */
export interface AliasWish {
  model: string;
  alias: string;
  expected: string;
  version: string;
}

export interface Step {
  standing: Standing;
  alias: AliasWish | undefined;
}

export type Templates = ReadonlyMap<string, TemplateDocument>;

/** A query that is due. */
export interface DueQuery {
  key: string;
  metric: Metric;
}

export function rolloutOf(standing: Standing): RolloutStanding | undefined {
  return standing.rollout as RolloutStanding | undefined;
}

/**
 * Begins a rollout where none was, and another one where the candidate is another version than the last one was for.
 * Undefined: nothing to begin.
 */
export function beginIfDue(
  route: string,
  spec: RouteSpec,
  standing: Standing,
  versions: VersionPair | undefined,
  sums: RouteSums,
  now: number,
): Standing | undefined {
  if (versions === undefined) return undefined;
  const before = rolloutOf(standing);
  // A succeeded one may have made stable what the candidate was.
  if (before !== undefined && before.state.candidateVersion === versions.candidate) return undefined;
  const { version } = standing.state;
  const start = encodeSums(sums);
  const rollout: RolloutStanding = { state: beginRollout(route, versions, now), window: start, start, queries: {} };
  const fresh = withWeights(before === undefined ? standing.state : initialState(spec), [100, 0, 0]);
  return { ...standing, rollout, state: { ...fresh, version: version + 1 } };
}

/**
 * A comparison that begins again where stable has become another version under way: what the old one did says nothing
 * of the new one. The rollout goes on; its end still moves the alias only if that names what it did at the beginning.
 */
export function compareAnewIfDue(
  standing: Standing,
  versions: VersionPair | undefined,
  sums: RouteSums,
  now: number,
): Standing {
  const rollout = rolloutOf(standing);
  if (rollout === undefined || versions === undefined) return standing;
  const { phase, stableVersion } = rollout.state;
  // A promotion makes stable what the candidate is, and its rollback may have to undo that.
  if (isOver(rollout.state) || phase === 'promoting' || phase === 'rollingBack') return standing;
  const before = rollout.stable ?? stableVersion;
  if (before === versions.stable) return standing;
  const state = { ...rollout.state, reports: [], version: rollout.state.version + 1 };
  note(state, now, `stable is version ${versions.stable} now, not ${before}: its comparison begins again`);
  const start = encodeSums(sums);
  return { ...standing, rollout: { ...rollout, state, stable: versions.stable, window: start, start } };
}

/** One event, a tick above all: the next standing, and an alias to be moved. */
export function stepRollout(
  spec: RouteSpec,
  standing: Standing,
  event: RolloutEvent,
  sums: RouteSums,
  templates: Templates,
  now: number,
): Step {
  const canary = spec.strategy.canary as CanarySpec;
  const before = rolloutOf(standing);
  if (before === undefined) return { standing, alias: undefined };
  const withReports = event.type === 'tick' ? { ...event, ...judgeAll(spec, before, sums, templates) } : event;
  const { state, commands } = advance(before.state, canary, withReports, now);
  let next: Standing = standing;
  let rollout: RolloutStanding = state === before.state ? before : { ...before, state };
  let alias: AliasWish | undefined;
  for (const command of commands) {
    if (command.type === 'setWeight') {
      const weights = canaryWeights(command.percent, canary.control === 'matched');
      next = { ...next, state: withWeights(next.state, weights) };
    } else if (command.type === 'setMirror') {
      const version = next.state.version + 1;
      next = { ...next, state: { ...next.state, version, mirror: mirrorOf(spec, command.percent) } };
    } else if (command.type === 'restartWindow') rollout = { ...rollout, window: encodeSums(sums) };
    else {
      const { alias: name, expected, version } = command;
      alias = { model: spec.variants[canary.candidate].model, alias: name, expected, version };
    }
  }
  // Counting begins again with a retry: what the failed attempt saw was judged.
  if (event.type === 'retry' && state !== before.state) {
    const start = encodeSums(sums);
    rollout = { ...rollout, start, window: start, queries: {} };
  }
  if (isOver(state) && !isOver(before.state)) rollout = { ...rollout, queries: {} };
  return { standing: rollout === before ? next : { ...next, rollout }, alias };
}

/** Whether a rollout has ended meanwhile by moving an alias, after which stable's traffic comes back to it. */
export function promotedSince({ strategy }: RouteSpec, before: Standing, after: Standing): boolean {
  const succeeded = (standing: Standing) => rolloutOf(standing)?.state.phase === 'succeeded';
  return strategy.canary?.onPass.setAlias !== undefined && succeeded(after) && !succeeded(before);
}

/** What a canary does not mirror (any more) is shadowed as the route says. */
export function mirrorOf(spec: RouteSpec, percent: number): number {
  return percent > 0 ? percent / 100 : (spec.shadow?.sample ?? 0);
}

/** Queries of the templates in force whose interval has passed. */
export function dueQueries(
  canary: CanarySpec,
  rollout: RolloutStanding,
  templates: Templates,
  now: number,
): DueQuery[] {
  const due: DueQuery[] = [];
  for (const { place, template } of inForce(canary, rollout)) {
    for (const metric of templates.get(template)?.spec.metrics ?? []) {
      if (metric.prometheus === undefined) continue;
      const key = queryKey(place, template, metric);
      const known = rollout.queries[key];
      if (known === undefined || now - known.askedAt >= metric.interval) due.push({ key, metric });
    }
  }
  return due;
}

/** Takes in a query's result; undefined: it failed. */
export function answerQuery(
  standing: Standing,
  { key, metric }: DueQuery,
  result: readonly number[] | undefined,
  now: number,
): Standing {
  const rollout = rolloutOf(standing);
  if (rollout === undefined) return standing;
  const measured = measure(metric, rollout.queries[key] ?? NO_MEASUREMENTS, result);
  return {
    ...standing,
    rollout: { ...rollout, queries: { ...rollout.queries, [key]: { ...measured, askedAt: now } } },
  };
}

function inForce(canary: CanarySpec, { state }: RolloutStanding): { place: string; template: string }[] {
  const { inline, background } = templatesInForce(state, canary);
  return [
    ...inline.map((template) => ({ place: String(state.step), template })),
    ...background.map((template) => ({ place: 'background', template })),
  ];
}

function queryKey(place: string, template: string, metric: Metric): string {
  return `${place}/${template}/${metric.name}`;
}

function judgeAll(
  spec: RouteSpec,
  rollout: RolloutStanding,
  sums: RouteSums,
  templates: Templates,
): { inline: Report[]; background: Report[] } {
  const canary = spec.strategy.canary as CanarySpec;
  const share = alphaShare(canary, templates);
  const reports: { inline: Report[]; background: Report[] } = { inline: [], background: [] };
  const places = inForce(canary, rollout);
  if (places.length === 0) return reports;
  const evidence = evidenceOf(spec, rollout, sums);
  for (const { place, template } of places) {
    for (const metric of templates.get(template)?.spec.metrics ?? []) {
      const queries = { [metric.name]: rollout.queries[queryKey(place, template, metric)] ?? NO_MEASUREMENTS };
      reports[place === 'background' ? 'background' : 'inline'].push(judge(metric, { ...evidence, queries }, share));
    }
  }
  return reports;
}

/** What control and candidate did since the comparison began. */
export function evidenceOf(spec: RouteSpec, rollout: RolloutStanding, sums: RouteSums): Evidence {
  const canary = spec.strategy.canary as CanarySpec;
  const candidate = { model: spec.variants[canary.candidate].model, version: rollout.state.candidateVersion };
  const window = decodeSums(rollout.window);
  const control = canary.control === 'matched' ? 'control' : 'stable';
  const stableOf = (part: RouteSums) => armOf(part, canary.stable, control, rollout.stable);
  const candidateOf = (part: RouteSums) => armOf(part, canary.candidate, 'candidate', candidate.version);
  const compared = (part: RouteSums) => comparisons(shadowOf(part, canary.candidate, candidate));
  const shadow = compared(sums);
  const before = compared(decodeSums(rollout.start));
  return {
    control: since(stableOf(sums), stableOf(window)),
    candidate: since(candidateOf(sums), candidateOf(window)),
    shadow: {
      compared: Math.max(0, shadow.compared - before.compared),
      mismatched: Math.max(0, shadow.mismatched - before.mismatched),
    },
    queries: {},
  };
}

/**
 * A part's requests as its variant answered them. One that failed and was answered by another variant is still its
 * failure: fallbacks must not hide a bad candidate. What the client got wrong, or was shed or given up, is nobody's.
 *
 * @param only other versions are left out: gateways serve the one before until they have read what an alias means now, and
 *   what was in flight then is told later
 */
function armOf(sums: RouteSums, variant: string, role: string, only?: string): ArmEvidence {
  const arm = { requests: 0, errors: 0, latency: newHistogram() };
  for (const slice of sums.slices.values()) {
    if (slice.role !== role || !slice.analysed) continue;
    const asked = slice.variant === variant ? slice.version : slice.assignedVersion;
    if (only !== undefined && asked !== '' && asked !== only) continue;
    if (slice.variant !== variant) {
      arm.requests += slice.fallbacks;
      arm.errors += slice.fallbacks;
      continue;
    }
    arm.requests += slice.requests - slice.clientErrors - slice.sheds - slice.cancelled;
    arm.errors += slice.errors;
    for (let i = 0; i < arm.latency.length; i++) arm.latency[i] += slice.latency[i];
  }
  return arm;
}

function since(now: ArmEvidence, then: ArmEvidence): ArmEvidence {
  const latency = newHistogram();
  for (let i = 0; i < latency.length; i++) latency[i] = Math.max(0, now.latency[i] - then.latency[i]);
  return {
    requests: Math.max(0, now.requests - then.requests),
    errors: Math.max(0, now.errors - then.errors),
    latency,
  };
}
