import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRoutes } from '../../config/load-routes.ts';
import type { ExperimentSpec } from '../../config/strategy-schema.ts';
import { RouteRecorder } from '../../gateway/route-recorder.ts';
import type { DecisionRecord } from '../../pipeline/routed/record.ts';
import { bucketOf } from '../../routing/buckets.ts';
import { murmur3 } from '../../routing/hash.ts';
import { initialState } from '../../routing/live-route.ts';
import {
  type Contribution,
  decodeContribution,
  type EncodedContribution,
  encodeContribution,
  merge,
} from './contribution.ts';
import { experimentResults, lookAtExperiment } from './experiment-control.ts';
import { Ledger } from './ledger.ts';
import { type LiveRoute, learnFrom, mature, newLive } from './live.ts';
import { strategyPrint } from './standing.ts';

function document(strategy: string, sticky: boolean) {
  const text = `apiVersion: switchyard/v1
kind: Route
metadata: {name: r}
spec:
  variants: {a: {model: m, version: "1"}, b: {model: m, version: "2"}}
  fallback: {order: [a]}
  ${sticky ? 'unit: {from: [{header: x-user-id}]}' : ''}
  strategy:
${strategy.replaceAll(/^/gm, '    ')}
`;
  return parseRoutes([{ file: 'routes.yaml', text }]).routes[0];
}

interface Results {
  verdict: string;
  arms: { name: string; counted: number; requests: number; errors: number; rewards: number; reward_mean: number }[];
  primary: { verdict: string; effect: number; p_value?: number; interval: [number | null, number | null] }[];
  sample_ratio: { counts: number[]; p_value: number };
  guardrails: { verdict: string; value: number }[];
}

/** A route as a gateway has it: records go through the thread's sums and reports to the control thread's. */
class Bench {
  readonly live: LiveRoute;
  private readonly recorder = new RouteRecorder(0);
  private readonly ledger = new Ledger();
  private ids = 0;

  constructor(strategy: string, sticky = true) {
    const route = document(strategy, sticky);
    this.live = newLive(route, { print: strategyPrint(route.spec), state: initialState(route.spec) }, 'this');
    this.live.own.sums = this.ledger.of('r');
    this.recorder.setLearning(new Set(['r']));
  }

  decided(record: Partial<DecisionRecord> & Pick<DecisionRecord, 'assigned' | 'served'>): string {
    const id = `d${this.ids++}`;
    const rest = { id, receivedAt: 0, route: 'r', version: '1', role: 'arm', analysed: true, bucket: 1, detour: '' };
    const whole = { ...rest, fallbacks: [], pmf: [0.5, 0.5], status: 'ok', latencyMs: 5, ...record };
    this.recorder.decided(whole as unknown as DecisionRecord);
    return id;
  }

  report(): void {
    const activity = this.recorder.take();
    if (activity === undefined) return;
    this.ledger.add(activity);
    for (const record of activity.learning) learnFrom(this.live, record);
  }

  look(): void {
    this.report();
    this.live.standing = lookAtExperiment(this.live.document.spec, this.live.standing, this.live.own);
  }

  /** Other weights, as after a reload. */
  split(a: number, b: number): void {
    (this.live.document.spec.strategy.experiment as ExperimentSpec).split = { a, b };
  }

  results(): Results {
    this.report();
    return experimentResults(this.live.document.spec, this.live.standing, this.live.own) as Results;
  }
}

const FAILED = [{ variant: 'b', cause: '5xx', version: '2' }];
const EXPERIMENT = `experiment:
  split: {a: 50, b: 50}
  primary: {metric: reward}
  reward: {wait: 100ms, default: 0}
  guardrails: [{metric: errors, nonInferiority: 2%}]
`;

test('a fallback does not hide an arm that fails, and its answers stay those of the arm', () => {
  const bench = new Bench(EXPERIMENT);
  const rewarded: string[] = [];
  for (let i = 0; i < 2000; i++) {
    bench.decided({ assigned: 'a', served: 'a', bucket: i });
    const fails = i % 5 === 0;
    rewarded.push(
      bench.decided({ assigned: 'b', served: fails ? 'a' : 'b', bucket: i, fallbacks: fails ? FAILED : [] }),
    );
  }
  // Detoured because b was ejected: nobody asked it.
  for (let i = 0; i < 50; i++) rewarded.push(bench.decided({ assigned: 'b', served: 'a', detour: 'ejected' }));
  const { arms, guardrails, verdict } = bench.results();
  assert.deepEqual(
    arms.map(({ name, requests, errors }) => ({ name, requests, errors })),
    [
      { name: 'a', requests: 2000, errors: 0 },
      { name: 'b', requests: 2000, errors: 400 },
    ],
  );
  assert.equal(guardrails[0].verdict, 'violated');
  assert.equal(verdict, 'guardrail violated');
  for (const id of rewarded) assert.equal(bench.live.join?.reward(id, 1, undefined, 1), 'accepted');
  mature(bench.live, 1000, {});
  const [a, b] = bench.results().arms;
  assert.deepEqual([a.rewards, a.reward_mean, b.rewards, b.reward_mean], [2000, 0, 2050, 1]);
});

