import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Measurement } from './generators/measurement.ts';
import { comparisonLine, markdownReport, panelChart, type RunRecord } from './report.ts';
import { roundOrder } from './rounds.ts';
import { figureOf, ratioOf, type ScenarioResult } from './scenario.ts';

const at = (succeeded: number, generatorCpuSeconds = 0.2): Measurement => ({
  requests: succeeded + 1,
  succeeded,
  seconds: 1,
  statuses: {},
  errors: 2,
  latency: { p50: 1, p90: 2, p99: 3, p999: 4, max: 5 },
  generatorThreads: 1,
  serverCpuSeconds: 0.5,
  generatorCpuSeconds,
});

const series = [
  { name: 'switchyard', role: 'subject' as const, rounds: [at(60), at(30)] },
  { name: 'bare-uws', role: 'limit' as const, rounds: [at(100, 0.99), at(50, 0.99)] },
];
const scenario: ScenarioResult = {
  name: 'small-json',
  description: 'Described.',
  panels: [
    {
      title: '64 connections',
      counts: 'requests',
      series,
      comparisons: ratioOf(series, 'switchyard', 'bare-uws', 'of the limit', { atLeast: 0.55 }),
    },
  ],
  notes: ['litserve could not be measured: no Python'],
};
const run: RunRecord = {
  startedAt: '2025-01-02T03:04:05.000Z',
  machine: { cpu: 'CPU', cores: 2, memoryGiB: 8, kernel: '6', node: 'v20', commit: 'abc', tools: { wrk: '4' } },
  settings: { rounds: 2, seconds: 1, warmupSeconds: 1, firstWarmupSeconds: 1, quick: true },
  scenarios: [scenario],
};

test('a goal is judged by the median of the paired ratios', () => {
  assert.equal(comparisonLine(scenario.panels[0].comparisons[0]), '0.6 × [0.6, 0.6] of the limit: goal ≥ 0.55, met');
  const [missed] = ratioOf(series, 'switchyard', 'bare-uws', 'of the limit', { atLeast: 0.61 });
  assert.match(comparisonLine(missed), /goal ≥ 0.61, missed/);
  const [slow] = figureOf(series, 'switchyard', (m) => m.latency.p99, 'p99', 'ms', { atMost: 2 });
  assert.match(comparisonLine(slow), /3 ms .*goal ≤ 2, missed/);
  assert.deepEqual(ratioOf(series, 'switchyard', 'absent', ''), []);
});

test('the report names the machine, every target, refusals, and a generator that was the limit', () => {
  const report = markdownReport(run, true);
  for (const part of [
    'CPU, 2 cores',
    '| switchyard | 45 |',
    '![small-json, 64 connections](small-json-1.svg)',
    'no Python',
  ]) {
    assert.ok(report.includes(part), part);
  }
  assert.match(report, /busy 99 % of the time against bare-uws/);
  assert.doesNotMatch(report, /against switchyard: that target/);
  assert.ok(!markdownReport(run, false).includes('.svg'));
  assert.match(panelChart(scenario, scenario.panels[0]), /small-json: 64 connections/);
});

test('every contestant plays once a round and starts in turn', () => {
  assert.deepEqual(roundOrder(3, 0), [0, 1, 2]);
  assert.deepEqual(roundOrder(3, 4), [1, 2, 0]);
});
