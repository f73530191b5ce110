import { z } from 'zod';
import { METRIC_DIRECTIONS } from '../evaluation/metrics.ts';
import type { EvaluationResult } from '../evaluation/result.ts';

const OPERATORS = ['>', '>=', '<', '<=', '==', '!='] as const;

/** One condition. A gate is a list of them, and all must hold. */
export const gateRuleSchema = z
  .strictObject({
    metric: z.string().min(1),
    op: z.enum(OPERATORS, `one of ${OPERATORS.join(' ')}`).optional(),
    value: z.number().optional(),
    vs: z
      .literal('champion')
      .optional()
      .describe('Compare with the version that the alias champion names, on the same dataset'),
    minDelta: z.number().min(0).optional().describe('With vs: it must be better by so much'),
    maxRegression: z.number().min(0).optional().describe('With vs: it may be worse by so much'),
    slice: z.string().optional().describe('Judge only the samples of this slice'),
    minSamples: z.number().int().min(1).default(1).describe('With fewer samples the gate holds: nobody can tell'),
  })
  .superRefine((rule, context) => {
    const report = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    if (rule.vs === undefined) {
      if (rule.op === undefined || rule.value === undefined)
        report(rule.op === undefined ? 'op' : 'value', 'missing: give op and value, or vs: champion');
      for (const field of ['minDelta', 'maxRegression'] as const)
        if (rule[field] !== undefined) report(field, 'only together with vs: champion');
      return;
    }
    for (const field of ['op', 'value'] as const)
      if (rule[field] !== undefined) report(field, 'not together with vs: give minDelta or maxRegression');
    if (rule.minDelta !== undefined && rule.maxRegression !== undefined)
      report('maxRegression', 'not together with minDelta: better by so much, or worse by at most so much');
    if (!Object.hasOwn(METRIC_DIRECTIONS, rule.metric))
      report(
        'metric',
        `only of ${Object.keys(METRIC_DIRECTIONS).join(', ')} is known which is better; give op and value for others`,
      );
  });

export const gateRulesSchema = z.array(gateRuleSchema).min(1).max(100);
export type GateRule = z.infer<typeof gateRuleSchema>;

export type Outcome = 'pass' | 'hold' | 'fail';

export interface RuleVerdict {
  rule: GateRule;
  outcome: Outcome;
  /** For people: "accuracy 0.972 >= 0.95". */
  reason: string;
  /** Of the version judged; null: there is none. */
  value: number | null;
  /** Of the champion, with vs. */
  champion: number | null;
  samples: number;
}

export interface GateVerdict {
  outcome: Outcome;
  rules: RuleVerdict[];
}

/** The champion's evaluation on the same dataset; 'none': there is no champion; 'missing': it was not evaluated there. */
export type ChampionEvaluation = { version: string; result: EvaluationResult } | 'none' | 'missing';

/**
 * Judges an evaluation. One rule that fails makes the gate fail; else one that cannot be told makes it hold. Without any
 * champion yet, comparisons with it pass: the first version has nothing to be better than.
 */
export function judge(rules: readonly GateRule[], result: EvaluationResult, champion: ChampionEvaluation): GateVerdict {
  const verdicts = rules.map((rule) => judgeRule(rule, result, champion));
  const outcome = verdicts.some((verdict) => verdict.outcome === 'fail')
    ? 'fail'
    : verdicts.some((verdict) => verdict.outcome === 'hold')
      ? 'hold'
      : 'pass';
  return { outcome, rules: verdicts };
}

interface Figure {
  value: number | undefined;
  samples: number;
}

function judgeRule(rule: GateRule, result: EvaluationResult, champion: ChampionEvaluation): RuleVerdict {
  const own = figureOf(result, rule);
  const name = rule.slice === undefined ? rule.metric : `${rule.metric} on ${rule.slice}`;
  const verdict = (outcome: Outcome, reason: string, theirs: number | null = null): RuleVerdict => ({
    rule,
    outcome,
    reason,
    value: own?.value ?? null,
    champion: theirs,
    samples: own?.samples ?? 0,
  });
  if (own === undefined) {
    const known = result.slices.map((slice) => slice.name);
    return verdict('hold', `${name}: there is no such slice; the evaluation has ${known.join(', ') || 'none'}`);
  }
  if (own.samples < rule.minSamples)
    return verdict('hold', `${name}: ${own.samples} samples are too few, ${rule.minSamples} are needed`);
  if (own.value === undefined) {
    const known = Object.keys(result.metrics).join(', ');
    return verdict('hold', `${name}: the evaluation has no such metric; it has ${known}`);
  }
  if (rule.vs === undefined) return byThreshold(rule, name, own.value, verdict);
  if (champion === 'none') return verdict('pass', `${name} ${shown(own.value)}: there is no champion to compare with`);
  if (champion === 'missing')
    return verdict(
      'hold',
      `${name}: the champion was not evaluated on this dataset; let the evaluate step do it with against: [champion]`,
    );
  const theirs = figureOf(champion.result, rule)?.value;
  if (theirs === undefined)
    return verdict('hold', `${name}: the champion, version ${champion.version}, has no such figure`);
  return againstChampion(rule, name, own.value, theirs, champion.version, verdict);
}

type Verdict = (outcome: Outcome, reason: string, theirs?: number | null) => RuleVerdict;

function byThreshold({ op, value }: GateRule, name: string, own: number, verdict: Verdict): RuleVerdict {
  const limit = value as number;
  const holds = {
    '>': own > limit,
    '>=': own >= limit,
    '<': own < limit,
    '<=': own <= limit,
    '==': own === limit,
    '!=': own !== limit,
  }[op as (typeof OPERATORS)[number]];
  return verdict(holds ? 'pass' : 'fail', `${name} is ${shown(own)}, must be ${op} ${limit}`);
}

function againstChampion(
  { metric, minDelta, maxRegression = 0 }: GateRule,
  name: string,
  own: number,
  theirs: number,
  version: string,
  verdict: Verdict,
): RuleVerdict {
  const better = METRIC_DIRECTIONS[metric] === 'lower' ? theirs - own : own - theirs;
  const wanted = minDelta ?? -maxRegression;
  // A difference of decimals may miss a limit by a rounding error.
  const holds = better >= wanted - 1e-12;
  const must =
    minDelta === undefined ? `may be worse by at most ${maxRegression}` : `must be better by at least ${minDelta}`;
  const words = `${name} is ${shown(own)}, ${shown(theirs)} of the champion (version ${version}); it ${must}`;
  return verdict(holds ? 'pass' : 'fail', words, theirs);
}

function figureOf(result: EvaluationResult, { metric, slice }: GateRule): Figure | undefined {
  const part = slice === undefined ? result : result.slices.find(({ name }) => name === slice);
  if (part === undefined) return undefined;
  return { value: Object.hasOwn(part.metrics, metric) ? part.metrics[metric] : undefined, samples: part.samples };
}

function shown(value: number): string {
  return String(Number(value.toPrecision(6)));
}