test('a bandit learns no late reward of the version an arm had before', () => {
  const bench = new Bench('bandit: {policy: thompsonBeta, arms: [a, b], refresh: 500ms, reward: {wait: 1s}}\n');
  const rewards = (): number =>
    bench.live.own.epochs[0].epochs.flatMap(({ arms }) => arms[1].count).reduce((sum, each) => sum + each, 0);
  const decided = (version: string): void => {
    const id = bench.decided({ assigned: 'b', served: 'b', version });
    bench.report();
    assert.equal(bench.live.join?.reward(id, 1, undefined, 1), 'accepted');
  };
  bench.live.standing.versions = { a: '1', b: '2' };
  decided('2');
  decided('');
  mature(bench.live, 2000, { a: '1', b: '3' });
  assert.equal(rewards(), 2, 'the replacement is not learnt yet, and with it what came before will count less');
  bench.live.standing.versions = { a: '1', b: '3' };
  decided('2');
  decided('3');
  mature(bench.live, 2000, { a: '1', b: '3' });
  assert.deepEqual([rewards(), bench.live.own.feedback.get('otherVersion')], [3, 1]);
  // Back again, which is learnt with the next refresh.
  decided('2');
  mature(bench.live, 2000, { a: '1', b: '2' });
  assert.equal(rewards(), 4);
});

test('a bandit learns the default reward of an arm that failed, whatever the answer of another variant earned', () => {
  const bench = new Bench('bandit: {policy: thompsonBeta, arms: [a, b], refresh: 500ms, reward: {wait: 1s}}\n');
  const failed = bench.decided({ assigned: 'b', served: 'a', fallbacks: FAILED });
  const ejected = bench.decided({ assigned: 'b', served: 'a', detour: 'ejected' });
  const fine = bench.decided({ assigned: 'b', served: 'b' });
  bench.report();
  const { join, own } = bench.live;
  assert.equal(join?.reward(failed, 1, undefined, 1), 'failedOver');
  assert.equal(join?.reward(ejected, 1, undefined, 1), 'unknown');
  assert.equal(join?.reward(fine, 1, undefined, 1), 'accepted');
  mature(bench.live, 2000, {});
  const [, b] = own.epochs[0].epochs[0].arms;
  assert.deepEqual([b.count, b.sum], [2, 1]);
  assert.equal(own.feedback.get('detoured'), 1);
});

/** One request of each user, in the arm that the buckets say; `lost` of arm b's never get here. */
function visits(bench: Bench, users: number, split: number, lost = 0, from = 0): void {
  for (let user = from; user < from + users; user++) {
    const unitHash = murmur3(`user-${user}`, 1);
    const bucket = bucketOf(unitHash);
    const assigned = bucket < split * 100 ? 'a' : 'b';
    if (assigned === 'b' && user % 100 < lost) continue;
    bench.decided({ assigned, served: assigned, bucket, unitHash });
  }
  bench.look();
}

test('users that are missing from an arm make an experiment invalid, which then analyses nothing more', () => {
  const bench = new Bench(EXPERIMENT);
  for (let day = 0; day < 8; day++) visits(bench, 1000, 50, 0, day * 1000);
  // The same users again are no evidence.
  for (let again = 0; again < 5; again++) visits(bench, 2000, 50);
  assert.equal(bench.live.standing.invalid, undefined);
  const { version } = bench.live.standing.state;
  const counted = bench.results().arms.map((arm) => arm.counted);
  assert.equal(counted[0] + counted[1], 8000);

  const broken = new Bench(EXPERIMENT);
  for (let day = 0; day < 8; day++) visits(broken, 1000, 50, 20, day * 1000);
  const { standing } = broken.live;
  assert.match(
    standing.invalid ?? '',
    /^sample ratio mismatch: \d+:\d+ distinct units for planned shares 50%:50%, p = /,
  );
  assert.equal(standing.state.analysed, false);
  assert.equal(standing.state.version, version + 1);
  assert.equal(broken.results().verdict, 'invalid');
  // Whatever comes later, what was measured stays worthless.
  visits(broken, 1000, 50, 0, 9000);
  assert.equal(broken.live.standing, standing);

  const warned = new Bench(`${EXPERIMENT}  srm: {onFail: warn}\n`);
  for (let day = 0; day < 8; day++) visits(warned, 1000, 50, 20, day * 1000);
  assert.equal(warned.live.standing.invalid, undefined);
  assert.ok(warned.results().sample_ratio.p_value < 0.001, 'the p-value is told');
});

