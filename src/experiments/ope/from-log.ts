import { isDeepStrictEqual } from 'node:util';
import type { BanditSpec } from '../../config/strategy-schema.ts';
import { hashFeatures } from '../../routing/policies/features.ts';
import type { LoggedRecord } from '../replay/logged-record.ts';
import { crossFit } from './cross-fit.ts';
import { type Evaluation, type EvaluationOptions, evaluate, type LoggedDecision } from './estimators.ts';
import type { RewardTable } from './rewards.ts';
import type { TargetPolicy } from './target-policy.ts';

type ContextSpec = NonNullable<BanditSpec['context']>;

export interface LogEvaluationSettings extends Omit<EvaluationOptions, 'predict'> {
  route: string;
  policy: TargetPolicy;
  /** Of the policy. Absent: what the records hold, else their features. */
  context: ContextSpec | undefined;
  /** Of the bandit that logged: its records hold this one. Absent: they hold none, or one that was put there by hand. */
  loggedContext: ContextSpec | undefined;
  rewards: RewardTable | undefined;
  /** Of decisions without a reward. */
  defaultReward: number;
}

export interface LogEvaluation extends Evaluation {
  /** What the logging policy itself earned. */
  logged: { value: number; low: number; high: number };
  /** Records that were not used, by why. */
  leftOut: Record<string, number>;
  /** Decisions that a reward came for. */
  rewarded: number;
}

/** Places of the reward model's features where the route names none. */
const DEFAULT_DIM = 16;

/**
 * Evaluates a policy on logged decisions. What was not drawn from the logged distribution, or answered by another
 * variant than was drawn because that one was not asked, says nothing and is left out. An arm that failed earned the
 * default reward, whoever answered in its place, as the gateway learns it. Throws TypeError when a context cannot be had from the records.
 */
export function evaluateLog(records: readonly LoggedRecord[], settings: LogEvaluationSettings): LogEvaluation {
  const { policy, rewards, defaultReward } = settings;
  const leftOut: Record<string, number> = {};
  const used = records.filter((record) => {
    const reason = unusable(record, settings.route);
    if (reason !== '') leftOut[reason] = (leftOut[reason] ?? 0) + 1;
    return reason === '';
  });
  used.sort((a, b) => a.time - b.time);
  const contextOf = contextReader(used, settings.context, settings.loggedContext);
  const arms = [...new Set([...policy.arms, ...used.map(({ assigned }) => assigned)])];
  const indexes = new Map(arms.map((name, k) => [name, k]));
  let rewarded = 0;
  const log = used.map((record): LoggedDecision & { context: Float64Array } => {
    const given = record.failedOver ? undefined : (record.reward ?? rewards?.of(record.id));
    if (given !== undefined) rewarded++;
    const reward = given ?? defaultReward;
    const context = contextOf(record);
    const { time, eligible, assigned: variant, propensity, sampleRate } = record;
    const distribution = policy.distribution({ time, eligible, context, variant, reward });
    const target = new Float64Array(arms.length);
    policy.arms.forEach((name, k) => {
      target[indexes.get(name) as number] = distribution[k];
    });
    const action = indexes.get(variant) as number;
    return { action, propensity, reward, target, context, sampleWeight: 1 / sampleRate };
  });
  const { alpha, minEffective } = settings;
  const options = {
    ...(alpha === undefined ? {} : { alpha }),
    ...(minEffective === undefined ? {} : { minEffective }),
  };
  const predict = log.length === 0 ? undefined : crossFit(log, arms.length);
  const itself = evaluate(
    log.map((decision) => ({ ...decision, propensity: 1, target: onlyAction(arms.length, decision.action) })),
    options,
  );
  return {
    ...evaluate(log, { ...options, ...(predict === undefined ? {} : { predict }) }),
    logged: itself.ips,
    leftOut,
    rewarded,
  };
}

function onlyAction(arms: number, action: number): Float64Array {
  const pmf = new Float64Array(arms);
  pmf[action] = 1;
  return pmf;
}

function unusable(record: LoggedRecord, route: string): string {
  if (record.shadow) return 'copies';
  if (record.route !== route) return 'of other routes';
  if (!record.analysed) return 'not analysed';
  if (record.status === 'cancelled') return 'cancelled';
  if (record.override >= 0) return 'overridden';
  if (record.assigned !== record.variant && !record.failedOver) return 'answered by another variant';
  return record.propensity > 0 ? '' : 'without a propensity';
}

/** How a record's context is had, decided once for all of them. */
function contextReader(
  records: readonly LoggedRecord[],
  spec: ContextSpec | undefined,
  logged: ContextSpec | undefined,
): (record: LoggedRecord) => Float64Array {
  const dim = records[0]?.context?.length ?? 0;
  const whole = dim > 0 && records.every(({ context }) => context?.length === dim);
  const same = spec === undefined || (spec.dim === dim && (logged === undefined || isDeepStrictEqual(spec, logged)));
  if (whole && same) return ({ context }) => Float64Array.from(context as readonly number[]);
  const foreign = [...(spec?.headers ?? []), ...(spec?.parameters ?? [])];
  if (foreign.length > 0)
    throw new TypeError(
      `the context uses ${foreign.join(', ')}, which are headers or parameters: records hold inputs, and the context of the bandit that logged them; evaluate a policy on that, or on inputs`,
    );
  const inputs = spec?.inputs ?? [...new Set(records.flatMap(({ features }) => features.map(({ name }) => name)))];
  const context: ContextSpec = {
    inputs,
    headers: [],
    parameters: [],
    dim: spec?.dim ?? (inputs.length === 0 ? 1 : DEFAULT_DIM),
  };
  return ({ features }) =>
    hashFeatures(
      context,
      {
        input: (name) => {
          const value = features.find((column) => column.name === name)?.values[0];
          return value === undefined || value === null ? undefined : String(value);
        },
        header: () => undefined,
        parameter: () => undefined,
      },
      new Float64Array(context.dim),
    );
}
