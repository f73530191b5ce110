import type { RouteDocument } from '../../config/route-schema.ts';
import { lowerBound, total } from '../../experiments/statistics/latency-histogram.ts';
import { ratioPValue } from '../../experiments/statistics/sample-ratio.ts';
import { escapeLabel } from '../../telemetry/prometheus.ts';
import { hasShadow, type SliceSums, shadowOf } from './ledger.ts';
import type { LiveRoute } from './live.ts';
import { type ShadowView, shadowView } from './shadow-view.ts';
import { healthOf, weightsOf } from './view.ts';

const BOUNDS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const OUTCOMES = ['match', 'mismatch', 'failed', 'dropped', 'uncompared'] as const;

interface Family {
  name: string;
  type: 'counter' | 'gauge' | 'histogram';
  help: string;
  lines(live: LiveRoute, versions: VersionsOf): string[];
}

/** The versions that a route's variants are served by now; '' for none. */
type VersionsOf = (document: RouteDocument) => Record<string, string>;

const FAMILIES: readonly Family[] = [
  slices('switchyard_route_requests_total', 'Requests by the variant that served them', ({ requests }) => requests),
  slices(
    'switchyard_route_errors_total',
    'Requests answered with 500 and above, timeouts among them',
    ({ errors }) => errors,
  ),
  slices(
    'switchyard_route_client_errors_total',
    'Requests answered with 400 to 499, but sheds',
    ({ clientErrors }) => clientErrors,
  ),
  slices('switchyard_route_sheds_total', 'Requests refused because too many wait', ({ sheds }) => sheds),
  slices('switchyard_route_cancelled_total', 'Requests that their client gave up', ({ cancelled }) => cancelled),
  slices(
    'switchyard_route_fallbacks_total',
    'Requests answered by another variant than was tried first',
    ({ fallbacks }) => fallbacks,
  ),
  {
    name: 'switchyard_route_latency_seconds',
    type: 'histogram',
    help: 'Time from the first byte to the answer, of successes',
    lines: latencyLines,
  },
  {
    name: 'switchyard_route_weight',
    type: 'gauge',
    help: 'Share of the traffic that a variant is meant to get',
    lines: (live) =>
      Object.entries(weightsOf(live)).map(
        ([variant, weight]) => `switchyard_route_weight{${labels({ route: live.name, variant })}} ${weight}`,
      ),
  },
  {
    name: 'switchyard_route_state',
    type: 'gauge',
    help: '1 for the state that a route is in',
    lines: (live) => [`switchyard_route_state{${labels({ route: live.name, state: healthOf(live).status })}} 1`],
  },
  {
    name: 'switchyard_route_stale',
    type: 'gauge',
    help: '1 for a canary that its stable variant serves here because nobody was there to judge it',
    lines: ({ name, document, unjudged }) =>
      document.spec.strategy.canary === undefined
        ? []
        : [`switchyard_route_stale{${labels({ route: name })}} ${Number(unjudged !== undefined)}`],
  },
  {
    name: 'switchyard_route_shadow_total',
    type: 'counter',
    help: 'Shadowed requests by what became of them',
    lines: ({ name, own }) =>
      [...own.sums.shadows.values()].flatMap((shadow) =>
        OUTCOMES.map(
          (outcome) =>
            `switchyard_route_shadow_total{${labels({ route: name, variant: shadow.variant, model: shadow.model, version: shadow.version, outcome })}} ${shadow[outcome]}`,
        ),
      ),
  },
  {
    name: 'switchyard_route_shadow_mismatch_rate',
    type: 'gauge',
    help: 'Share of compared shadows that differ, of the version served now, with the bounds of its 95 % interval',
    lines: (live, versions) =>
      shadowsOf(live, versions).flatMap(({ variant, version, view }) =>
        (
          [
            ['estimate', view.mismatch_rate ?? Number.NaN],
            ['low', view.mismatch_low],
            ['high', view.mismatch_high],
          ] as const
        ).map(
          ([bound, value]) =>
            `switchyard_route_shadow_mismatch_rate{${labels({ route: live.name, variant, version, bound })}} ${value}`,
        ),
      ),
  },
  {
    name: 'switchyard_route_shadow_verdict',
    type: 'gauge',
    help: "1 for the verdict on a shadow's mismatch rate against compare.maxMismatch",
    lines: (live, versions) =>
      shadowsOf(live, versions).flatMap(({ variant, version, view: { verdict } }) =>
        verdict === null
          ? []
          : [`switchyard_route_shadow_verdict{${labels({ route: live.name, variant, version, verdict })}} 1`],
      ),
  },
  {
    name: 'switchyard_route_bandit_probability',
    type: 'gauge',
    help: 'Probability of an arm in the present snapshot; of policies without a context',
    lines: ({ name, standing }) =>
      (standing.state.policy?.pmf ?? []).map(
        (p, k) =>
          `switchyard_route_bandit_probability{${labels({ route: name, variant: standing.state.policy?.arms[k] ?? '' })}} ${p}`,
      ),
  },
  {
    name: 'switchyard_route_sample_ratio_p',
    type: 'gauge',
    help: "Sequential p-value of an experiment's shares",
    lines: ({ name, standing }) =>
      standing.ratio === undefined
        ? []
        : [`switchyard_route_sample_ratio_p{${labels({ route: name })}} ${ratioPValue(standing.ratio.evidence)}`],
  },
  {
    name: 'switchyard_route_feedback_total',
    type: 'counter',
    help: "Rewards, and decisions that waited for one, by what became of them; an apprentice's proposals as agreed or disagreed",
    lines: ({ name, own }) =>
      [...own.feedback].map(
        ([result, count]) => `switchyard_route_feedback_total{${labels({ route: name, result })}} ${count}`,
      ),
  },
];

