/**
 * Answers the oracles of drift: reads a JSON list of [function, ...arguments] from stdin and prints the list of results.
 * Run with: node --import tsx .ci/oracles/drift/answer.mjs
 */
import { readFileSync } from 'node:fs';
import { bandOf } from '../../../src/monitoring/statistics/chunks.ts';
import { jensenShannon, lInfinity, psi } from '../../../src/monitoring/statistics/distances.ts';
import { effectInterval } from '../../../src/monitoring/statistics/interval.ts';
import { KllSketch } from '../../../src/monitoring/statistics/kll.ts';
import {
  kolmogorovSmirnov,
  normedWasserstein,
  sampleOf,
  wasserstein,
} from '../../../src/monitoring/statistics/samples.ts';
import { chiSquareTwoSample, kolmogorovTail, proportionTest } from '../../../src/monitoring/statistics/tests.ts';

function ks(a, b) {
  const d = kolmogorovSmirnov(sampleOf(a), sampleOf(b));
  return [d, kolmogorovTail(d, a.length, b.length)];
}

/** A sketch of each part, merged; with what it says of two samples. */
function sketchOf(values, parts) {
  const whole = new KllSketch(200, 1);
  for (let part = 0; part < parts; part++) {
    const sketch = new KllSketch(200, part + 2);
    for (let i = part; i < values.length; i += parts) sketch.add(values[i]);
    whole.merge(sketch.state());
  }
  return whole;
}

const functions = {
  psi, jensenShannon, lInfinity, chiSquareTwoSample, proportionTest, kolmogorovTail, bandOf, ks,
  wasserstein: (a, b) => wasserstein(sampleOf(a), sampleOf(b)),
  normedWasserstein: (a, b) => normedWasserstein(sampleOf(a), sampleOf(b)),
  psiInterval: (a, b) => effectInterval(psi, a, b, { root: true, chance: false }, { draws: 4000 }),
  jsInterval: (a, b) => effectInterval(jensenShannon, a, b, { root: false, chance: false }, { draws: 4000 }),
  sketch: (values, parts) => {
    const sketch = sketchOf(values, parts);
    const { values: kept, weights } = sketch.sample();
    return { n: sketch.n, values: Array.from(kept), weights: Array.from(weights) };
  },
  sketched: (a, b, parts) => {
    const [left, right] = [sketchOf(a, parts).sample(), sketchOf(b, parts).sample()];
    return { ks: kolmogorovSmirnov(left, right), wasserstein: normedWasserstein(left, right) };
  },
};

const answers = JSON.parse(readFileSync(0, 'utf8')).map(([name, ...args]) => functions[name](...args));
process.stdout.write(JSON.stringify(answers));
