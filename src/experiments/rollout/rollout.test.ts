import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRoutes } from '../../config/load-routes.ts';
import type { Metric } from '../../config/route-schema.ts';
import { prepareArm } from '../statistics/compare-quantiles.ts';
import { newHistogram, record } from '../statistics/latency-histogram.ts';
import { advance, alphaShare, templatesInForce } from './controller.ts';
import {
  type ArmEvidence,
  combine,
  type Evidence,
  errorVerdict,
  judge,
  measure,
  NO_MEASUREMENTS,
  quantileVerdict,
  type Report,
} from './judge.ts';
import { beginRollout, exitStatus, type RolloutCommand, type RolloutEvent, type RolloutState } from './state.ts';

const set = parseRoutes([
  {
    file: 'route.yaml',
    text: `apiVersion: switchyard/v1
kind: Route
metadata: {name: ranker}
spec:
  variants: {stable: {model: ranker, alias: champion}, next: {model: ranker, version: "7"}}
  strategy:
    canary:
      stable: stable
      candidate: next
      steps:
        - setMirror: {percent: 10}
        - pause: {duration: 10m}
        - setWeight: 5
        - analysis: {templates: [golden], timeout: 1h}
        - setWeight: 25
        - pause: {}
        - analysis: {templates: [golden]}
        - setWeight: 80
      background: {templates: [golden]}
      onFail: {rollback: ramp, over: 30s}
      onPass: {setAlias: champion}
      deadline: 24h
---
apiVersion: switchyard/v1
kind: AnalysisTemplate
metadata: {name: golden}
spec:
  metrics:
    - {name: errors, test: errorRate, margin: 0.5%, minRequests: 2000}
    - {name: p99, test: latencyQuantile, quantile: 0.99, margin: 5%, minRequests: 5000}
    - {name: agreement, test: shadowMismatch, margin: 1%, minRequests: 1000}
    - {name: revenue, prometheus: {address: "http://prometheus:9090", query: q}, successCondition: "result >= 0.95", failureLimit: 1, count: 2}
`,
  },
]);
const canary = set.routes[0].spec.strategy.canary!;
const [errors, p99, agreement, revenue] = set.templates.get('golden')!.spec.metrics;
const MINUTE = 60_000;

function report(verdict: Report['verdict'], metric = 'errors'): Report {
  return { metric, verdict, low: 0, high: 0, margin: 0, requests: 1, reason: 'so it is' };
}
const pass = [report('pass')];

/** Plays events through JSON, as a restart between any two would. */
function play(spec = canary, start = 0) {
  let state = beginRollout('ranker', { stable: '3', candidate: '7' }, start);
  const commands: RolloutCommand[] = [];
  return {
    get state() {
      return state;
    },
    commands,
    send(event: RolloutEvent, now: number): RolloutState {
      const result = advance(JSON.parse(JSON.stringify(state)), spec, event, now);
      commands.push(...result.commands);
      state = result.state;
      return state;
    },
  };
}