/** The Prometheus text of this gateway's routes. */
export function renderRoutes(routes: Iterable<LiveRoute>, versions: VersionsOf): string {
  const all = [...routes];
  const lines: string[] = [];
  for (const { name, type, help, lines: rows } of FAMILIES) {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const live of all) lines.push(...rows(live, versions));
  }
  return `${lines.join('\n')}\n`;
}

/** The Prometheus text of feedback that is of no route. */
export function renderUnmatchedFeedback(counts: ReadonlyMap<string, number>): string {
  const name = 'switchyard_feedback_unmatched_total';
  const lines = [
    `# HELP ${name} Feedback of no decision that this gateway knows, by what became of it`,
    `# TYPE ${name} counter`,
  ];
  for (const [result, count] of counts) lines.push(`${name}{${labels({ result })}} ${count}`);
  return `${lines.join('\n')}\n`;
}

function slices(name: string, help: string, value: (slice: SliceSums) => number): Family {
  return {
    name,
    help,
    type: 'counter',
    lines: (live) =>
      [...live.own.sums.slices.values()].map((slice) => `${name}{${sliceLabels(live, slice)}} ${value(slice)}`),
  };
}

/** Of the versions served now: a verdict on one that is gone would stay for ever. */
function shadowsOf(
  { own, document }: LiveRoute,
  versions: VersionsOf,
): { variant: string; version: string; view: ShadowView }[] {
  if (own.sums.shadows.size === 0) return [];
  const limit = document.spec.shadow?.compare.maxMismatch;
  return Object.entries(versions(document)).flatMap(([variant, version]) => {
    if (!hasShadow(own.sums, variant)) return [];
    const { model } = document.spec.variants[variant];
    return [{ variant, version, view: shadowView(shadowOf(own.sums, variant, { model, version }), limit) }];
  });
}

function sliceLabels(live: LiveRoute, slice: SliceSums): string {
  const { variant, assigned, version, assignedVersion, role, analysed } = slice;
  const labelled = { route: live.name, variant, version, role, analysed: String(analysed), assigned };
  return labels({ ...labelled, assigned_version: assignedVersion });
}

function latencyLines(live: LiveRoute): string[] {
  return [...live.own.sums.slices.values()].flatMap((slice) => {
    const own = sliceLabels(live, slice);
    const name = 'switchyard_route_latency_seconds';
    const lines: string[] = [];
    let sum = 0;
    let below = 0;
    let at = 0;
    for (const bound of BOUNDS_S) {
      for (; at < slice.latency.length && lowerBound(at + 1) <= bound * 1000; at++) below += slice.latency[at];
      lines.push(`${name}_bucket{${own},le="${bound}"} ${below}`);
    }
    for (let i = 0; i < slice.latency.length; i++) if (slice.latency[i] > 0) sum += slice.latency[i] * lowerBound(i);
    const count = total(slice.latency);
    lines.push(
      `${name}_bucket{${own},le="+Inf"} ${count}`,
      `${name}_sum{${own}} ${sum / 1000}`,
      `${name}_count{${own}} ${count}`,
    );
    return lines;
  });
}

function labels(values: Record<string, string>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}="${escapeLabel(value)}"`)
    .join(',');
}
