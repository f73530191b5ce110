import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRoutes } from '../../config/load-routes.ts';
import type { RouteSpec } from '../../config/route-schema.ts';
import { initialState } from '../../routing/live-route.ts';
import { invert, multiply } from '../../routing/policies/linear.ts';
import {
  type ArmSums,
  addReward,
  type EpochSums,
  type NodeEpochs,
  noEpoch,
} from '../../routing/policies/statistics.ts';
import { banditState, learnBandit } from './bandit-control.ts';
import { type Contribution, merge, noContribution, withoutFolded } from './contribution.ts';
import { resume, type Standing, strategyPrint } from './standing.ts';

const ROUTE = `apiVersion: switchyard/v1
kind: Route
metadata: {name: b}
spec:
  variants: {one: {model: m, version: "1"}, two: {model: m, version: "2"}}
  strategy:
    bandit: {policy: thompsonBeta, arms: [one, two], refresh: 500ms, reward: {wait: 5s}}
`;
const REFRESH = 500;
const { spec } = parseRoutes([{ file: 'routes.yaml', text: ROUTE }]).routes[0];

function rewards(epoch: number, count: number): EpochSums {
  const sums = noEpoch(epoch, 2);
  for (let i = 0; i < count; i++) addReward(sums.arms[1], 1);
  return sums;
}

const of = (...epochs: NodeEpochs[]): Contribution => ({ ...noContribution(), epochs });

function learn(standing: Standing, data: Contribution, epoch: number): Standing {
  return learnBandit(spec, standing, data, { one: '1', two: '2' }, epoch * REFRESH);
}

function learnt(standing: Standing, data: Contribution, epoch: number): number {
  const { arms } = banditState(spec, standing, data, epoch * REFRESH) as { arms: { rewards: number }[] };
  return arms.reduce((sum, arm) => sum + arm.rewards, 0);
}

test('an apprentice shows how often it would have served what was served', () => {
  const text = ROUTE.replace('refresh', 'mode: apprentice, refresh');
  const apprentice = parseRoutes([{ file: 'routes.yaml', text }]).routes[0].spec;
  const standing: Standing = { print: strategyPrint(apprentice), state: initialState(apprentice) };
  const node = { node: 'a', closed: 0, epochs: [] };
  const data = (...counts: [string, number][]): Contribution => ({ ...of(node), feedback: new Map(counts) });
  type Shown = { apprentice?: { decisions: number; agreement: number | null; low: number; high: number } };
  const shown = (...counts: [string, number][]) =>
    banditState(apprentice, standing, data(...counts), 0) as Shown & { feedback: object };
  assert.deepEqual(shown().apprentice, { decisions: 0, agreement: null, low: 0, high: 1 });
  const { apprentice: found, feedback } = shown(['agreed', 300], ['disagreed', 100], ['matured', 7]);
  assert.deepEqual([found?.decisions, found?.agreement], [400, 0.75]);
  assert.ok(found!.low > 0.6 && found!.low < 0.75 && found!.high > 0.75, JSON.stringify(found));
  assert.deepEqual(feedback, { matured: 7 });
  assert.equal((banditState(spec, standing, data(), 0) as Shown).apprentice, undefined);
});

test('rewards count once, however late another gateway tells them, and though it tells them again', () => {
  let standing: Standing = { print: strategyPrint(spec), state: initialState(spec) };
  const own = { node: 'a', closed: 101, epochs: [rewards(100, 3)] };
  standing = learn(standing, of(own), 101);
  assert.equal(learnt(standing, of(own), 101), 3);

  // The other one could not reach anybody for a minute.
  const late = { node: 'b', closed: 101, epochs: [rewards(99, 5), rewards(100, 7)] };
  standing = learn(standing, of({ ...own, closed: 221 }, late), 221);
  assert.equal(learnt(standing, of(own, late), 221), 15);

  // Its epoch 101 was open and is closed now; those before it are told once more.
  const again = { node: 'b', closed: 222, epochs: [...late.epochs, rewards(101, 2)] };
  standing = learn(standing, of(again), 222);
  assert.equal(learnt(standing, of(again), 222), 17);
  standing = learn(standing, of(own, again), 223);
  assert.equal(learnt(standing, of(own, again), 223), 17);
});

