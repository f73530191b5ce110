import type { z } from 'zod';
import { parseCondition } from './condition.ts';
import type { Metric, RouteSpec } from './route-schema.ts';
import type { BanditSpec, CanarySpec, RewardSpec } from './strategy-schema.ts';

type Report = (path: PropertyKey[], message: string) => void;

/** What the parts of one route must be to one another. Templates and models are checked by the loader. */
export function checkRoute(spec: RouteSpec, context: z.RefinementCtx): void {
  const report: Report = (path, message) => context.addIssue({ code: 'custom', path, message });
  const variants = Object.keys(spec.variants);
  const known = (name: string, path: PropertyKey[]) => {
    if (variants.includes(name)) return;
    report(path, `no variant is called ${JSON.stringify(name)}; there are ${variants.join(', ')}`);
  };
  const given = Object.keys(spec.strategy);
  if (given.length !== 1) {
    const path = given.length === 0 ? ['strategy'] : ['strategy', given[1]];
    report(
      path,
      `a route has exactly one strategy of weighted, canary, experiment, bandit; it has ${given.length === 0 ? 'none' : given.join(' and ')}`,
    );
    return;
  }
  const { weighted, canary, experiment, bandit } = spec.strategy;
  if (weighted) checkWeights(weighted, ['strategy', 'weighted'], known, report);
  if (canary) checkCanary(canary, spec, known, report);
  if (experiment) {
    checkWeights(experiment.split, ['strategy', 'experiment', 'split'], known, report);
    const arms = Object.keys(experiment.split);
    for (const [arm, weight] of Object.entries(experiment.split)) {
      if (weight === 0)
        report(
          ['strategy', 'experiment', 'split', arm],
          'an arm of weight 0 gets nothing that could be compared; give it a weight, or leave it out',
        );
    }
    checkReward(experiment.reward, ['strategy', 'experiment', 'reward'], report);
    experiment.guardrails.forEach(({ metric, nonInferiority }, i) => {
      const path = ['strategy', 'experiment', 'guardrails', i, 'nonInferiority'];
      if (metric === 'errors') checkShare(nonInferiority, path, report);
    });
    if (arms.length < 2) report(['strategy', 'experiment', 'split'], 'an experiment compares at least two variants');
    if (experiment.control !== undefined && !arms.includes(experiment.control)) {
      report(['strategy', 'experiment', 'control'], `must be one of the split: ${arms.join(', ')}`);
    }
  }
  if (bandit) checkBandit(bandit, known, report);
  spec.overrides.forEach(({ variant, analysed: _, units, ...fields }, i) => {
    known(variant, ['overrides', i, 'variant']);
    if (units === undefined && Object.keys(fields).length === 0) {
      report(['overrides', i], 'would send everything to one variant; say what it matches');
    }
  });
  if (spec.shadow) known(spec.shadow.variant, ['shadow', 'variant']);
  spec.fallback.order.forEach((name, i) => {
    known(name, ['fallback', 'order', i]);
    if (spec.fallback.order.indexOf(name) !== i) report(['fallback', 'order', i], `names ${name} twice`);
  });
  checkFallbackChains(spec, known, report);
}

function checkWeights(
  weights: Record<string, number>,
  path: PropertyKey[],
  known: (name: string, path: PropertyKey[]) => void,
  report: Report,
): void {
  for (const name of Object.keys(weights)) known(name, [...path, name]);
  const total = Object.values(weights).reduce((sum, weight) => sum + weight, 0);
  if (Math.abs(total - 100) > 1e-6) report(path, `the weights add up to ${total}; they must add up to 100`);
}

