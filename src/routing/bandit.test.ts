import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chiSquareTail } from '../experiments/statistics/gamma.ts';
import { around, compile, request, route } from '../testing/routing.ts';
import { seeded } from '../testing/seeded.ts';
import { type Decision, decide, newDecision } from './decide.ts';
import { initialState } from './live-route.ts';
import { makeSnapshot } from './policies/snapshot.ts';
import { addReward, noEpoch } from './policies/statistics.ts';
import { applyState } from './route-table.ts';

const BANDIT = (extra: string) =>
  route(
    'ranker',
    `variants: {a: {model: m}, b: {model: m}, c: {model: m}}\nstrategy:\n  bandit: {arms: [c, a, b], ${extra}}`,
  );

test('the logged propensity is that of the draw, also with an arm ejected', () => {
  const table = compile(BANDIT('policy: thompsonBeta, floor: 0.1'));
  const ranker = table.routes.get('ranker')!;
  const sums = noEpoch(0, 3);
  for (let i = 0; i < 40; i++) for (let k = 0; k < 3; k++) addReward(sums.arms[k], i % (k + 2) === 0 ? 1 : 0);
  const policy = makeSnapshot(ranker.bandit!, sums.arms, 7, 0);
  applyState(ranker, { ...initialState(ranker.spec), policy });
  const out: Decision = newDecision();
  const random = seeded(5);
  for (const ejected of [-1, 0]) {
    if (ejected >= 0) for (let i = 0; i < 5; i++) ranker.health.outliers[ejected].ejectedUntil = 1e9;
    ranker.health.calm = ejected < 0;
    const counts = [0, 0, 0];
    const total = 20_000;
    for (let i = 0; i < total; i++) {
      decide(table, request({}), around(random), out);
      counts[out.served]++;
      assert.equal(out.detour, '');
    }
    assert.equal(out.snapshotVersion, 7);
    let chiSquare = 0;
    let sum = 0;
    out.pmf.forEach((p, k) => {
      sum += p;
      if (p === 0) assert.equal(counts[k], 0);
      else {
        assert.ok(p >= 0.1 - 1e-12);
        chiSquare += (counts[k] - total * p) ** 2 / (total * p);
      }
    });
    assert.ok(Math.abs(sum - 1) < 1e-12);
    assert.ok(chiSquareTail(chiSquare, 2) > 1e-3, `${chiSquare}`);
  }
});

test('without a snapshot, with a stale one, and as an apprentice, the default is served', () => {
  const table = compile(BANDIT('policy: epsilonGreedy, default: b, mode: apprentice, refresh: 10s'));
  const ranker = table.routes.get('ranker')!;
  const out = newDecision();
  const clock = { now: 0, steadyClock: 0 };
  const decided = () => {
    decide(table, request({}), around(seeded(1), clock), out);
    return [out.served, out.detour, Array.from(out.pmf)];
  };
  assert.deepEqual(decided(), [1, 'noSnapshot', [0, 1, 0]]);
  const sums = noEpoch(0, 3);
  addReward(sums.arms[0], 1);
  addReward(sums.arms[1], 0);
  addReward(sums.arms[2], 0);
  applyState(ranker, { ...initialState(ranker.spec), policy: makeSnapshot(ranker.bandit!, sums.arms, 1, 0) });
  assert.deepEqual(decided(), [1, 'apprentice', [0, 1, 0]]);
  assert.ok(Math.abs(out.proposedPmf[2] - (0.9 + 0.1 / 3)) < 1e-12);
  assert.ok(out.proposed >= 0);
  clock.steadyClock = 100_001;
  assert.deepEqual(decided(), [1, 'staleSnapshot', [0, 1, 0]]);
});

test('a bandit draws for each request; its unit is on record, and without one onMissing holds', () => {
  const spec = (onMissing: string) =>
    route(
      'ranker',
      `unit: {from: [{header: x-user}], onMissing: ${onMissing}}\nvariants: {a: {model: m}, b: {model: m}}\nstrategy:\n  bandit: {arms: [a, b], default: b, policy: epsilonGreedy, epsilon: 1}`,
    );
  const out = newDecision();
  const decided = (onMissing: string, headers: Record<string, string>) => {
    const table = compile(spec(onMissing));
    const ranker = table.routes.get('ranker')!;
    applyState(ranker, {
      ...initialState(ranker.spec),
      policy: makeSnapshot(ranker.bandit!, noEpoch(0, 2).arms, 1, 0),
    });
    const random = seeded(1);
    const served = new Set<number>();
    for (let i = 0; i < 50; i++) {
      decide(table, request({ headers }), around(random), out);
      served.add(out.served);
    }
    return { served: [...served].sort(), analysed: out.analysed, unit: out.unitHash >= 0, pmf: Array.from(out.pmf) };
  };
  const drawn = { served: [0, 1], pmf: [0.5, 0.5] };
  const user = { 'x-user': 'u1' };
  assert.deepEqual(decided('randomUnanalysed', user), { ...drawn, analysed: true, unit: true });
  assert.deepEqual(decided('randomUnanalysed', {}), { ...drawn, analysed: false, unit: false });
  assert.deepEqual(decided('random', {}), { ...drawn, analysed: true, unit: false });
  assert.deepEqual(decided('default', user), { ...drawn, analysed: true, unit: true });
  assert.deepEqual(decided('default', {}), { served: [1], pmf: [0, 1], analysed: false, unit: false });
});

test('contextual arms are drawn by what the request holds', () => {
  const table = compile(BANDIT('policy: linThompson, context: {inputs: [locale], dim: 16}, floor: 0.02'));
  const ranker = table.routes.get('ranker')!;
  const spec = ranker.bandit!;
  const policy = makeSnapshot(spec, noEpoch(0, 3, 16).arms, 1, 0);
  applyState(ranker, { ...initialState(ranker.spec), policy });
  const out = newDecision();
  const sums = noEpoch(0, 3, 16);
  const random = seeded(3);
  for (let i = 0; i < 900; i++) {
    const locale = i % 2 === 0 ? 'de' : 'fr';
    decide(table, request({ inputs: { locale } }), around(random), out);
    const arm = i % 3;
    // Arm 0 is right for German, arm 1 for French.
    addReward(sums.arms[arm], arm === (locale === 'de' ? 0 : 1) ? 1 : 0, out.context);
  }
  applyState(ranker, {
    ...initialState(ranker.spec),
    policy: JSON.parse(JSON.stringify(makeSnapshot(spec, sums.arms, 2, 0))),
  });
  for (const [locale, best] of [
    ['de', 2],
    ['fr', 0],
  ] as const) {
    decide(table, request({ inputs: { locale } }), around(random), out);
    assert.ok(out.pmf[best] > 0.9, `${locale}: ${out.pmf}`);
    assert.ok(Math.min(...out.pmf) >= 0.02 - 1e-12);
  }
});
