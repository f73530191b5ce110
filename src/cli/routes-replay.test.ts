import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { recordJson } from '../eventlog/encode/json.ts';
import type { LogRecord } from '../eventlog/record.ts';
import type { LoggedRecord } from '../experiments/replay/logged-record.ts';
import type { Replay } from '../experiments/replay/replay.ts';
import { cli } from '../testing/cli.ts';
import { seeded } from '../testing/seeded.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-replay-'));
after(() => rmSync(scratch, { recursive: true }));
const ROUTE = join(scratch, 'route.yaml');
writeFileSync(
  ROUTE,
  `apiVersion: switchyard/v1
kind: Route
metadata: {name: ranker}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    canary:
      stable: stable
      candidate: next
      steps: [{setMirror: {percent: 10}}, {setWeight: 10}, {analysis: {templates: [golden]}}]
---
apiVersion: switchyard/v1
kind: AnalysisTemplate
metadata: {name: golden}
spec:
  metrics:
    - {name: errors, test: errorRate, margin: 2%, minRequests: 500}
    - {name: p90, test: latencyQuantile, quantile: 0.9, margin: 50%, minRequests: 500}
---
apiVersion: switchyard/v1
kind: AnalysisTemplate
metadata: {name: others}
spec:
  metrics:
    - {name: agreement, test: shadowMismatch, margin: 10%, minRequests: 100}
    - {name: revenue, prometheus: {address: "http://127.0.0.1:9", query: q}, successCondition: "result > 1"}
`,
);

/** What the event log writes: every field of it. */
function record(i: number, role: 'stable' | 'control' | 'candidate', over: Partial<LogRecord> = {}): LogRecord {
  const variant = role === 'candidate' ? 'next' : 'stable';
  return {
    id: `r${i}`,
    time: 1_700_000_000_000 + 10 * i,
    route: 'ranker',
    variant,
    assigned: variant,
    shadow: false,
    model: 'm',
    version: '1',
    digest: '',
    requestedModel: 'm',
    tenant: 'default',
    protocol: 'v2-http',
    requestId: '',
    traceparent: '',
    status: 'ok',
    latencyMs: 10,
    sampleRate: 1,
    propensity: variant === 'next' ? 0.1 : 0.9,
    pmf: [0.9, 0.1],
    eligible: ['stable', 'next'],
    stateVersion: 3,
    snapshotVersion: -1,
    role,
    analysed: true,
    detour: '',
    entity: '',
    features: [],
    predictions: [{ name: 'y', datatype: 'FP32', shape: [1], values: [1] }],
    schemaVersion: 1,
    redactions: [],
    override: -1,
    bucket: -1,
    fallbacks: [],
    context: [],
    ...over,
  };
}

let files = 0;
async function replayed(records: readonly LogRecord[], ...args: string[]): Promise<Replay & { code: number }> {
  const path = join(scratch, `${files++}.jsonl`);
  writeFileSync(path, records.map(recordJson).join('\n'));
  const { code, out, err } = await cli(['routes', 'replay', path, '--route', ROUTE, ...args, '-o', 'json']);
  assert.notEqual(out, '', err);
  return { ...(JSON.parse(out) as Replay), code };
}

/** Alternating control and candidate, with their chances of failure. */
function traffic(count: number, errors: [number, number], slow = 1, over: Partial<LogRecord> = {}): LogRecord[] {
  const random = seeded(7);
  return Array.from({ length: count }, (_, i) => {
    const candidate = i % 2 === 1;
    const status = random() < errors[Number(candidate)] ? 'internal' : 'ok';
    const latencyMs = (5 + 10 * random()) * (candidate ? slow : 1);
    return record(i, candidate ? 'candidate' : 'control', { status, latencyMs, ...over });
  });
}

test('equal versions pass, and the same log fails a candidate that errs or is slow, before its end', async () => {
  const good = await replayed(traffic(8000, [0.01, 0.01]));
  assert.deepEqual([good.code, good.verdict], [0, 'pass']);
  const errs = await replayed(traffic(8000, [0.01, 0.1]));
  assert.deepEqual([errs.code, errs.verdict], [1, 'fail']);
  assert.ok(errs.decided!.time < errs.last!.time);
  assert.ok(errs.decided!.reports.some(({ metric, verdict }) => metric === 'errors' && verdict === 'fail'));
  const slow = await replayed(traffic(8000, [0.01, 0.01], 3));
  assert.deepEqual([slow.code, slow.verdict], [1, 'fail']);
  assert.ok(slow.decided!.reports.some(({ metric, verdict }) => metric === 'p90' && verdict === 'fail'));
});