test('a good candidate goes through all steps to its alias', () => {
  const rollout = play();
  const at = (event: RolloutEvent, minute: number) => {
    const { phase, step, weight, mirror } = rollout.send(event, minute * MINUTE);
    return [phase, step, weight, mirror];
  };
  assert.deepEqual(templatesInForce(rollout.state, canary), { inline: [], background: [] });
  assert.deepEqual(at({ type: 'tick' }, 0), ['waiting', 1, 0, 10]);
  assert.deepEqual(templatesInForce(rollout.state, canary).background, ['golden']);
  assert.deepEqual(at({ type: 'tick' }, 9), ['waiting', 1, 0, 10]);
  assert.deepEqual(at({ type: 'tick' }, 10), ['analysing', 3, 5, 10]);
  assert.deepEqual(templatesInForce(rollout.state, canary).inline, ['golden']);
  assert.deepEqual(at({ type: 'tick', inline: [report('inconclusive')] }, 11), ['analysing', 3, 5, 10]);
  assert.deepEqual(at({ type: 'tick', inline: [] }, 12), ['analysing', 3, 5, 10], 'no data is no pass');
  assert.deepEqual(at({ type: 'tick', inline: pass }, 13), ['gated', 5, 25, 10]);
  assert.equal(exitStatus(rollout.state), 2);
  assert.deepEqual(at({ type: 'tick', inline: pass }, 500), ['gated', 5, 25, 10]);
  assert.deepEqual(at({ type: 'promote' }, 501), ['analysing', 6, 25, 10]);
  assert.deepEqual(at({ type: 'tick', inline: pass }, 502), ['held', 8, 80, 10]);
  assert.deepEqual(at({ type: 'tick', background: [report('inconclusive')] }, 503), ['held', 8, 80, 10]);
  assert.deepEqual(at({ type: 'tick', background: pass }, 504), ['promoting', 8, 100, 0]);
  assert.deepEqual(at({ type: 'tick' }, 505), ['promoting', 8, 100, 0]);
  assert.deepEqual(rollout.commands.at(-1), { type: 'setAlias', alias: 'champion', expected: '3', version: '7' });
  assert.deepEqual(at({ type: 'aliasSet', version: '7' }, 506), ['succeeded', 8, 0, 0]);
  assert.equal(exitStatus(rollout.state), 0);
  const set = rollout.commands.filter(({ type }) => type === 'setWeight');
  assert.deepEqual(
    set,
    [5, 25, 80, 100, 0].map((percent) => ({ type: 'setWeight', percent })),
  );
  assert.equal(rollout.commands.filter(({ type }) => type === 'restartWindow').length, 1, 'control shrinks at 80 %');
});

test('a failing verdict ramps down to exactly nothing, whatever else is under way', () => {
  const rollout = play();
  rollout.send({ type: 'tick' }, 0);
  rollout.send({ type: 'tick' }, 10 * MINUTE);
  rollout.send({ type: 'tick', inline: pass }, 11 * MINUTE);
  rollout.send({ type: 'pause' }, 11 * MINUTE);
  const begun = 12 * MINUTE;
  rollout.send({ type: 'tick', background: [report('pass', 'p99'), report('fail')] }, begun);
  assert.deepEqual([rollout.state.phase, rollout.state.weight, rollout.state.mirror], ['rollingBack', 25, 0]);
  assert.equal(rollout.state.reason, 'errors: so it is');
  rollout.send({ type: 'tick', inline: pass, background: pass }, begun + 15_000);
  assert.equal(rollout.state.weight, 12.5);
  rollout.send({ type: 'tick' }, begun - 60_000);
  assert.equal(rollout.state.weight, 12.5, 'a clock set back raises nothing');
  rollout.send({ type: 'promote' }, begun + 20_000);
  assert.equal(rollout.state.phase, 'rollingBack');
  rollout.send({ type: 'tick' }, begun + 30_000);
  assert.deepEqual([rollout.state.phase, rollout.state.weight], ['rolledBack', 0]);
  assert.equal(exitStatus(rollout.state), 1);
  const { version } = rollout.state;
  rollout.send({ type: 'tick', inline: pass }, begun + 99_000);
  assert.equal(rollout.state.version, version);
  rollout.send({ type: 'retry' }, begun + 100_000);
  assert.deepEqual([rollout.state.phase, rollout.state.step, rollout.state.mirror], ['waiting', 1, 10]);
  assert.ok(rollout.commands.some(({ type }) => type === 'restartWindow'));
});

