import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Measurement } from './generators/measurement.ts';
import { figuresBlock, replaceBlock } from './readme.ts';
import type { RunRecord } from './report.ts';
import { ratioOf } from './scenario.ts';

const at = (requests: number): Measurement => ({
  requests,
  succeeded: requests,
  seconds: 1,
  statuses: {},
  errors: 0,
  latency: { p50: 1, p90: 2, p99: 3, p999: 4, max: 5 },
  generatorThreads: 1,
  serverCpuSeconds: 0.001,
  generatorCpuSeconds: 0.5,
});
const series = [
  { name: 'switchyard', role: 'subject' as const, rounds: [at(60), at(50)] },
  { name: 'bare-uws', role: 'limit' as const, rounds: [at(100), at(100)] },
];
const run: RunRecord = {
  startedAt: '2025-01-02T03:04:05.000Z',
  machine: { cpu: 'CPU', cores: 2, memoryGiB: 8, kernel: '6', node: 'v20', commit: 'abc', tools: {} },
  settings: { rounds: 2, seconds: 1, warmupSeconds: 1, firstWarmupSeconds: 1, quick: false },
  scenarios: [
    {
      name: 'small-json',
      description: '',
      notes: [],
      panels: [
        {
          title: '64 connections',
          counts: 'requests',
          series,
          comparisons: [
            ...ratioOf(series, 'switchyard', 'bare-uws', 'of the limit', { atLeast: 0.6 }),
            ...ratioOf(series, 'switchyard', 'bare-uws', 'of what nobody promised'),
          ],
        },
      ],
    },
  ],
};

test('the figures hold every contestant beside the subject, and each goal with whether it was met', () => {
  const block = figuresBlock(run, { goals: true });
  assert.match(block, /2025-01-02 on 2 cores of CPU/);
  assert.match(block, /^\| Switchyard \| 55 \| 18\.\d \| {2}\|$/m);
  assert.match(block, /^\| bare uWebSockets\.js, constant answer \| 100 \| 10 \| 0\.55 × \|$/m);
  assert.match(block, /\| small-json, 64 connections: of the limit \| 0\.55 × \|.*\| ≥ 0\.6 \| missed \|/);
  assert.doesNotMatch(block, /nobody promised/);
  const short = figuresBlock(run, { goals: false });
  assert.ok(block.startsWith(short));
  assert.match(short, /^\| Switchyard /m);
  assert.doesNotMatch(short, /of the limit/);
});

test('a generator near its limit is named with the target that may be faster', () => {
  assert.doesNotMatch(figuresBlock(run, { goals: true }), /load generator was busy/);
  const [panel] = run.scenarios[0].panels;
  const near = panel.series.map((s) => ({ ...s, rounds: s.rounds.map((m) => ({ ...m, generatorCpuSeconds: 0.94 })) }));
  const scenarios = [{ ...run.scenarios[0], panels: [{ ...panel, series: near }] }];
  assert.match(
    figuresBlock({ ...run, scenarios }, { goals: false }),
    /^- small-json, 64 connections: The load generator was busy 94 % of the time against bare-uws: /m,
  );
});

test('only what lies between the markers is replaced', () => {
  const text = 'a\n<!-- loadtest:begin -->\nold\n<!-- loadtest:end -->\nz';
  assert.equal(replaceBlock(text, 'new'), 'a\n<!-- loadtest:begin -->\nnew\n<!-- loadtest:end -->\nz');
  assert.throws(() => replaceBlock('a', 'new'), /no block/);
});