test('little data is no verdict, and none is none', async () => {
  const few = await replayed(traffic(200, [0, 0]));
  assert.deepEqual([few.code, few.verdict, few.decided], [3, 'inconclusive', undefined]);
  const none = await replayed([]);
  assert.deepEqual([none.code, none.verdict, none.looks], [3, 'inconclusive', 0]);
});

test("failures that a fallback answered for are the candidate's; sheds, cancels and client errors are nobody's", async () => {
  const hidden = traffic(2000, [0, 0]).map((one) =>
    one.role === 'candidate' ? { ...one, variant: 'stable', fallbacks: [{ variant: 'next', cause: '5xx' }] } : one,
  );
  const failed = await replayed(hidden);
  assert.equal(failed.verdict, 'fail');
  assert.equal(failed.last!.candidate.errors, failed.last!.candidate.requests);
  const ejected = hidden.map((one) => (one.role === 'candidate' ? { ...one, detour: 'ejected', fallbacks: [] } : one));
  const { verdict, last } = await replayed(ejected);
  assert.deepEqual([verdict, last!.candidate.requests], ['inconclusive', 0], 'who was not asked did not fail');
  for (const status of ['overloaded', 'cancelled', 'invalid_argument']) {
    const { last } = await replayed(traffic(100, [0, 0], 1, { status }));
    assert.deepEqual([last!.control.requests, last!.candidate.requests], [0, 0], status);
  }
});

test('what is not analysed, or of the rest of stable, is left out; another control size begins a window', async () => {
  const mixed = traffic(400, [0, 0]).flatMap((one, i) => [
    { ...one, ...(i < 200 ? {} : { pmf: [0.2, 0.8] }) },
    record(i, 'stable'),
    { ...one, analysed: false },
    { ...one, route: 'other' },
  ]);
  const { leftOut, records, windows, last } = await replayed(mixed);
  assert.deepEqual(leftOut, { 'of neither side': 400, 'not analysed': 400, 'of other routes': 400 });
  assert.deepEqual([records, windows], [400, 2]);
  assert.equal(last!.control.requests + last!.candidate.requests, 200);
});

test('shadows are compared with what they copy, and Prometheus is not asked', async () => {
  const pairs = (wrong: number): LogRecord[] =>
    Array.from({ length: 400 }, (_, i) => record(i, 'stable')).flatMap((one, i) => {
      const y = i % 100 < wrong ? 2 : 1;
      const predictions: LogRecord['predictions'] = [{ name: 'y', datatype: 'FP32', shape: [1], values: [y] }];
      const copy: LogRecord = { ...one, id: `${one.id}.shadow`, shadow: true, variant: 'next', predictions };
      return i % 2 === 0 ? [one, copy] : [copy, one];
    });
  const same = await replayed(pairs(1), '--template', 'others');
  assert.deepEqual([same.verdict, same.unjudged], ['pass', ['revenue']]);
  assert.equal((await replayed(pairs(40), '--template', 'others')).verdict, 'fail');
  const ended = (status: LogRecord['status']) =>
    pairs(1).map((one): LogRecord => (one.shadow ? { ...one, status, predictions: [] } : one));
  assert.equal((await replayed(ended('internal'), '--template', 'others')).verdict, 'fail', 'it failed every copy');
  assert.equal((await replayed(ended('deadline_exceeded'), '--template', 'others')).verdict, 'inconclusive');
});

test('variants are compared by name where there is no canary, and wrong names are refused with the right ones', async () => {
  const arms = traffic(3000, [0.01, 0.2]).map((one) => ({ ...one, role: 'arm' }));
  const named = await replayed(arms, '--control', 'stable', '--candidate', 'next', '--template', 'golden');
  assert.equal(named.verdict, 'fail');
  const path = join(scratch, '0.jsonl');
  const refused = async (...args: string[]) => cli(['routes', 'replay', path, '--route', ROUTE, ...args]);
  const template = await refused('--template', 'silver');
  assert.equal(template.code, 2);
  assert.match(template.err, /no AnalysisTemplate is called silver; there are: golden, others/);
  assert.match((await refused('--control', 'old', '--candidate', 'next')).err, /no variant is called "old"/);
  assert.match((await refused('--name', 'none')).err, /no such route in .*; there are: ranker/);
  const shown = await refused();
  assert.match(shown.out, /^8000 of 8000 records, \d+ looks, 1 window\n\npass at 2023-/);
});

test('a log record has all that replays read', () => {
  const logged: Pick<
    LogRecord,
    Exclude<keyof LoggedRecord, 'context' | 'failedOver' | 'reward' | 'features' | 'predictions'>
  > = record(0, 'stable');
  assert.equal(logged.id, 'r0');
});