test('abort, deadline, a moved alias and an inconclusive end roll back or hold as told', () => {
  const aborted = play();
  aborted.send({ type: 'tick' }, 0);
  aborted.send({ type: 'abort' }, MINUTE);
  assert.deepEqual([aborted.state.phase, aborted.state.reason], ['rolledBack', 'aborted']);
  const late = play();
  late.send({ type: 'tick' }, 0);
  late.send({ type: 'tick' }, 24 * 60 * MINUTE);
  assert.equal(late.state.reason, 'not finished by its deadline');
  const moved = play();
  moved.send({ type: 'promote', full: true }, 0);
  assert.equal(moved.state.phase, 'promoting');
  moved.send({ type: 'aliasConflict', version: '7', current: '5' }, MINUTE);
  assert.match(moved.state.reason, /champion names 5 by now, not 3/);
  assert.equal(moved.state.phase, 'rollingBack');
  for (const [onInconclusive, phase] of [
    ['hold', 'held'],
    ['fail', 'rollingBack'],
    ['pass', 'gated'],
  ] as const) {
    const rollout = play({ ...canary, onInconclusive });
    rollout.send({ type: 'tick' }, 0);
    rollout.send({ type: 'tick' }, 10 * MINUTE);
    rollout.send({ type: 'tick', inline: [report('inconclusive')] }, 69 * MINUTE);
    assert.equal(rollout.state.phase, 'analysing');
    rollout.send({ type: 'tick', inline: [report('inconclusive')] }, 70 * MINUTE);
    assert.equal(rollout.state.phase, phase);
    if (phase !== 'held') continue;
    rollout.send({ type: 'tick', inline: pass }, 71 * MINUTE);
    assert.equal(rollout.state.phase, 'gated', 'held ones go on when the data come');
  }
});

test('an abort while the alias is being set sets it back, whether that came through or not, and then ends', () => {
  for (const answers of [['7', '3'], ['3']]) {
    const rollout = play();
    rollout.send({ type: 'promote', full: true }, 0);
    rollout.send({ type: 'abort' }, 1);
    for (const version of answers) rollout.send({ type: 'aliasSet', version }, 40_000);
    const back = rollout.commands.filter((command) => command.type === 'setAlias').at(-1);
    assert.deepEqual(back, { type: 'setAlias', alias: 'champion', expected: '7', version: '3' });
    assert.deepEqual([rollout.state.phase, rollout.state.undoAlias], ['rolledBack', undefined]);
    assert.match(rollout.state.history.map(({ message }) => message).join(), /alias champion names 3,rolled back/);
    const { length } = rollout.commands;
    rollout.send({ type: 'tick' }, 50_000);
    assert.equal(rollout.commands.length, length, 'nothing is asked of the registry any more');
  }
  const elsewhere = play();
  elsewhere.send({ type: 'promote', full: true }, 0);
  elsewhere.send({ type: 'tick', background: [report('fail')] }, 1);
  elsewhere.send({ type: 'tick' }, 40_000);
  assert.equal(elsewhere.state.phase, 'rollingBack', 'it has not ended while the alias may name the candidate');
  elsewhere.send({ type: 'aliasConflict', version: '3', current: '5' }, 40_000);
  assert.equal(elsewhere.state.phase, 'rolledBack');
});

test('pausing stops the steps, promoting resumes them', () => {
  const rollout = play();
  rollout.send({ type: 'pause' }, 0);
  rollout.send({ type: 'tick' }, 30 * MINUTE);
  assert.deepEqual([rollout.state.step, exitStatus(rollout.state)], [0, 2]);
  rollout.send({ type: 'resume' }, 31 * MINUTE);
  rollout.send({ type: 'tick' }, 32 * MINUTE);
  assert.equal(rollout.state.phase, 'waiting');
  assert.equal(exitStatus(rollout.state), 3);
});

/** The registry's alias, with one compare-and-set under way at a time: the rollout asks again until it is answered. */
class OneAlias {
  named = '3';
  everNamed = false;
  private readonly rollout: ReturnType<typeof play>;
  private asked: { expected: string; version: string; done: boolean } | undefined;

  constructor(rollout: ReturnType<typeof play>) {
    this.rollout = rollout;
  }