/** A chain of variants' own fallbacks must end. */
function checkFallbackChains(
  spec: RouteSpec,
  known: (name: string, path: PropertyKey[]) => void,
  report: Report,
): void {
  const reported = new Set<string>();
  for (const [start, variant] of Object.entries(spec.variants)) {
    if (variant.fallback !== undefined) known(variant.fallback, ['variants', start, 'fallback']);
    const chain = [start];
    for (let next = variant.fallback; next !== undefined; next = spec.variants[next]?.fallback) {
      const closes = chain.indexOf(next);
      chain.push(next);
      if (closes < 0) continue;
      const cycle = chain.slice(closes);
      const key = [...new Set(cycle)].sort().join();
      if (closes === 0 && !reported.has(key))
        report(['variants', start, 'fallback'], `the fallbacks go in a circle: ${cycle.join(' → ')}`);
      reported.add(key);
      break;
    }
  }
}

function checkCanary(
  canary: CanarySpec,
  spec: RouteSpec,
  known: (name: string, path: PropertyKey[]) => void,
  report: Report,
): void {
  const at = (...path: PropertyKey[]) => ['strategy', 'canary', ...path];
  known(canary.stable, at('stable'));
  known(canary.candidate, at('candidate'));
  if (canary.stable === canary.candidate) report(at('candidate'), 'is the same variant as stable');
  let served = false;
  canary.steps.forEach((step, i) => {
    if (step.setMirror && spec.shadow !== undefined && spec.shadow.variant !== canary.candidate) {
      report(
        at('steps', i, 'setMirror'),
        `mirrors to the candidate ${canary.candidate}, and shadow to ${spec.shadow.variant}; a route has one shadow: leave one of them out, or shadow the candidate`,
      );
    }
    if (step.analysis && step.analysis.timeout === undefined)
      checkInconclusive(canary, at('steps', i, 'analysis'), report);
    if (step.setWeight !== undefined && step.setWeight > 0) served = true;
    if (step.setMirror && step.setMirror.percent > 0) served = true;
    if (step.analysis && !served) {
      report(
        at('steps', i, 'analysis'),
        'nothing reaches the candidate before this step: put a setWeight or setMirror above 0 before it',
      );
    }
  });
  if (!served) report(at('steps'), 'no step sends anything to the candidate; add a setWeight or setMirror above 0');
  checkDeadline(canary, report);
  const alias = canary.onPass.setAlias;
  if (alias === undefined) return;
  const stable = spec.variants[canary.stable];
  const candidate = spec.variants[canary.candidate];
  if (stable && candidate && stable.model !== candidate.model) {
    report(
      at('onPass', 'setAlias'),
      `an alias names a version of one model, but stable is of ${stable.model} and the candidate of ${candidate.model}`,
    );
  }
  if (candidate?.alias === alias) report(at('onPass', 'setAlias'), `the candidate follows ${alias} already`);
  // The candidate's traffic goes back to stable at the end.
  if (stable && stable.alias !== alias) {
    const follows =
      stable.alias === undefined ? `version ${stable.version ?? '(the newest)'}` : `alias ${stable.alias}`;
    report(
      at('onPass', 'setAlias'),
      `the end would give all traffic back to stable, which stays ${follows}; let ${canary.stable} follow alias: ${alias}, or leave setAlias out`,
    );
  }
}

/** A rollout that waits longer than it may take is always rolled back. */
function checkDeadline({ deadline, steps }: CanarySpec, report: Report): void {
  if (deadline === undefined) return;
  const paused = steps.reduce((sum, { pause }) => sum + (pause?.duration ?? 0), 0);
  if (deadline > paused) return;
  report(
    ['strategy', 'canary', 'deadline'],
    `the pauses alone last ${paused / 1000} s, so a rollout never ends within ${deadline / 1000} s; allow more, or pause less`,
  );
}

function checkReward({ range: [low, high], default: fallback }: RewardSpec, path: PropertyKey[], report: Report): void {
  if (!(low < high)) report([...path, 'range'], 'must be [least, greatest]');
  else if (fallback < low || fallback > high) report([...path, 'default'], `lies outside ${low} to ${high}`);
}

