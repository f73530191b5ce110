import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import Database from 'libsql';
import type { FeedbackRecord, LogRecord } from '../eventlog/record.ts';
import { monitorSchema } from './document.ts';
import { MonitorStream, openStores } from './stream.ts';
import type { MonitorEvent, QualityWindow } from './types.ts';

const folder = mkdtempSync(join(tmpdir(), 'label-store-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const fail = (error: unknown): void => {
  throw error;
};

function specOf(more: object = {}, quality: object = {}) {
  return monitorSchema.parse({
    apiVersion: 'switchyard/v1',
    kind: 'Monitor',
    metadata: { name: 'm' },
    spec: {
      model: 'm',
      reference: { records: 1000 },
      quality: {
        prediction: 'outputs.y',
        window: { rows: 10 },
        metrics: [{ metric: 'accuracy', min: 0.9 }],
        ...quality,
      },
      retrain: { pipeline: 'p', data: { rows: 8 } },
      ...more,
    },
  }).spec;
}

function watch(file: string, more: object = {}, quality: object = {}) {
  const events: MonitorEvent[] = [];
  const store = openStores(file, fail);
  const stream = new MonitorStream(
    (event) => events.push(event),
    () => store,
  );
  const plan = { name: 'm', spec: specOf(more, quality), generation: 0, references: [] };
  stream.set([plan]);
  let ticks = Date.now();
  const settle = (): void => stream.settle(Number.POSITIVE_INFINITY);
  const counts = () => {
    ticks += 1000;
    stream.tick(ticks);
    const event = events.findLast(({ kind }) => kind === 'labels');
    return event?.kind === 'labels' ? event.labels : undefined;
  };
  const windows = (): QualityWindow[] => events.flatMap((event) => (event.kind === 'quality' ? [event.window] : []));
  return { stream, settle, counts, windows, plan };
}

const record = (id: string, x: number, tenant = ''): LogRecord =>
  ({
    id,
    time: 1000,
    route: '',
    variant: '',
    model: 'm',
    version: '1',
    digest: 'd',
    tenant,
    status: 'ok',
    shadow: false,
    entity: 'e',
    features: [{ name: 'x', datatype: 'FP64', shape: [1], values: [x] }],
    predictions: [{ name: 'y', datatype: 'INT64', shape: [1], values: [1n] }],
    redactions: [] as string[],
  }) as unknown as LogRecord;

const label = (id: string, value: unknown, tenant = ''): FeedbackRecord => {
  return { id, time: 1, route: '', model: 'm', rewards: {}, label: JSON.stringify(value), tenant };
};

test('what waits, what was labelled and what was counted is there after the process has ended', () => {
  const file = join(folder, 'ends.db');
  const first = watch(file);
  for (let i = 0; i < 12; i++) first.stream.consume([record(`a${i}`, i === 3 ? Number.NaN : i)]);
  for (let i = 0; i < 7; i++) first.stream.feedback([label(`a${i}`, i === 0 ? 0 : 1)]);
  first.stream.feedback([label('early', 1), label('a11', [1, 2])]);
  first.settle();
  assert.deepEqual(first.windows(), []);
  // Not closed: killed.
  const second = watch(file);
  assert.deepEqual(
    { ...second.counts(), monitor: '' },
    { monitor: '', total: 7, pending: 4, unmatched: 1, kept: 7 },
    'retraining goes on counting where it was',
  );
  second.stream.consume([record('early', 20), record('a2', 2)]);
  second.stream.feedback([label('a2', 1)]);
  assert.equal(second.counts()?.total, 8, 'what came before the end counts once');
  for (let i = 7; i < 9; i++) second.stream.feedback([label(`a${i}`, 1)]);
  second.settle();
  const [window] = second.windows();
  assert.deepEqual([window?.slices[''].rows, window?.slices[''].correct, window?.firstId], [10, 9, 'a0']);
  const csv = join(folder, 'rows.csv');
  assert.equal(second.stream.export('m', 0, csv).rows, 8, 'the newest');
  const lines = readFileSync(csv, 'utf8').trim().split('\n');
  assert.equal(lines[1], 'a2,1000,1,e,2,1');
  assert.equal(lines[2], 'a3,1000,1,e,NaN,1');
  second.stream.close();
});

test('labels of other settings or of a monitor that was taken away are forgotten', () => {
  const file = join(folder, 'settings.db');
  const ask = ({ stream }: ReturnType<typeof watch>) => {
    stream.consume([record('a', 1), record('b', 1)]);
    stream.feedback([label('a', 1)]);
  };
  const first = watch(file);
  ask(first);
  first.stream.close();
  const same = watch(file, { window: { rows: 77 } });
  assert.deepEqual([same.counts()?.total, same.counts()?.pending], [1, 1], 'thresholds and sizes do not matter');
  same.stream.close();
  const other = watch(file, {}, { field: 'class' });
  assert.deepEqual([other.counts()?.total, other.counts()?.pending], [0, 0]);
  other.stream.close();
  const again = watch(file);
  assert.equal(again.counts()?.pending, 0);
  ask(again);
  again.stream.set([]);
  again.stream.set([again.plan]);
  assert.deepEqual([again.counts()?.total, again.counts()?.pending], [0, 0]);
  again.stream.close();
});

test('a disk that refuses costs nothing in memory, and is told once', () => {
  const told: unknown[] = [];
  const file = join(folder, 'refuses.db');
  const store = openStores(file, (error) => told.push(error));
  const other = new Database(file);
  const stream = new MonitorStream(
    () => {},
    () => store,
  );
  stream.set([{ name: 'm', spec: specOf(), generation: 0, references: [] }]);
  other.exec('BEGIN IMMEDIATE');
  for (let i = 0; i < 5; i++) {
    stream.consume([record(`a${i}`, i)]);
    stream.feedback([label(`a${i}`, 1)]);
    stream.settle(Number.POSITIVE_INFINITY);
  }
  assert.equal(stream.labelled('m', 0), 5);
  assert.equal(told.length, 1);
  other.exec('ROLLBACK');
  other.close();
  stream.close();
  const again = watch(file);
  assert.equal(again.counts()?.total, 5, 'what waited is written when the disk takes it again');
  again.stream.close();
});

test('what is kept of requests that wait, and of labels, outlives a process that is killed', {
  timeout: 600_000,
}, async () => {
  const file = join(folder, 'killed.db');
  const spec = JSON.stringify(specOf({ retrain: { pipeline: 'p', data: { rows: 100_000 } } }));
  const at = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);
  const script = `
    import { writeSync } from 'node:fs';
    import { MonitorStream, openStores } from ${at('./stream.ts')};
    const store = openStores(${JSON.stringify(file)}, (error) => { throw error; });
    const stream = new MonitorStream(() => {}, () => store);
    stream.set([{ name: 'm', spec: ${spec}, generation: 0, references: [] }]);
    const sample = ${JSON.stringify(record('', 1), (_, value) => (typeof value === 'bigint' ? Number(value) : value))};
    for (let i = 0; ; i++) {
      stream.consume([{ ...sample, id: 'r' + i }]);
      stream.settle(Infinity);
      writeSync(1, 'asked r' + i + '\\n');
      if (i % 2 === 0) continue;
      stream.feedback([{ id: 'r' + i, time: 1, route: '', model: 'm', rewards: {}, label: '1', tenant: '' }]);
      stream.settle(Infinity);
      writeSync(1, 'told r' + i + '\\n');
    }`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const asked = new Set<string>();
  const told = new Set<string>();
  const ended = new Promise((resolve) => child.once('exit', resolve));
  for await (const line of createInterface({ input: child.stdout })) {
    const [what, id] = line.split(' ');
    (what === 'asked' ? asked : told).add(id);
    if (asked.size === 200) child.kill('SIGKILL');
  }
  await ended;
  assert.ok(asked.size >= 200 && told.size >= 99, 'it worked until then');
  const again = watch(file, { retrain: { pipeline: 'p', data: { rows: 100_000 } } });
  const total = again.counts()?.total ?? 0;
  assert.ok(total >= told.size && total <= told.size + 1, `${told.size} labels were told, ${total} are known`);
  for (const id of asked) again.stream.feedback([label(id, 1)]);
  const all = again.counts()?.total ?? 0;
  assert.ok(all >= asked.size && all <= asked.size + 1, `${asked.size} requests were asked, ${all} have labels`);
  again.stream.close();
});