test('an epoch that a gateway left open when it went is closed after half an hour', () => {
  const gone = { node: 'gone', closed: 100, epochs: [rewards(100, 4)] };
  let standing: Standing = { print: strategyPrint(spec), state: initialState(spec) };
  standing = learn(standing, of(gone), 101);
  assert.equal(standing.totals?.arms[1].count, 0);
  assert.equal(learnt(standing, of(gone), 101), 4);
  const later = 101 + 1_800_000 / REFRESH;
  standing = learn(standing, of(gone), later);
  assert.equal(learnt(standing, of(), later), 4);
});

/** What happens between two looks at two gateways: how long it takes, in refreshes, and what each counts and can tell. */
const happenings = fc.array(
  fc.record({
    passes: fc.oneof(fc.double({ min: 0.1, max: 3, noNaN: true }), fc.constantFrom(4000, 20_000)),
    // Lost: what it told is not in Redis any more, and it cannot tell again.
    nodes: fc.tuple(
      ...['a', 'b'].map(() =>
        fc.record({ rewards: fc.nat(5), tells: fc.constantFrom('now', 'nothing', 'lost') } as const),
      ),
    ),
  }),
  { minLength: 1, maxLength: 30 },
);
const REFRESHES = [500, 60_000, 1_800_000, 7_200_000, 3 * 3_600_000, 86_400_000];

test('no reward counts twice, and none is lost of gateways that tell in time, however long a refresh is', () => {
  fc.assert(
    fc.property(fc.constantFrom(...REFRESHES), happenings, (refresh, steps) => {
      const slow = { ...spec, strategy: { bandit: { ...spec.strategy.bandit!, refresh } } };
      let standing: Standing = { print: strategyPrint(slow), state: initialState(slow) };
      // Each gateway's rewards are of an arm of its own.
      const nodes = ['a', 'b'].map((node) => ({ node, epochs: [] as EpochSums[], given: 0, late: false }));
      let told: (NodeEpochs | undefined)[] = [undefined, undefined];
      let now = 1000.5 * refresh;
      let learnt = 0;
      const look = (passes: number, does: readonly { rewards: number; tells: 'now' | 'nothing' | 'lost' }[]): void => {
        now += passes * refresh;
        const epoch = Math.floor(now / refresh);
        told = nodes.map((node, arm) => {
          const { rewards, tells } = does[arm];
          if (node.epochs.at(-1)?.epoch !== epoch) node.epochs.push(noEpoch(epoch, 2));
          for (let i = 0; i < rewards; i++) addReward(node.epochs.at(-1)!.arms[arm], 1);
          node.given += rewards;
          const now = structuredClone({ node: node.node, closed: epoch, epochs: node.epochs });
          const known = { now, nothing: told[arm], lost: undefined }[tells];
          node.late ||= known === undefined || known.closed < epoch - Math.ceil(1_800_000 / refresh);
          return known;
        });
        if (epoch === learnt) return;
        learnt = epoch;
        const data = of(...told.filter((node) => node !== undefined));
        standing = learnBandit(slow, standing, data, { one: '1', two: '2' }, now);
      };
      for (const { passes, nodes } of steps) look(passes, nodes);
      for (let i = 0; i < 3; i++)
        look(
          1,
          [0, 1].map(() => ({ rewards: 0, tells: 'now' as const })),
        );
      for (const [arm, { given, late }] of nodes.entries()) {
        const { count } = standing.totals!.arms[arm];
        assert.ok(count <= given, `${count} rewards are learnt of ${given}`);
        if (!late) assert.equal(count, given);
      }
    }),
    { numRuns: 300 },
  );
});

test('a gateway that is back after three quarters of an hour is learnt from but for the epoch that it had left open', () => {
  let standing: Standing = { print: strategyPrint(spec), state: initialState(spec) };
  const told = { node: 'b', closed: 100, epochs: [rewards(99, 5), rewards(100, 2)] };
  const away = 2_700_000 / REFRESH;
  for (let epoch = 100; epoch < 100 + away; epoch += 100) standing = learn(standing, of(told), epoch);
  assert.equal(standing.totals?.arms[1].count, 7);
  const meanwhile = [rewards(99, 5), rewards(100, 3), rewards(101, 10), rewards(99 + away, 20)];
  standing = learn(standing, of({ node: 'b', closed: 100 + away, epochs: meanwhile }), 100 + away);
  assert.equal(standing.totals?.arms[1].count, 7 + 30);
});