/** Without a timeout an analysis waits for its verdict, and no end is inconclusive. */
function checkInconclusive({ onInconclusive, deadline }: CanarySpec, path: PropertyKey[], report: Report): void {
  if (onInconclusive === 'hold' || (onInconclusive === 'fail' && deadline !== undefined)) return;
  report(
    path,
    `onInconclusive: ${onInconclusive} never comes about while an analysis waits for its verdict without end; give it a timeout${onInconclusive === 'fail' ? ', or the canary a deadline' : ''}`,
  );
}

const CONTEXTUAL = ['linUCB', 'linThompson'];

function checkBandit(bandit: BanditSpec, known: (name: string, path: PropertyKey[]) => void, report: Report): void {
  const at = (...path: PropertyKey[]) => ['strategy', 'bandit', ...path];
  bandit.arms.forEach((arm, i) => {
    known(arm, at('arms', i));
    if (bandit.arms.indexOf(arm) !== i) report(at('arms', i), `names ${arm} twice`);
  });
  if (bandit.default !== undefined && !bandit.arms.includes(bandit.default)) {
    report(at('default'), `must be one of the arms: ${bandit.arms.join(', ')}`);
  }
  if (bandit.floor * bandit.arms.length > 1) {
    report(
      at('floor'),
      `${bandit.arms.length} arms of at least ${bandit.floor} are more than 1; at most ${1 / bandit.arms.length}`,
    );
  }
  const contextual = CONTEXTUAL.includes(bandit.policy);
  const { context, reward } = bandit;
  if (contextual && context === undefined) report(at('policy'), `${bandit.policy} needs a context`);
  if (context && context.inputs.length + context.headers.length + context.parameters.length === 0) {
    report(at('context'), 'name the inputs, headers or parameters it consists of');
  }
  const [low, high] = reward.range;
  checkReward(reward, at('reward'), report);
  if (bandit.policy === 'thompsonBeta' && (low < 0 || high > 1)) {
    report(at('reward', 'range'), 'thompsonBeta takes rewards from 0 to 1; use thompsonGaussian for others');
  }
}

/** Rates never differ by 100 % or more: such a margin lets everything pass. */
function checkShare(margin: number, path: PropertyKey[], report: Report): void {
  if (margin < 1) return;
  report(
    path,
    `is ${margin * 100}%, and two rates never differ by more than 100%, so everything would pass; must be below 100%: if ${margin} percent is meant, write "${margin}%"`,
  );
}

/** Which settings go with which kind of metric, and whether it can ever be decided. */
export function checkMetric(metric: Metric, context: z.RefinementCtx): void {
  const report: Report = (path, message) => context.addIssue({ code: 'custom', path, message });
  if ((metric.test === undefined) === (metric.prometheus === undefined)) {
    report([], 'give exactly one of test and prometheus');
    return;
  }
  if (metric.prometheus) {
    if (metric.successCondition === undefined) {
      report([], 'prometheus needs a successCondition, such as "result >= 0.95"');
      return;
    }
    try {
      parseCondition(metric.successCondition);
    } catch (error) {
      report(['successCondition'], (error as Error).message);
    }
    return;
  }
  if (metric.successCondition !== undefined) report(['successCondition'], 'goes with prometheus');
  if (metric.margin === undefined) report([], `${metric.test} needs a margin`);
  else if (metric.margin <= 0)
    report(['margin'], 'no amount of data shows that there is no difference at all; allow a margin above 0');
  else if (metric.test !== 'latencyQuantile') checkShare(metric.margin, ['margin'], report);
  if (metric.test !== 'latencyQuantile') {
    if (metric.quantile !== undefined) report(['quantile'], 'goes with latencyQuantile');
    return;
  }
  if (metric.quantile === undefined) {
    report([], 'latencyQuantile needs a quantile, such as 0.99');
    return;
  }
  const least = Math.ceil(10 / Math.min(metric.quantile, 1 - metric.quantile));
  if (metric.minRequests < least) {
    report(
      ['minRequests'],
      `${metric.minRequests} requests cannot show a ${metric.quantile} quantile; at least ${least}`,
    );
  }
}