test('a label of another tenant changes nothing and is counted, also where it came first and the process ended between', () => {
  const file = join(folder, 'tenants.db');
  const first = watch(file);
  const { stream } = first;
  stream.consume([record('a', 1, 'acme')]);
  stream.feedback([label('a', 0, 'other'), label('a', 1, 'acme')]);
  first.settle();
  assert.deepEqual([first.counts()?.total, first.counts()?.unmatched], [1, 1]);
  // Before the records of their requests, in either order; who speaks for all tenants comes last.
  stream.feedback([label('b', 1, 'acme'), label('b', 0, 'other'), label('c', 0, 'other'), label('d', 1)]);
  stream.feedback(Array.from({ length: 20 }, (_, i) => label('e', 0, `tenant-${i}`)));
  first.settle();
  // Not closed: killed.
  const second = watch(file);
  second.stream.consume(['b', 'c', 'd', 'e'].map((id, i) => record(id, i, 'acme')));
  assert.deepEqual([second.counts()?.total, second.counts()?.pending], [3, 2], 'b and d have theirs');
  assert.equal(second.counts()?.unmatched, 1 + 1 + 1 + 20);
  second.stream.feedback([label('c', 1, 'acme'), label('e', 1, 'other'), label('e', 1, 'acme')]);
  assert.deepEqual([second.counts()?.total, second.counts()?.pending, second.counts()?.unmatched], [5, 0, 24]);
  second.stream.close();
});
