import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { epsilonGreedy, gaussianPosterior, thompsonBeta, thompsonGaussian, ucb1, ucb1Scores } from './context-free.ts';
import { contextualScratch, linThompson, linUcb } from './contextual.ts';
import { draw, restrict, withFloor } from './distribution.ts';
import { hashFeatures } from './features.ts';
import { invert, rankOneUpdate } from './linear.ts';
import { learn, linearArm, onlineLinearArm } from './linear-arm.ts';
import { loadPolicy, makeSnapshot, policyPmf } from './snapshot.ts';
import {
  type ArmSums,
  addReward,
  addSums,
  type EpochSums,
  fold,
  keepPerEpoch,
  noEpoch,
  noSums,
  replacedVersion,
} from './statistics.ts';

function near(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-12): void {
  assert.equal(actual.length, expected.length);
  for (let i = 0; i < expected.length; i++) {
    assert.ok(
      Math.abs(actual[i] - expected[i]) <= tolerance,
      `[${Array.from(actual)}] is not [${Array.from(expected)}]`,
    );
  }
}

const arm = (count: number, sum: number): ArmSums => ({ count, sum, sumSquares: sum });

const distribution = fc
  .array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 8 })
  .filter((list) => list.reduce((a, b) => a + b, 0) > 1e-6)
  .map((list) => {
    const total = list.reduce((a, b) => a + b, 0);
    return Float64Array.from(list, (p) => p / total);
  });

test('the floor is a projection', () => {
  near(withFloor(Float64Array.of(0.9, 0.1, 0), 0.1), [0.8, 0.1, 0.1]);
  near(withFloor(Float64Array.of(1, 0), 0.7), [0.5, 0.5]);
  fc.assert(
    fc.property(distribution, fc.double({ min: 0, max: 0.125, noNaN: true }), (pmf, least) => {
      const before = Float64Array.from(pmf);
      const after = withFloor(pmf, least);
      near([after.reduce((a, b) => a + b, 0)], [1], 1e-9);
      for (const p of after) assert.ok(p >= least - 1e-12);
      // max(p − τ, least) for one τ.
      const tau = before.map((p, k) => p - after[k]).filter((_, k) => after[k] > least + 1e-9);
      for (const t of tau) assert.ok(Math.abs(t - tau[0]) < 1e-9);
    }),
  );
});

test('draws and restrictions keep to the distribution', () => {
  fc.assert(
    fc.property(
      distribution,
      fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
      fc.nat(255),
      (pmf, u, mask) => {
        assert.ok(pmf[draw(pmf, u)] > 0);
        const out = new Float64Array(pmf.length);
        if (!restrict(pmf, (k) => (mask & (1 << k)) !== 0, out)) return;
        near([out.reduce((a, b) => a + b, 0)], [1], 1e-9);
        assert.ok(mask & (1 << draw(out, u)));
      },
    ),
  );
});

test('context-free policies', () => {
  near(epsilonGreedy([arm(10, 1), arm(10, 5), arm(10, 5)], 0.3), [0.1, 0.45, 0.45]);
  near(epsilonGreedy([arm(10, 1), arm(0, 0)], 0.3), [0.15, 0.85]);
  near(ucb1([arm(0, 0), arm(5, 5), arm(0, 0)], 1), [0.5, 0, 0.5]);
  near(ucb1Scores([arm(20, 10), arm(5, 2)], 1), [
    0.5 + Math.sqrt((2 * Math.log(25)) / 20),
    0.4 + Math.sqrt((2 * Math.log(25)) / 5),
  ]);
  near(thompsonBeta([arm(100, 10), arm(100, 15)]), [1 - 0.85328379, 0.85328379], 5e-9);
  near(thompsonBeta([arm(0, 0), arm(0, 0)]), [0.5, 0.5], 1e-9);
  const known = thompsonGaussian(
    [
      { count: 1000, sum: 100, sumSquares: 100 },
      { count: 1000, sum: 150, sumSquares: 150 },
    ],
    [0, 1],
  );
  assert.ok(known[1] > 0.99 && known[1] < 1);
  const first = gaussianPosterior(noSums(), [-3, 3]);
  near([first.mean, first.deviation], [0, Math.sqrt(3)]);
  near(thompsonGaussian([arm(0, 0), arm(0, 0), arm(0, 0)], [0, 1]), [1 / 3, 1 / 3, 1 / 3], 1e-9);
});

test('rank-one updates follow Sherman and Morrison, and stay at the exact inverse', () => {
  const identity = Float64Array.of(1, 0, 0, 1);
  rankOneUpdate(identity, [1, 2], new Float64Array(2));
  near(identity, [5 / 6, -1 / 3, -1 / 3, 1 / 3], 1e-15);
  const dim = 8;
  const online = onlineLinearArm(dim, 0.5);
  const sums = noSums(dim);
  const scratch = new Float64Array(dim);
  for (let i = 0; i < 2500; i++) {
    const x = Float64Array.from({ length: dim }, (_, j) => Math.sin(i * (j + 1)) * 3);
    const reward = Math.cos(i);
    learn(online, x, reward, scratch);
    addReward(sums, reward, x);
  }
  const exact = linearArm(sums, dim, 0.5);
  near(online.inverse, exact.inverse, 1e-12);
  near(online.theta, exact.theta, 1e-10);
  assert.equal(invert([1, 2, 2, 1], 2), undefined);
});