  send(event: RolloutEvent, now: number): void {
    const before = this.rollout.commands.length;
    this.rollout.send(event, now);
    for (const command of this.rollout.commands.slice(before))
      if (command.type === 'setAlias') this.asked ??= { ...command, done: false };
  }

  carryOut(): void {
    if (this.asked === undefined || this.asked.done) return;
    this.asked.done = true;
    if (this.named === this.asked.expected) this.named = this.asked.version;
    if (this.named === '7') this.everNamed = true;
  }

  answer(now: number): void {
    const { asked } = this;
    if (asked?.done !== true) return;
    this.asked = undefined;
    const { version } = asked;
    if (this.named === version) this.send({ type: 'aliasSet', version }, now);
    else this.send({ type: 'aliasConflict', version, current: this.named }, now);
  }
}

test('whatever happens: weights stay in range, ends are final, a rollback ends at 0', () => {
  const wait = fc.integer({ min: 0, max: 20 * MINUTE });
  const event: fc.Arbitrary<RolloutEvent> = fc.oneof(
    fc.record({
      type: fc.constant('tick' as const),
      inline: fc.array(
        fc.constantFrom('pass' as const, 'inconclusive' as const).map((v) => report(v)),
        { maxLength: 2 },
      ),
      background: fc.array(
        fc.constantFrom('pass' as const, 'pass' as const, 'fail' as const).map((v) => report(v)),
        { maxLength: 1 },
      ),
    }),
    fc.constantFrom<RolloutEvent>(
      { type: 'promote' },
      { type: 'promote', full: true },
      { type: 'abort' },
      { type: 'pause' },
      { type: 'resume' },
    ),
  );
  // What the registry does with a setAlias, and when it answers; and somebody else who moves the alias.
  const registry = fc.constantFrom('carries out' as const, 'answers' as const, 'names another' as const);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.oneof(event, registry), wait), { maxLength: 40 }), (events) => {
      const rollout = play();
      const aliases = new OneAlias(rollout);
      let now = 0;
      for (const [next, wait] of events) {
        now += wait;
        const before = rollout.state;
        if (next === 'carries out') aliases.carryOut();
        else if (next === 'answers') aliases.answer(now);
        else if (next === 'names another') aliases.named = '5';
        else aliases.send(next, now);
        if (before.phase !== 'succeeded' && rollout.state.phase === 'succeeded') assert.equal(aliases.everNamed, true);
        const { phase, weight, mirror } = rollout.state;
        assert.ok(weight >= 0 && weight <= 100 && mirror >= 0 && mirror <= 100);
        if (before.phase === 'rollingBack') assert.ok(weight <= before.weight && phase.startsWith('roll'));
        if (before.phase === 'succeeded' || before.phase === 'rolledBack') assert.equal(phase, before.phase);
        if (phase === 'rolledBack') assert.equal(weight, 0);
      }
      aliases.send({ type: 'abort' }, now);
      for (let i = 1; i <= 4; i++) {
        aliases.send({ type: 'tick' }, now + i * 30_000);
        aliases.carryOut();
        aliases.answer(now + i * 30_000);
      }
      if (rollout.state.phase === 'succeeded') return;
      assert.deepEqual([rollout.state.phase, rollout.state.weight], ['rolledBack', 0]);
      assert.notEqual(aliases.named, '7', 'the alias does not name what was rolled back');
    }),
  );
});

function arm(requests: number, failed: number, scale: number): ArmEvidence {
  const latency = newHistogram();
  for (let i = 0; i < requests; i++) record(latency, -scale * Math.log(1 - (i + 0.5) / requests));
  return { requests, errors: failed, latency };
}

function evidence(control: ArmEvidence, candidate: ArmEvidence, more: Partial<Evidence> = {}): Evidence {
  return { control, candidate, shadow: { compared: 0, mismatched: 0 }, queries: {}, ...more };
}

