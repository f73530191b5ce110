import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRoutes } from '../../config/load-routes.ts';
import { RouteRecorder } from '../../gateway/route-recorder.ts';
import type { DecisionRecord } from '../../pipeline/routed/record.ts';
import { initialState } from '../../routing/live-route.ts';
import { experimentResults } from './experiment-control.ts';
import { Ledger } from './ledger.ts';
import { type LiveRoute, learnFrom, mature, newLive } from './live.ts';
import { strategyPrint } from './standing.ts';

function document(strategy: string) {
  const text = `apiVersion: switchyard/v1
kind: Route
metadata: {name: r}
spec:
  variants: {a: {model: m, version: "1"}, b: {model: m, version: "2"}}
  fallback: {order: [a]}
  unit: {from: [{header: x-user-id}]}
  strategy:
${strategy.replaceAll(/^/gm, '    ')}
`;
  return parseRoutes([{ file: 'routes.yaml', text }]).routes[0];
}

interface Results {
  verdict: string;
  arms: { name: string; counted: number; requests: number; errors: number; rewards: number; reward_mean: number }[];
  primary: { verdict: string; effect: number; interval: [number | null, number | null] }[];
  guardrails: { verdict: string; value: number }[];
}

/** A route as a gateway has it: records go through the thread's sums and reports to the control thread's. */
class Bench {
  readonly live: LiveRoute;
  private readonly recorder = new RouteRecorder();
  private readonly ledger = new Ledger();
  private ids = 0;

  constructor(strategy: string) {
    const route = document(strategy);
    this.live = newLive(route, { print: strategyPrint(route.spec), state: initialState(route.spec) }, 'this');
    this.live.own.sums = this.ledger.of('r');
    this.recorder.setLearning(new Set(['r']));
  }

  decided(record: Partial<DecisionRecord> & Pick<DecisionRecord, 'assigned' | 'served'>): string {
    const id = `d${this.ids++}`;
    const rest = { id, time: 0, route: 'r', version: '1', role: 'arm', analysed: true, bucket: 1, detour: '' };
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

  results(): Results {
    this.report();
    return experimentResults(this.live.document.spec, this.live.standing, this.live.own) as Results;
  }
}

const FAILED = [{ variant: 'b', cause: '5xx' }];
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
    bench.decided({ assigned: 'a', served: 'a' });
    const fails = i % 5 === 0;
    rewarded.push(bench.decided({ assigned: 'b', served: fails ? 'a' : 'b', fallbacks: fails ? FAILED : [] }));
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
  mature(bench.live, 1000);
  const [a, b] = bench.results().arms;
  assert.deepEqual([a.rewards, a.reward_mean, b.rewards, b.reward_mean], [2000, 0, 2050, 1]);
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
  mature(bench.live, 2000);
  const [, b] = own.epochs[0].epochs[0].arms;
  assert.deepEqual([b.count, b.sum], [2, 1]);
  assert.equal(own.feedback.get('detoured'), 1);
});