test('LinUCB scores, and linear Thompson is a true distribution', () => {
  const arms = [
    { inverse: Float64Array.of(1, 0, 0, 1), theta: Float64Array.of(0.5, 0) },
    { inverse: Float64Array.of(4, 0, 0, 1), theta: Float64Array.of(0.1, 0) },
    { inverse: Float64Array.of(0.01, 0, 0, 1), theta: Float64Array.of(0.4, 0) },
  ];
  const x = Float64Array.of(1, 0);
  const scratch = contextualScratch(3, 2);
  near(linUcb(arms, x, 1, scratch, new Float64Array(3)), [0, 1, 0]);
  near(linUcb(arms, x, 0.1, scratch, new Float64Array(3)), [1, 0, 0]);
  const two = linThompson(arms.slice(0, 2), x, 1, contextualScratch(2, 2), new Float64Array(2));
  near(two, [0.5709399, 0.4290601], 2e-4);
  const three = linThompson(arms, x, 1, scratch, new Float64Array(3));
  near([three.reduce((a, b) => a + b, 0)], [1]);
  const certain = linThompson(arms, x, 1e-9, scratch, new Float64Array(3));
  near(certain, [1, 0, 0], 1e-9);
});

test('nodes add up in any order, and folding discounts by age', () => {
  const rewards = fc.array(
    fc.record({
      node: fc.nat(2),
      epoch: fc.nat(3),
      arm: fc.nat(1),
      reward: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  );
  fc.assert(
    fc.property(rewards, (list) => {
      const nodes = [0, 1, 2].map(() => new Map<number, EpochSums>());
      const keep = 0.5;
      const expected = [0, 0];
      for (const { node, epoch, arm, reward } of list) {
        const sums = nodes[node].get(epoch) ?? noEpoch(epoch, 2);
        nodes[node].set(epoch, sums);
        addReward(sums.arms[arm], reward);
        expected[arm] += reward * keep ** (3 - epoch);
      }
      const all = nodes.map((epochs, i) => ({ node: `${i}`, closed: i + 1, epochs: [...epochs.values()] }));
      const start = { epoch: 0, arms: noEpoch(0, 2).arms, folded: {} };
      const once = fold(start, all, 4, keep, () => 4);
      near(
        once.arms.map(({ sum }) => sum),
        expected,
        1e-9,
      );
      // Some nodes' sums of the first epochs arrive after those of others were folded.
      const early = fold(start, [...all].reverse().slice(1), 2, keep, ({ closed }) => closed);
      const half = fold(early, all, 4, keep, () => 4);
      near(
        half.arms.map(({ sum }) => sum),
        expected,
        1e-9,
      );
    }),
  );
  assert.equal(keepPerEpoch(3_600_000, 7_200_000), Math.SQRT1_2);
  const others = [{ node: 'a', closed: 1, epochs: [noEpoch(0, 2)] }];
  const three = { epoch: 0, arms: noEpoch(0, 3).arms, folded: {} };
  assert.deepEqual(
    fold(three, others, 1, 1, () => 1).arms,
    three.arms,
    'sums of two arms are not of a bandit with three',
  );
  assert.equal(keepPerEpoch(1, undefined), 1);
});

test('a replaced version keeps its mean and becomes less certain', () => {
  const old = arm(10_000, 2500);
  const fresh = replacedVersion(old, 100);
  near([fresh.count, fresh.sum / fresh.count], [100, 0.25]);
  assert.equal(replacedVersion(arm(50, 10), 100).count, 50);
  const before = gaussianPosterior(old, [0, 1]);
  const after = gaussianPosterior(fresh, [0, 1]);
  assert.ok(after.deviation > 5 * before.deviation && Math.abs(after.mean - before.mean) < 0.01);
});

test('snapshots survive JSON and decide the same', () => {
  const spec = {
    policy: 'linThompson' as const,
    arms: ['a', 'b'],
    context: { inputs: ['x'], headers: [], parameters: [], dim: 3 },
    epsilon: 0.1,
    exploration: 0.5,
    regularisation: 1,
    floor: 0.05,
    reward: { range: [0, 1] as [number, number] },
  };
  const sums = noEpoch(0, 2, 3);
  for (let i = 0; i < 30; i++) addReward(sums.arms[i % 2], (i * 7) % 3, Float64Array.of(1, i % 4, i % 5));
  const merged = sums.arms.map((one) => addSums(noSums(3), JSON.parse(JSON.stringify(one)) as ArmSums));
  const made = makeSnapshot(spec, merged, 3, 1000);
  const x = Float64Array.of(1, 2, 3);
  const direct = Array.from(policyPmf(loadPolicy(made), x));
  near(policyPmf(loadPolicy(JSON.parse(JSON.stringify(made))), x), direct);
  assert.ok(Math.min(...direct) >= 0.05 - 1e-12);
});

test('features: a number by its size, a text by its value, absence by nothing', () => {
  const context = { inputs: ['age', 'locale'], headers: ['x-h'], parameters: ['p'], dim: 64 };
  const view = (values: Record<string, string>) => ({
    model: '',
    path: '',
    tenant: '',
    header: (name: string) => values[name],
    parameter: (name: string) => values[name],
    input: (name: string) => values[name],
  });
  const x = (values: Record<string, string>) => Array.from(hashFeatures(context, view(values), new Float64Array(64)));
  assert.deepEqual(x({}), [1, ...new Array<number>(63).fill(0)]);
  const [young, old] = [x({ age: '3' }), x({ age: '-20' })];
  const place = young.findIndex((value, i) => i > 0 && value !== 0);
  near([Math.abs(young[place]), Math.abs(old[place])], [Math.log1p(3), Math.log1p(20)]);
  assert.ok(Math.sign(young[place]) !== Math.sign(old[place]));
  assert.notDeepEqual(x({ locale: 'de' }), x({ locale: 'fr' }));
  assert.deepEqual(x({ locale: 'de' }), x({ locale: 'de' }));
  assert.ok(x({ age: '1e308', locale: 'NaN', 'x-h': 'Infinity' }).every(Number.isFinite));
});
