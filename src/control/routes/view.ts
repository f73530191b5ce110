import type { RouteDocument } from '../../config/route-schema.ts';
import { exitStatus } from '../../experiments/rollout/state.ts';
import { histogramQuantile, total } from '../../experiments/statistics/latency-histogram.ts';
import { BUCKETS, decodeBuckets } from '../../routing/buckets.ts';
import { banditState } from './bandit-control.ts';
import type { Contribution } from './contribution.ts';
import { experimentResults } from './experiment-control.ts';
import { hasShadow, shadowOf, sliceOf } from './ledger.ts';
import { type LiveRoute, servedState } from './live.ts';
import { evidenceOf, rolloutOf } from './rollout-control.ts';
import { type ShadowView, shadowView } from './shadow-view.ts';

export type StrategyKind = 'weighted' | 'canary' | 'experiment' | 'bandit';

export function kindOf({ document }: LiveRoute): StrategyKind {
  return Object.keys(document.spec.strategy)[0] as StrategyKind;
}

/** Share of the traffic by variant; of bandits with a context that of the last snapshot is unknown: even shares. */
export function weightsOf(live: LiveRoute): Record<string, number> {
  const { document, standing } = live;
  const { strategy, variants } = document.spec;
  const weights = Object.fromEntries(Object.keys(variants).map((name) => [name, 0]));
  if (strategy.bandit !== undefined) {
    const { arms, mode } = strategy.bandit;
    const fallback = strategy.bandit.default ?? arms[0];
    const { policy } = standing.state;
    arms.forEach((arm, k) => {
      const decided = policy !== undefined && mode === 'online';
      weights[arm] = decided ? (policy.pmf?.[k] ?? 1 / arms.length) : Number(arm === fallback);
    });
    return weights;
  }
  const { canary } = strategy;
  const slots =
    canary === undefined
      ? Object.keys(strategy.weighted ?? strategy.experiment?.split ?? {})
      : [canary.stable, canary.stable, canary.candidate];
  for (const slot of decodeBuckets(servedState(live).buckets, slots.length) ?? []) weights[slots[slot]] += 1 / BUCKETS;
  for (const name of Object.keys(weights)) weights[name] = Math.round(weights[name] * BUCKETS) / BUCKETS;
  return weights;
}

/** Health for people and exit codes: 0 well, 1 rolled back, invalid or beyond a guardrail, 2 needs a person, 3 under way. */
export function healthOf(live: LiveRoute): { status: string; exit: 0 | 1 | 2 | 3 } {
  const { standing } = live;
  if (standing.invalid !== undefined) return { status: 'invalid', exit: 1 };
  if ((standing.violated ?? []).length > 0) return { status: 'guardrail violated', exit: 1 };
  const kind = kindOf(live);
  if (kind !== 'canary') return { status: kind === 'weighted' ? 'serving' : 'learning', exit: 0 };
  const rollout = rolloutOf(standing);
  if (rollout === undefined) return { status: 'waiting for its versions', exit: 3 };
  const { phase, paused } = rollout.state;
  const stale = live.unjudged === undefined ? '' : ' (stale)';
  return { status: `${phase}${paused ? ' (paused)' : ''}${stale}`, exit: exitStatus(rollout.state) };
}

/** One row of the list. */
export function routeRow(live: LiveRoute, origin: string): object {
  const { status, exit } = healthOf(live);
  return {
    name: live.name,
    origin,
    strategy: kindOf(live),
    status,
    exit_status: exit,
    weights: weightsOf(live),
    state_version: live.standing.state.version,
  };
}

/** Everything about one route. */
export function routeView(
  live: LiveRoute,
  origin: string,
  data: Contribution,
  versions: Record<string, string>,
  now: number,
): object {
  const { document } = live;
  const served = servedState(live);
  const weights = weightsOf(live);
  return {
    ...routeRow(live, origin),
    analysed: served.analysed,
    mirror: served.mirror,
    variants: Object.entries(document.spec.variants).map(([name, { model, alias }]) => {
      const slice = sliceOf(data.sums, ({ variant }) => variant === name);
      return {
        name,
        model,
        ...(alias === undefined ? {} : { alias }),
        version: versions[name],
        weight: weights[name],
        requests: slice?.requests ?? 0,
        errors: slice?.errors ?? 0,
        fallbacks: slice?.fallbacks ?? 0,
        latency_ms:
          slice === undefined || total(slice.latency) === 0
            ? null
            : {
                p50: round(histogramQuantile(slice.latency, 0.5)),
                p99: round(histogramQuantile(slice.latency, 0.99)),
              },
        shadow: shadowedOf(document, data, name, versions[name]),
      };
    }),
    ...rolloutView(live, data),
    ...given('experiment', experimentResults(document.spec, live.standing, data)),
    ...given('bandit', banditState(document.spec, live.standing, data, now)),
    spec: document,
  };
}

function rolloutView(live: LiveRoute, data: Contribution): object {
  const rollout = rolloutOf(live.standing);
  const { canary } = live.document.spec.strategy;
  if (rollout === undefined || canary === undefined) return {};
  const { state } = rollout;
  const { control, candidate, shadow } = evidenceOf(live.document.spec, rollout, data.sums);
  const arm = ({ requests, errors, latency }: typeof control) => ({
    requests,
    errors,
    latency_p99_ms: total(latency) === 0 ? null : round(histogramQuantile(latency, 0.99)),
  });
  return {
    rollout: {
      phase: state.phase,
      paused: state.paused,
      step: state.step,
      steps: canary.steps,
      weight: state.weight,
      mirror: state.mirror,
      stable_version: state.stableVersion,
      candidate_version: state.candidateVersion,
      started_at: state.startedAt,
      step_started_at: state.stepStartedAt,
      reason: state.reason,
      ...(live.moveProblem === '' || state.phase !== 'promoting' ? {} : { problem: live.moveProblem }),
      reports: state.reports,
      history: state.history,
      window: { control: arm(control), candidate: arm(candidate), shadow },
    },
  };
}

/** Of the version that is served now: what copies to another one came to says nothing of it. */
function shadowedOf(
  { spec }: RouteDocument,
  { sums }: Contribution,
  variant: string,
  version: string,
): ShadowView | undefined {
  if (!hasShadow(sums, variant)) return undefined;
  const { model } = spec.variants[variant];
  return shadowView(shadowOf(sums, variant, { model, version }), spec.shadow?.compare.maxMismatch);
}

function given(key: string, value: object | undefined): object {
  return value === undefined ? {} : { [key]: value };
}

function round(milliseconds: number): number {
  return Number(milliseconds.toPrecision(4));
}