test('units are compared with the shares they were first seen under, back and forth', () => {
  const bench = new Bench(EXPERIMENT);
  visits(bench, 3000, 50);
  bench.split(90, 10);
  // Old users again, and new ones.
  visits(bench, 6000, 90);
  bench.split(50, 50);
  visits(bench, 9000, 50);
  assert.equal(bench.live.standing.invalid, undefined);
  const { p_value, counts } = bench.results().sample_ratio;
  assert.equal(p_value, 1);
  assert.equal(counts[0] + counts[1], 9000);
});

test('without units requests are counted, period by period', () => {
  const bench = new Bench(EXPERIMENT, false);
  const requests = (a: number, b: number): void => {
    for (let i = 0; i < a + b; i++) {
      const assigned = i < a ? 'a' : 'b';
      bench.decided({ assigned, served: assigned, unitHash: -1 });
    }
    bench.look();
  };
  requests(1010, 990);
  bench.split(90, 10);
  bench.look();
  requests(2690, 310);
  requests(2710, 290);
  assert.equal(bench.live.standing.invalid, undefined);
  assert.deepEqual(bench.live.standing.ratio?.weights, [90, 10]);
  requests(1000, 1000);
  assert.match(bench.live.standing.invalid ?? '', /decisions for planned shares 90%:10%/);
});

test("several gateways' parts are one experiment, also after they were written down", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(400), fc.nat(2), fc.double({ min: 0, max: 1, noNaN: true })), { maxLength: 120 }),
      (list) => {
        const whole = new Bench(EXPERIMENT);
        const parts = [0, 1, 2].map(() => new Bench(EXPERIMENT));
        for (const [user, gateway, reward] of list) {
          const unitHash = murmur3(`user-${user}`, 3);
          const bucket = bucketOf(unitHash);
          const assigned = bucket < 5000 ? 'a' : 'b';
          for (const bench of [whole, parts[gateway]]) {
            const id = bench.decided({
              assigned,
              served: assigned,
              bucket,
              unitHash,
              status: user % 3 === 0 ? 'internal' : 'ok',
            });
            bench.report();
            // Sums of eighths are exact in any order.
            bench.live.join?.reward(id, Math.round(reward * 8) / 8, undefined, 1);
          }
        }
        for (const bench of [whole, ...parts]) mature(bench.live, 1000, {});
        const told = parts.map(
          ({ live }) => JSON.parse(JSON.stringify(encodeContribution(live.own))) as EncodedContribution,
        );
        const { spec } = whole.live.document;
        const of = (data: Contribution): unknown => experimentResults(spec, whole.live.standing, data);
        const together = merge(told.map(decodeContribution));
        assert.deepEqual(of(together), of(whole.live.own));
        // As nodes that come and go are put together: in lots.
        const lots = merge([
          decodeContribution(encodeContribution(merge(told.slice(1).map(decodeContribution)))),
          decodeContribution(told[0]),
        ]);
        assert.deepEqual(of(lots), of(whole.live.own));
        assert.deepEqual([...together.feedback], [...merge([whole.live.own]).feedback]);
      },
    ),
    { numRuns: 25 },
  );
});

test('what an earlier version of the program has kept can be read', () => {
  const kept = {
    sums: { slices: [], shadows: [] },
    epochs: [],
    rewards: [['a', { count: 2, sum: 1, sumSquares: 1 }]],
    feedback: [],
  };
  const read = decodeContribution(kept as unknown as EncodedContribution);
  assert.equal(read.rewards.get('a')?.count, 2);
  assert.equal(read.units.size, 0);
});

test("mSPRT's mixture is fixed once, and its p-value never rises", () => {
  const bench = new Bench(EXPERIMENT.replace('{metric: reward}', '{metric: reward, test: mSPRT, mde: 50%}'), false);
  const rewards = (each: number, a: number, b: number): number => {
    for (let i = 0; i < 2 * each; i++) {
      const assigned = i % 2 === 0 ? 'a' : 'b';
      const id = bench.decided({ assigned, served: assigned, unitHash: -1 });
      bench.report();
      bench.live.join?.reward(id, (i >> 1) % 10 < (assigned === 'a' ? a : b) ? 1 : 0, undefined, 1);
    }
    mature(bench.live, 1000, {});
    bench.look();
    return bench.results().primary[0].p_value ?? Number.NaN;
  };
  assert.equal(Number.isNaN(rewards(90, 3, 3)), true, 'no values of control, no mixture');
  const first = rewards(90, 3, 9);
  assert.equal(bench.live.standing.msprt?.scale, 0.3);
  const later = rewards(3000, 8, 8);
  assert.equal(bench.live.standing.msprt?.scale, 0.3, 'fixed by what came first');
  assert.ok(first < 0.05, `p ${first}`);
  assert.ok(later <= first, `p rose from ${first} to ${later}`);
});