test('what was learnt goes on with another refresh, also what comes then', () => {
  const text = ROUTE.replace('refresh: 500ms', 'discount: {halfLife: 600s}, refresh: 500ms');
  const specOf = (refresh: string): RouteSpec =>
    parseRoutes([{ file: 'routes.yaml', text: text.replace('500ms', refresh) }]).routes[0].spec;
  const now = 1_800_000_000_000;
  for (const [refresh, ms] of [
    ['60s', 60_000],
    ['100ms', 100],
  ] as const) {
    const before = specOf('500ms');
    const at = now / REFRESH;
    let standing = resume(before, undefined);
    const own = of({ node: 'this', closed: at, epochs: [rewards(at - 1, 8)] });
    standing = learnBandit(before, standing, own, { one: '1', two: '2' }, now);
    assert.equal(standing.totals?.arms[1].count, 8);
    const spec = specOf(refresh);
    const { policy } = standing.state;
    standing = JSON.parse(JSON.stringify(resume(spec, standing))) as Standing;
    assert.deepEqual(standing.state.policy, policy, 'decides as before until it learns again');
    // What is counted begins anew, under another name.
    standing = learnBandit(spec, standing, of({ node: 'this', closed: 0, epochs: [] }), { one: '1', two: '2' }, now);
    assert.equal(standing.totals?.arms[1].count, 8, refresh);
    const then = Math.floor(now / ms);
    const next = of({ node: 'this', closed: then + 1, epochs: [rewards(then, 4)] });
    standing = learnBandit(spec, standing, next, { one: '1', two: '2' }, now + ms);
    const { count } = standing.totals!.arms[1];
    assert.ok(count > 11 && count <= 12, `${refresh}: ${count} rewards`);
    assert.ok((standing.state.policy?.version ?? 0) > (policy?.version ?? 0));
  }
});

test('a gateway whose clock is fast is not worth more for that', () => {
  const text = ROUTE.replace('refresh', 'discount: {halfLife: 1s}, refresh');
  const discounted = parseRoutes([{ file: 'routes.yaml', text }]).routes[0].spec;
  const fast = of({ node: 'fast', closed: 201, epochs: [rewards(200, 4)] });
  const standing = learnBandit(discounted, resume(discounted, undefined), fast, { one: '1', two: '2' }, 101 * REFRESH);
  assert.equal(standing.totals?.arms[1].count, 4);
});

test('a restarted gateway goes on with what it had kept', () => {
  let standing: Standing = { print: strategyPrint(spec), state: initialState(spec) };
  const first = of({ node: 'this', closed: 101, epochs: [rewards(100, 3), rewards(101, 1)] });
  standing = learn(standing, first, 101);
  const kept = withoutFolded(first, standing.totals);
  assert.deepEqual(
    kept.epochs[0].epochs.map(({ epoch }) => epoch),
    [101],
  );
  const second = merge([of({ node: 'this', closed: 110, epochs: [rewards(109, 2)] }), kept]);
  assert.equal(second.epochs.length, 1);
  standing = learn(standing, second, 110);
  assert.equal(standing.totals?.arms[1].count, 6);
});

test("a version that is replaced in an arm, as by a moved alias, leaves the arm's mean and widens what is drawn from it", () => {
  const strong = parseRoutes([{ file: 'routes.yaml', text: ROUTE.replace('refresh', 'priorStrength: 20, refresh') }]);
  const { spec } = strong.routes[0];
  const epoch = noEpoch(100, 2);
  for (let i = 0; i < 400; i++) addReward(epoch.arms[i % 2], Number(i % 8 < 2));
  let standing: Standing = { print: strategyPrint(spec), state: initialState(spec) };
  const learn = (versions: Record<string, string>, at: number, ...epochs: EpochSums[]): Standing =>
    learnBandit(spec, standing, of({ node: 'a', closed: at, epochs }), versions, at * REFRESH);
  standing = learn({ one: '1', two: '2' }, 101, epoch);
  const before = standing.totals!.arms;
  assert.deepEqual([before[0].count, before[1].count], [200, 200]);
  standing = learn({ one: '1', two: '' }, 102, epoch);
  assert.deepEqual(standing.totals!.arms, before, 'a version that is only away for a while is not another one');
  standing = learn({ one: '1', two: '3' }, 103, epoch);
  const [one, two] = standing.totals!.arms;
  assert.deepEqual(one, before[0], 'the other arm is as it was');
  assert.ok(Math.abs(two.count - 20) < 1e-9, `${two.count} rewards are left`);
  assert.ok(Math.abs(two.sum / two.count - before[1].sum / before[1].count) < 1e-9, 'the mean is kept');
  const again = learn({ one: '1', two: '3' }, 104, epoch);
  assert.deepEqual(again.totals!.arms, standing.totals!.arms, 'once for each replacement');
  assert.equal(again.versions?.two, '3');
});