test('verdicts: fail, pass, and everything else inconclusive', () => {
  const verdict = (metric: Metric, of: Evidence) => judge(metric, of).verdict;
  const base = arm(20_000, 200, 10);
  assert.equal(verdict(errors, evidence(base, arm(20_000, 500, 10))), 'fail');
  assert.equal(verdict(errors, evidence(base, arm(20_000, 190, 10))), 'pass');
  assert.equal(verdict(errors, evidence(base, arm(20_000, 290, 10))), 'inconclusive');
  assert.equal(verdict(errors, evidence(base, arm(0, 0, 10))), 'inconclusive');
  assert.equal(verdict(p99, evidence(base, arm(20_000, 0, 14))), 'fail');
  assert.equal(verdict(p99, evidence(base, arm(20_000, 0, 7))), 'pass');
  assert.equal(verdict(p99, evidence(base, base)), 'inconclusive');
  assert.equal(verdict(p99, evidence(base, arm(0, 0, 1))), 'inconclusive');
  assert.match(judge(p99, evidence(base, base)).reason, /^between -.* % and .* % worse, 5.00 % allowed$/);
  const shadow = (compared: number, mismatched: number) => evidence(base, base, { shadow: { compared, mismatched } });
  assert.equal(verdict(agreement, shadow(5000, 5)), 'pass');
  assert.equal(verdict(agreement, shadow(500, 0)), 'inconclusive');
  assert.equal(verdict(agreement, shadow(5000, 100)), 'fail');
  assert.equal(verdict(agreement, shadow(0, 0)), 'inconclusive');
});

test('a query that finds nothing neither passes nor fails', () => {
  let measured = NO_MEASUREMENTS;
  const verdict = () =>
    judge(revenue, evidence(arm(1, 0, 1), arm(1, 0, 1), { queries: { revenue: measured } })).verdict;
  assert.equal(judge(revenue, evidence(arm(1, 0, 1), arm(1, 0, 1))).verdict, 'inconclusive');
  for (const result of [undefined, [], [Number.NaN], [0.99], [0.1]]) measured = measure(revenue, measured, result);
  assert.deepEqual(measured, { successes: 1, failures: 1, empty: 3 });
  assert.equal(verdict(), 'inconclusive');
  measured = measure(revenue, measured, [0.97]);
  assert.equal(verdict(), 'pass');
  measured = measure(revenue, measured, [0.5]);
  assert.equal(verdict(), 'fail');
  assert.equal(combine([]), 'inconclusive');
});

test('the short verdicts agree with the intervals', () => {
  const counts = fc.tuple(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 300, max: 20_000 }));
  fc.assert(
    fc.property(counts, counts, ([x, n], [y, m]) => {
      const report = judge(errors, evidence(arm(0, 0, 1), arm(0, 0, 1)));
      assert.equal(report.verdict, 'inconclusive');
      const a = { requests: n, errors: x, latency: [] };
      const b = { requests: m, errors: y, latency: [] };
      const long = judge(errors, evidence(a, b));
      const short = errorVerdict(
        { successes: x, trials: n },
        { successes: y, trials: m },
        errors.margin!,
        errors.alpha,
        errors.minRequests,
      );
      if (long.verdict !== 'inconclusive') assert.equal(short, long.verdict);
    }),
    { numRuns: 40 },
  );
  const test99 = { quantile: 0.99, tOpt: p99.minRequests };
  for (const scale of [7, 9, 10, 11, 14]) {
    const [a, b] = [arm(20_000, 0, 10), arm(20_000, 0, scale)];
    const short = quantileVerdict(prepareArm(a.latency, test99), prepareArm(b.latency, test99), 0.05, 0.05, test99);
    assert.equal(short, judge(p99, evidence(a, b)).verdict, `${scale}`);
  }
});

test('α is that of the rollout: shared by its metrics and windows', () => {
  assert.equal(alphaShare(canary, set.templates), 1 / (3 * 2));
});
