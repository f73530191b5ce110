import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { appendFileSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { lookAtCount, lookAtData, lookAtFigure, lookAtSchedule } from './causes.ts';
import { crosses, decide, freshState, type TriggerState, withCause, withEnd, withStart } from './decide.ts';
import { triggerProblems, triggerSchema } from './document.ts';
import { checkSignature } from './signature.ts';

const folder = mkdtempSync(join(tmpdir(), 'triggers-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const trigger = (spec: object) => ({
  apiVersion: 'switchyard/v1',
  kind: 'Trigger',
  metadata: { name: 't' },
  spec: { pipeline: 'p', when: { manual: {} }, ...spec },
});
const specOf = (spec: object) => triggerSchema.parse(trigger(spec)).spec;
const MINUTE = 60_000;

test('a cause waits until it is quiet and until the run before is over and cooled down', () => {
  const spec = specOf({ debounce: '1m', cooldown: '10m' });
  let state: TriggerState = withCause(freshState(), 'first', 0);
  assert.equal(decide(spec, state, 30_000).what, 'wait');
  state = withCause(state, 'second', 50_000);
  assert.deepEqual(decide(spec, state, 70_000), {
    what: 'wait',
    kind: 'debounce',
    reason: 'debounce: the cause may go on',
  });
  assert.deepEqual(decide(spec, state, 50_000 + MINUTE), { what: 'fire', reason: 'second' });
  state = withCause(withStart(state, 'run1', 2 * MINUTE), 'third', 3 * MINUTE);
  const busy = decide(spec, state, 5 * MINUTE);
  assert.equal(busy.what === 'wait' && busy.kind, 'singleFlight');
  state = withEnd(state, 6 * MINUTE);
  const cooling = decide(spec, state, 7 * MINUTE);
  assert.equal(cooling.what === 'wait' && cooling.kind, 'cooldown');
  assert.equal(decide(spec, state, 16 * MINUTE).what, 'fire');
});

test('a spent budget and a disabled trigger let the cause go', () => {
  const spec = specOf({ dailyBudget: 2 });
  let state = withStart(withStart(freshState(), 'a', 0), 'b', MINUTE);
  state = withCause(withEnd(state, 2 * MINUTE), 'again', 3 * MINUTE);
  assert.match(JSON.stringify(decide(spec, state, 4 * MINUTE)), /refuse.*budget of 2 runs/);
  assert.equal(decide(spec, state, 24 * 60 * MINUTE + 1).what, 'fire');
  assert.match(JSON.stringify(decide(specOf({ enabled: false }), state, 5 * MINUTE)), /refuse.*disabled/);
});

test('a figure crosses when it holds and did not before', () => {
  assert.equal(crosses('<', 0.9, undefined, 0.8), true);
  assert.equal(crosses('<', 0.9, 0.8, 0.7), false);
  assert.equal(crosses('<', 0.9, 0.95, 0.7), true);
  const low = { op: '<' as const, value: 0.9 };
  const first = lookAtFigure(low, 'accuracy', 0.8, {});
  assert.equal(first.cause, 'accuracy is 0.8: < 0.9');
  assert.equal(lookAtFigure(low, 'accuracy', 0.7, first.memory).cause, undefined);
  assert.equal(lookAtFigure(low, 'accuracy', 0.95, first.memory).cause, undefined);
});

test('a schedule fires once for all times that passed', () => {
  const schedule = { cron: '0 3 * * *', timezone: 'UTC' };
  const start = Date.parse('2026-01-01T00:00:00Z');
  const first = lookAtSchedule(schedule, {}, start);
  assert.equal(first.cause, undefined);
  assert.equal(first.memory.due, Date.parse('2026-01-01T03:00:00Z'));
  const later = lookAtSchedule(schedule, first.memory, Date.parse('2026-01-05T12:00:00Z'));
  assert.match(later.cause ?? '', /due 2026-01-01T03:00/);
  assert.equal(later.memory.due, Date.parse('2026-01-06T03:00:00Z'));
});

test('data arrives when a file is new or changed and has settled', async () => {
  const data = { path: 'in', match: '*.csv', settle: 1000, every: 1000 };
  const inFolder = join(folder, 'in');
  const missing = await lookAtData(data, {}, folder, Date.now());
  assert.equal(missing.cause, undefined);
  const { mkdirSync } = await import('node:fs');
  mkdirSync(inFolder);
  writeFileSync(join(inFolder, 'a.csv'), 'x\n1\n');
  writeFileSync(join(inFolder, 'a.tmp'), 'x');
  const early = await lookAtData(data, missing.memory, folder, Date.now());
  assert.equal(early.cause, undefined);
  const settled = await lookAtData(data, early.memory, folder, Date.now() + 2000);
  assert.equal(settled.cause, 'data arrived: a.csv');
  assert.equal((await lookAtData(data, settled.memory, folder, Date.now() + 2000)).cause, undefined);
  writeFileSync(join(inFolder, 'a.csv'), 'x\n1\n2\n');
  utimesSync(join(inFolder, 'a.csv'), 1, 2);
  assert.equal((await lookAtData(data, settled.memory, folder, Date.now())).cause, 'data arrived: a.csv');
});

test('rows are counted from the last firing on', async () => {
  const file = join(folder, 'rows.csv');
  writeFileSync(file, 'x\n1\n');
  const count = { path: 'rows.csv', rows: 3, every: 1000 };
  let found = await lookAtCount(count, {}, folder);
  assert.equal(found.cause, undefined);
  appendFileSync(file, '2\n3\n');
  found = await lookAtCount(count, found.memory, folder);
  assert.equal(found.cause, undefined);
  appendFileSync(file, '4\n');
  found = await lookAtCount(count, found.memory, folder);
  assert.equal(found.cause, '3 new rows, 3 were wanted');
  assert.equal((await lookAtCount(count, found.memory, folder)).cause, undefined);
});

test('signed requests are believed once, and only then', () => {
  const body = Buffer.from('{"value": 3}');
  const now = 1_700_000_000_000;
  const sign = (delivery: string, seconds: number, secret = 's3cret') =>
    `v1,${createHmac('sha256', secret).update(`${delivery}.${seconds}.`).update(body).digest('base64')}`;
  const check = (headers: Record<string, string>, delivered: string[] = []) =>
    checkSignature({ header: (name) => headers[name] ?? '', body }, 's3cret', delivered, now);
  const own = (delivery: string, seconds: number, secret?: string) => ({
    'x-switchyard-signature': sign(delivery, seconds, secret),
    'x-switchyard-delivery': delivery,
    'x-switchyard-timestamp': String(seconds),
  });
  const seconds = now / 1000;
  assert.deepEqual(check(own('d1', seconds)), ['d1']);
  assert.throws(() => check(own('d1', seconds), ['d1']), /came before/);
  assert.throws(() => check(own('d1', seconds - 600)), /five minutes/);
  assert.throws(() => check(own('d1', seconds, 'other')), /does not fit/);
  assert.throws(() => check({}), /not signed/);
  const hub = `sha256=${createHmac('sha256', 's3cret').update(body).digest('hex')}`;
  const seen = check({ 'x-hub-signature-256': hub });
  assert.throws(() => check({ 'x-hub-signature-256': hub, 'x-github-delivery': 'other' }, seen), /came before/);
  assert.throws(() => check({ 'x-hub-signature-256': 'sha256=00' }), /does not fit/);
});

test('a trigger that cannot work is refused with the place and what is allowed', () => {
  const problem = (spec: object) =>
    triggerProblems(trigger(spec)).map(({ path, message }) => `${path.join('.')}: ${message}`)[0];
  assert.match(
    problem({ when: { schedule: { cron: 'each monday' } } }),
    /spec.when.schedule.cron: "each monday" in "UTC" is no schedule/,
  );
  assert.match(problem({ when: { schedule: { cron: '0 3 * * *', timezone: 'Mars/Base' } } }), /no schedule/);
  assert.match(problem({ when: {} }), /exactly one of schedule, data/);
  assert.match(problem({ when: { manual: {}, ci: { secret: 'S' } } }), /exactly one of/);
  assert.match(problem({ when: { performance: { metric: 'm', op: '>', value: 1 } } }), /experiment or model/);
  assert.match(problem({ debounce: 'soon' }), /spec.debounce: a duration/);
});