test('a model that is replaced in an arm is another version of it, though its number is the same', () => {
  const of1 = (model: string): RouteSpec => {
    const text = ROUTE.replace('two: {model: m, version: "2"}', `two: {model: ${model}, version: "2"}`);
    return parseRoutes([{ file: 'routes.yaml', text: text.replace('refresh', 'priorStrength: 20, refresh') }]).routes[0]
      .spec;
  };
  assert.equal(strategyPrint(of1('n')), strategyPrint(of1('m')), 'the bandit goes on');
  const data = of({ node: 'a', closed: 101, epochs: [rewards(100, 400)] });
  let standing: Standing = { print: strategyPrint(spec), state: initialState(spec) };
  const learn = (model: string, version: string, at: number): ArmSums => {
    standing = learnBandit(of1(model), standing, data, { one: '1', two: version }, at * REFRESH);
    return standing.totals!.arms[1];
  };
  assert.equal(learn('m', '2', 101).count, 400);
  assert.equal(learn('n', '', 102).count, 400, 'it serves nothing yet');
  const { count, sum } = learn('n', '2', 103);
  assert.ok(Math.abs(count - 20) < 1e-9 && Math.abs(sum / count - 1) < 1e-9, `${count} rewards are left`);
  assert.equal(learn('n', '2', 104).count, count, 'once for each replacement');
  assert.ok(learn('m', '2', 105).count <= 20, 'back again it is another one, too');
  const { models, ...earlier } = standing;
  standing = earlier;
  assert.equal(
    learn('m', '2', 106).count.toFixed(6),
    '20.000000',
    `what an earlier program kept goes on: ${JSON.stringify(models)}`,
  );
});

test("a replaced version keeps a linear arm's coefficients nearly, and makes it explore more, for both linear policies", () => {
  for (const policy of ['linUCB', 'linThompson']) {
    const context = 'context: {inputs: [age], dim: 2}, priorStrength: 50, regularisation: 0.001, refresh';
    const text = ROUTE.replace('thompsonBeta', policy).replace('refresh', context);
    const { spec } = parseRoutes([{ file: 'routes.yaml', text }]).routes[0];
    const epoch = noEpoch(100, 2, 2);
    for (let i = 0; i < 2000; i++) addReward(epoch.arms[1], (i % 5) / 10 + 0.2, Float64Array.of(1, i % 5));
    const data = of({ node: 'a', closed: 101, epochs: [epoch] });
    let standing: Standing = { print: strategyPrint(spec), state: initialState(spec) };
    const arm = () => {
      const { outer, weighted, count } = standing.totals!.arms[1];
      const inverse = invert(
        outer!.map((value, i) => value + (i % 3 === 0 ? 0.001 : 0)),
        2,
      );
      const coefficients = new Float64Array(2);
      multiply(inverse!, weighted!, coefficients);
      return { count, coefficients, deviation: Math.sqrt(multiply(inverse!, [1, 2], new Float64Array(2))) };
    };
    standing = learnBandit(spec, standing, data, { one: '1', two: '2' }, 101 * REFRESH);
    const before = arm();
    standing = learnBandit(spec, standing, data, { one: '1', two: '3' }, 102 * REFRESH);
    const after = arm();
    assert.ok(Math.abs(after.count - 50) < 1e-9, `${policy}: ${after.count} rewards are left`);
    for (let i = 0; i < 2; i++)
      assert.ok(Math.abs(after.coefficients[i] - before.coefficients[i]) < 1e-3, `${policy}: ${after.coefficients}`);
    const wider = after.deviation / before.deviation;
    assert.ok(wider > 6 && wider < 6.5, `${policy}: √40 times wider, and not ${wider}`);
  }
});
