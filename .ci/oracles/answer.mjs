/**
 * Answers the oracles: reads a JSON list of [function, ...arguments] from stdin and prints the list of results.
 * Run with: node --import tsx .ci/oracles/answer.mjs
 */
import { readFileSync } from 'node:fs';
import { evaluate } from '../../src/experiments/ope/estimators.ts';
import { asymptoticHalfWidth, asymptoticRho } from '../../src/experiments/statistics/asymptotic.ts';
import { betaBest, gaussianBest } from '../../src/experiments/statistics/best-arm.ts';
import { bernoulliInterval } from '../../src/experiments/statistics/bernoulli.ts';
import { addToCluster, clusteredVariance, noClusters } from '../../src/experiments/statistics/clusters.ts';
import { betaCdf, gammaLower, logBeta, logGamma } from '../../src/experiments/statistics/gamma.ts';
import { mannWhitney } from '../../loadtest/experiments/mann-whitney.ts';
import { logMsprt, msprtHalfWidth } from '../../src/experiments/statistics/msprt.ts';
import { normalCdf, normalQuantile } from '../../src/experiments/statistics/normal.ts';
import { sampleRatioTest } from '../../src/experiments/statistics/sample-ratio.ts';
import { epsilonGreedy, ucb1Scores } from '../../src/routing/policies/context-free.ts';
import { learn, linearArm, onlineLinearArm } from '../../src/routing/policies/linear-arm.ts';
import { multiply } from '../../src/routing/policies/linear.ts';
import { addReward, noSums } from '../../src/routing/policies/statistics.ts';

/** Scores of LinUCB after the given observations; both by summed statistics and by rank-one updates. */
function linUcbScores(observations, queries, arms, dim, regularisation, alpha) {
  const sums = Array.from({ length: arms }, () => noSums(dim));
  const online = Array.from({ length: arms }, () => onlineLinearArm(dim, regularisation));
  const scratch = new Float64Array(dim);
  for (const [arm, reward, x] of observations) {
    addReward(sums[arm], reward, x);
    learn(online[arm], x, reward, scratch);
  }
  const score = ({ inverse, theta }, x) => {
    const form = multiply(inverse, Float64Array.from(x), scratch);
    return x.reduce((sum, value, i) => sum + value * theta[i], 0) + alpha * Math.sqrt(form);
  };
  const fitted = sums.map((one) => linearArm(one, dim, regularisation));
  return queries.map((x) => ({ summed: fitted.map((arm) => score(arm, x)), online: online.map((arm) => score(arm, x)) }));
}

function uniformPolicy(actions, propensities, rewards, items) {
  const target = new Array(items).fill(1 / items);
  return evaluate(actions.map((action, i) => ({ action, propensity: propensities[i], reward: rewards[i], target })));
}

/** A policy that is given per decision, with predicted rewards of every arm. */
function doublyRobust(actions, propensities, rewards, targets, predicted, sampleWeights) {
  const log = actions.map((action, i) => ({
    action, propensity: propensities[i], reward: rewards[i], target: targets[i],
    ...(sampleWeights === null ? {} : { sampleWeight: sampleWeights[i] }),
  }));
  return evaluate(log, { predict: (i) => predicted[i] });
}

const functions = {
  logGamma, logBeta, betaCdf, gammaLower, normalCdf, normalQuantile, mannWhitney, sampleRatioTest, bernoulliInterval,
  betaBest: (arms) => Array.from(betaBest(arms)),
  gaussianBest: (arms) => Array.from(gaussianBest(arms)),
  epsilonGreedy: (arms, epsilon) => Array.from(epsilonGreedy(arms, epsilon)),
  ucb1Scores, linUcbScores, uniformPolicy, doublyRobust, asymptoticRho, asymptoticHalfWidth, logMsprt, msprtHalfWidth,
  clusteredVariance: (values, buckets) => {
    const clusters = noClusters();
    values.forEach((value, i) => addToCluster(clusters, buckets[i], value));
    return clusteredVariance(clusters);
  },
};

const answers = JSON.parse(readFileSync(0, 'utf8')).map(([name, ...args]) => functions[name](...args));
process.stdout.write(JSON.stringify(answers));
