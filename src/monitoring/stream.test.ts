import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type LogRecord, PAYLOAD_NOT_KEPT } from '../eventlog/record.ts';
import { addSums } from './counters.ts';
import { monitorSchema } from './document.ts';
import { seededRandom } from './statistics/interval.ts';
import { MonitorStream } from './stream.ts';
import type { MonitorEvent, Reference, WindowSums } from './types.ts';
import { judgeWindow } from './verdict.ts';
import { seasonOf } from './watcher.ts';

const folder = mkdtempSync(join(tmpdir(), 'monitor-stream-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function spec(more: object = {}) {
  return monitorSchema.parse({
    apiVersion: 'switchyard/v1',
    kind: 'Monitor',
    metadata: { name: 'm' },
    spec: { model: 'm', reference: { records: 1000 }, window: { rows: 1000 }, ...more },
  }).spec;
}

const QUALITY = {
  quality: { prediction: 'outputs.y', window: { rows: 10 }, metrics: [{ metric: 'accuracy', min: 0.9 }] },
  retrain: { pipeline: 'p', data: { columns: { 'inputs.x[*]': 'x*' } } },
};

let count = 0;
function record(x: number[][], more: Partial<LogRecord> = {}): LogRecord {
  return {
    id: `r${count++}`,
    time: 1000 + count,
    route: 'm',
    variant: '',
    model: 'm',
    version: '1',
    digest: 'd1',
    tenant: 'acme',
    status: 'ok',
    shadow: false,
    entity: 'e',
    features: [{ name: 'x', datatype: 'FP32', shape: [x.length, x[0].length], values: x.flat() }],
    predictions: [
      { name: 'y', datatype: 'INT64', shape: [x.length, 1], values: x.map(([first]) => (first > 0.5 ? 1 : 0)) },
    ],
    redactions: [] as string[],
    ...more,
  } as LogRecord;
}

function watch(more: object = {}) {
  const events: MonitorEvent[] = [];
  const stream = new MonitorStream((event) => events.push(event));
  const plan = { name: 'm', spec: spec(more), generation: 0, references: [] as Reference[] };
  stream.set([plan]);
  const windows = () => events.flatMap((event) => (event.kind === 'window' ? [event.window] : []));
  const references = () => events.flatMap((event) => (event.kind === 'reference' ? [event.reference] : []));
  return { stream, events, windows, references, plan };
}

function feed(stream: MonitorStream, rows: number, x: () => number[], more: Partial<LogRecord> = {}): void {
  for (let i = 0; i < rows; i += 2) stream.consume([record([x(), x()], more)]);
}

const seeded = (seed: number, shift = 0) => {
  const random = seededRandom(seed);
  return () => [random() + shift, random()];
};

test('a reference is frozen from the first rows, windows are counted in its bins, and a shift is flagged', () => {
  const { stream, windows, references, plan } = watch();
  feed(stream, 2000, seeded(1));
  feed(stream, 1000, seeded(2, 0.3));
  assert.deepEqual(
    references()[0].columns.map(({ name }) => name),
    ['inputs.x[0]', 'inputs.x[1]', 'outputs.y'],
  );
  const [quiet, shifted] = windows().map((window) => judgeWindow(plan.spec, references()[0], window));
  assert.equal(quiet.state, 'ok', quiet.reason);
  assert.equal(shifted.state, 'drifted');
  const [worst] = shifted.slices[0].columns;
  assert.equal(worst.name, 'inputs.x[0]');
  const [effect] = worst.effects ?? [];
  assert.equal(effect.statistic, 'psi');
  assert.ok(effect.interval.low > effect.threshold, 'the effect is surely beyond its limit');
});

test('too few rows are insufficient, never ok', () => {
  const { stream, windows, references, plan } = watch();
  feed(stream, 1200, seeded(3));
  stream.tick(Date.now() + 24 * 3_600_000);
  assert.equal(judgeWindow(plan.spec, references()[0], windows()[0]).state, 'insufficient');
});

test('every version has a reference of its own, and one that is kept is used again', () => {
  const first = watch();
  feed(first.stream, 1000, seeded(4));
  feed(first.stream, 1000, seeded(5, 5), { version: '2', digest: 'd2' });
  assert.deepEqual(
    first.references().map(({ version }) => version),
    ['1', '2'],
  );
  const again = watch();
  again.stream.set([{ ...again.plan, generation: 1, references: first.references() }]);
  feed(again.stream, 1000, seeded(6, 5), { version: '2', digest: 'd2' });
  assert.equal(again.references().length, 0);
  assert.equal(judgeWindow(again.plan.spec, first.references()[1], again.windows()[0]).state, 'ok');
});

test('other models, failures and shadows do not count', () => {
  const { stream, references } = watch();
  feed(stream, 1000, seeded(7), { model: 'other' });
  feed(stream, 1000, seeded(7), { status: 'internal' });
  feed(stream, 1000, seeded(7), { shadow: true });
  assert.equal(references().length, 0);
});

test('records whose values lie apart are no missing values, and what the gateway adds is no input', () => {
  const { stream, windows, references } = watch();
  const anomalies = { name: 'switchyard.anomalies', datatype: 'BYTES' as const, shape: [1], values: ['x:type'] };
  const flagged = record([[0.1, 0.2]]);
  stream.consume([{ ...flagged, features: [...flagged.features, anomalies] }]);
  feed(stream, 1000, seeded(1));
  assert.deepEqual(
    references()[0].columns.map(({ name }) => name),
    ['inputs.x[0]', 'inputs.x[1]', 'outputs.y'],
  );
  const apart = [{ payloadRef: 'sha256:00' }, { redactions: [PAYLOAD_NOT_KEPT] }];
  for (let i = 0; i < 500; i++) {
    stream.consume([record([seeded(2)(), seeded(3)()])]);
    const large = record([[0, 0]], apart[i % 2]);
    stream.consume([
      { ...large, features: large.features.map((column) => ({ ...column, values: [] })), predictions: [] },
    ]);
  }
  stream.consume([record([[0.5, 0.5]])]);
  assert.equal(windows()[0].slices[''].rows, 1000);
});

test('sums of windows add up to those of one', () => {
  const statistics = { statistics: { psi: 0.2, wasserstein: 0.1 } };
  const { stream, windows, references, plan } = watch({ ...statistics, window: { rows: 500 } });
  feed(stream, 2000, seeded(8));
  const [a, b] = windows() as [WindowSums, WindowSums];
  const sum = addSums(a.slices[''], b.slices['']);
  assert.equal(sum.rows, 1000);
  assert.equal(judgeWindow(plan.spec, references()[0], { ...a, slices: { '': sum } }).state, 'ok');
});

test('a slice that changes is flagged where all rows together hide it', () => {
  const { stream, windows, references, plan } = watch({
    slices: [{ by: 'tenant' }],
    minRows: 100,
    window: { rows: 2000 },
    reference: { records: 2000 },
  });
  const random = seededRandom(9);
  const mixed = (shift: number): void => {
    for (let i = 0; i < 1000; i++) {
      const few = i % 10 === 0;
      const x = [random() + (few ? shift : 0), random()];
      stream.consume([record([x, x], { tenant: few ? 'small' : 'large' })]);
    }
  };
  mixed(0);
  mixed(0.2);
  const verdict = judgeWindow(plan.spec, references()[0], windows()[0]);
  const states = Object.fromEntries(verdict.slices.map(({ slice, state }) => [slice, state]));
  assert.deepEqual(states, { '': 'ok', 'tenant=large': 'ok', 'tenant=small': 'drifted' });
  assert.match(verdict.reason, /where tenant=small/);
});

test('labels are joined whether they come before or after their record, and unknown ones are counted', () => {
  const { stream, events, plan } = watch(QUALITY);
  const label = (id: string, value: unknown) => ({
    id,
    time: 1,
    route: '',
    model: 'm',
    rewards: {},
    label: JSON.stringify(value),
    tenant: '',
  });
  for (let i = 0; i < 10; i++) {
    const one = record([[i / 10, 0]]);
    const right = label(one.id, i / 10 > 0.5 ? 1 : i === 0 ? 7 : 0);
    if (i % 2 === 0) stream.feedback([right]);
    stream.consume([one]);
    if (i % 2 === 1) stream.feedback([right]);
  }
  const quality = events.find((event) => event.kind === 'quality');
  assert.deepEqual(quality?.kind === 'quality' && quality.window.slices[''].correct, 9);
  const batch = record([
    [0.9, 1],
    [0.1, 2],
  ]);
  stream.consume([batch]);
  stream.feedback([label(batch.id, [1, 0]), label('nobody', 1)]);
  stream.tick(Date.now() + plan.spec.quality!.wait + 1);
  const labels = events.findLast((event) => event.kind === 'labels');
  assert.deepEqual(labels?.kind === 'labels' && [labels.labels.total, labels.labels.unmatched], [12, 1]);
  const file = join(folder, 'rows.csv');
  const exported = stream.export('m', 0, file);
  assert.equal(exported.rows, 12);
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  assert.equal(lines[0], 'id,time,version,entity,x0,x1,label');
  assert.match(lines[11], /,0.9,1,1$/);
});

test('windows belong to the hour they began in', () => {
  const time = Date.parse('2026-03-03T13:59:00Z');
  assert.deepEqual(
    [seasonOf(time, undefined), seasonOf(time, 'hourOfDay'), seasonOf(time, 'hourOfWeek')],
    ['', '13', '2-13'],
  );
  const seasonal = { reference: { records: 1000, seasonal: 'hourOfDay', learn: '1d' } };
  const { stream, windows } = watch(seasonal);
  feed(stream, 1000, seeded(1), { time });
  feed(stream, 300, seeded(1), { time });
  feed(stream, 300, seeded(1), { time: time + 120_000 });
  assert.deepEqual(
    windows().map(({ season, slices }) => [season, slices[''].rows]),
    [['13', 300]],
  );
});

test('a window is as old as what it holds was here, whatever the clocks of the records say', () => {
  const HOUR_MS = 3_600_000;
  const { stream, windows, plan } = watch();
  feed(stream, 1000, seeded(1));
  const now = Date.now();
  // Read after an outage of the brokers, and from a gateway whose clock is ahead.
  for (const time of [now - 5 * HOUR_MS, now + 5 * HOUR_MS]) {
    const before = windows().length;
    for (let i = 0; i < 10; i++) {
      stream.consume([record([[0.1, 0.2]], { time: time + i })]);
      stream.tick(Date.now());
    }
    assert.equal(windows().length, before, 'nothing cuts it on its way');
    stream.tick(Date.now() + plan.spec.window.atMost + 1);
    const window = windows().at(-1);
    assert.deepEqual([windows().length, window?.slices[''].rows], [before + 1, 10]);
    assert.deepEqual([window?.from, window?.to], [time, time + 9], 'it tells the times of its records');
  }
});

test('a label may take as long as the settings say from its record’s arrival on, whatever their clocks say', () => {
  const { stream, events, plan } = watch(QUALITY);
  const { wait } = plan.spec.quality!;
  const now = Date.now();
  const ids = [now + 10 * wait, now - 10 * wait, now].map((time) => {
    const one = record([[0.1, 0.2]], { time });
    stream.consume([one]);
    return one.id;
  });
  const feedback = (id: string, time: number) =>
    stream.feedback([{ id, time, route: '', model: 'm', rewards: {}, label: '0', tenant: '' }]);
  const last = () => {
    const event = events.findLast(({ kind }) => kind === 'labels');
    return event?.kind === 'labels' ? event.labels : undefined;
  };
  feedback('early', now - 10 * wait);
  stream.tick(now + 1000);
  feedback(ids[1], now);
  stream.tick(now + 2000);
  assert.deepEqual([last()?.total, last()?.pending, last()?.unmatched], [1, 2, 0]);
  const late = record([[0.1, 0.2]], { id: 'early', time: now - 10 * wait });
  stream.consume([late]);
  stream.tick(now + 3000);
  assert.equal(last()?.total, 2, 'a label that came before its record waits, too');
  feedback('nobody', now + 10 * wait);
  stream.tick(Date.now() + wait + 1);
  feedback(ids[0], now);
  stream.consume([record([[0.1, 0.2]], { id: 'later' })]);
  feedback('later', now);
  stream.tick(Date.now() + 2 * wait);
  assert.deepEqual([last()?.total, last()?.pending, last()?.unmatched], [3, 0, 2]);
});

test('a record and a label that come again, as from a topic, count once and are not missed', () => {
  const { stream, events, plan } = watch(QUALITY);
  const { wait } = plan.spec.quality!;
  const told = [record([[0.1, 0.2]]), record([[0.9, 0.2]])];
  const label = { id: told[0].id, time: 1, route: '', model: 'm', rewards: {}, label: '0', tenant: '' };
  const early = { ...label, id: told[1].id };
  for (let i = 0; i < 3; i++) {
    stream.feedback([early]);
    stream.consume(told);
    stream.feedback([label]);
  }
  stream.tick(Date.now() + wait + 1);
  const labels = events.findLast(({ kind }) => kind === 'labels');
  assert.ok(labels?.kind === 'labels', 'labels are told');
  assert.deepEqual([labels.labels.total, labels.labels.pending, labels.labels.unmatched], [2, 0, 0]);
});
