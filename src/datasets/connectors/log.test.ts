import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { columnsJson, recordJson } from '../../eventlog/encode/json.ts';
import { MESSAGES } from '../../eventlog/encode/message-reader.ts';
import type { FeedbackRecord, LogRecord } from '../../eventlog/record.ts';
import { importEnded, openDatasets } from '../../testing/datasets.ts';
import { collect } from '../batch.ts';
import { type Reject, RejectFile } from '../reading.ts';
import { readLog } from './log.ts';
import { filesOrigin } from './log-origins.ts';

const folder = mkdtempSync(join(tmpdir(), 'log-source-'));
const { server } = await openDatasets({ folders: [folder] }, {}, { files: folder });
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

const HOUR = 3_600_000;
const T0 = Date.parse('2026-01-01T00:00:00Z');

function request(id: string, hour: number, values: number[], more: Partial<LogRecord> = {}): string {
  const rows = values.length / 2;
  return recordJson({
    id,
    time: T0 + hour * HOUR,
    route: '',
    variant: '',
    model: 'churn',
    version: '1',
    entity: 'u1',
    status: 'ok',
    sampleRate: 0.5,
    shadow: false,
    features: [
      { name: 'x', datatype: 'FP32', shape: [rows, 2], values },
      { name: 'plan', datatype: 'BYTES', shape: [rows, 1], values: Array(rows).fill('basic') },
    ],
    predictions: [{ name: 'y', datatype: 'FP32', shape: [rows, 1], values: Array(rows).fill(1) }],
    redactions: [],
    ...more,
  } as unknown as LogRecord);
}

function told(id: string, hour: number, label: unknown, rewards = {}): string {
  return recordJson({
    id,
    time: T0 + hour * HOUR,
    route: '',
    model: 'churn',
    rewards,
    label: JSON.stringify(label),
  } as FeedbackRecord);
}

writeFileSync(
  join(folder, 'inference-000000000000000.jsonl'),
  `${[
    request('a', 1, [1, 2]),
    request('b', 2, [3, 4.5, 5, 6]),
    request('failed', 3, [1, 2], { status: 'internal' }),
    request('other', 3, [1, 2], { model: 'else' }),
    request('unlabelled', 4, [7, 8]),
    request('kept-apart', 5, [1, 2], { features: [{ name: 'x', datatype: 'FP32', shape: [1, 2], values: [] }] }),
  ].join('\n')}\n{"id":"being wri`,
);
writeFileSync(
  join(folder, 'feedback-000000000000000.jsonl'),
  [
    told('a', 5, 'stays'),
    told('b', 6, ['stays', 'leaves'], { clicks: 3 }),
    told('a', 9, 'leaves'),
    told('kept-apart', 9, 'x'),
  ].join('\n'),
);

test('requests become rows with the labels that came later, redacted ones are rejected', async () => {
  const rejects: Reject[] = [];
  const source = await readLog(
    filesOrigin(folder, MESSAGES),
    { model: 'churn', labelled: true },
    { rejects: { add: (reject) => void rejects.push(reject) } },
  );
  const { rows, columns } = await collect(source);
  const column = (name: string) => columns[source.schema.fields.findIndex((field) => field.name === name)];
  assert.equal(rows, 3);
  assert.deepEqual(column('id'), ['a', 'b', 'b']);
  assert.deepEqual(
    [column('x[0]'), column('x[1]')],
    [
      [1, 3, 5],
      [2, 4.5, 6],
    ],
  );
  assert.deepEqual(column('plan'), ['basic', 'basic', 'basic']);
  assert.deepEqual(column('prediction.y'), [1, 1, 1]);
  assert.deepEqual(column('label'), ['leaves', 'stays', 'leaves']);
  assert.deepEqual(column('reward.clicks'), [null, 3, 3]);
  assert.deepEqual(column('sample_weight'), [2, 2, 2]);
  assert.deepEqual(source.schema.fields.find(({ name }) => name === 'x[0]')?.type, 'number');
  assert.match(rejects[0].reason, /values of "x" are not in the record: redacted$/);
  const early = await readLog(
    filesOrigin(folder, MESSAGES),
    { model: 'churn', labelled: true, labelsUntil: T0 + 6 * HOUR },
    {},
  );
  const labels = await collect(early);
  assert.deepEqual(labels.columns[early.schema.fields.findIndex(({ name }) => name === 'label')], [
    'stays',
    'stays',
    'leaves',
  ]);
});

test('values by reference are read where they lie, and what the gateway added is no column', async () => {
  const apart = join(folder, 'apart');
  mkdirSync(apart);
  const anomalies = { name: 'switchyard.anomalies', datatype: 'BYTES' as const, shape: [1], values: ['x[1]:type'] };
  const x = (values: number[]) => ({ name: 'x', datatype: 'FP32' as const, shape: [1, 2], values });
  const reference = (sha256: string) => ({ payloadRef: `sha256:${sha256}`, payloadSha256: sha256, features: [x([])] });
  writeFileSync(
    join(apart, 'inference-000000000000000.jsonl'),
    [
      request('plain', 1, [1, 2]),
      request('large', 2, [0, 0], reference('here')),
      request('gone', 3, [0, 0], reference('gone')),
      // Late, so that its column is none that the first rows had.
      request('flagged', 4, [1, 2], { features: [x([5, 6]), anomalies] }),
    ].join('\n'),
  );
  const rejects: Reject[] = [];
  const source = await readLog(
    filesOrigin(apart, MESSAGES),
    { model: 'churn', labelled: false },
    { rejects: { add: (reject) => void rejects.push(reject) } },
    async (sha256) => {
      if (sha256 !== 'here') throw new Error('not found');
      return { features: columnsJson([x([3, 4])]), predictions: '[]' };
    },
  );
  const { columns } = await collect(source);
  const column = (name: string) => columns[source.schema.fields.findIndex((field) => field.name === name)];
  assert.deepEqual(column('id'), ['plain', 'large', 'flagged']);
  assert.deepEqual(column('x[0]'), [1, 3, 5]);
  assert.deepEqual(
    source.schema.fields.filter(({ name }) => name.startsWith('switchyard')),
    [],
  );
  assert.equal(rejects.length, 1);
  assert.match(rejects[0].reason, /kept by reference/);
});

test('fields of others in JSON lines make no columns, and a label without a time is rejected: it may be of the future', async () => {
  const kept = ['plain', 'wider'].map((name) => join(folder, name));
  const more = ',"event_time":5,"note":{"label":"x"},"labels":[1]}';
  for (const [i, dir] of kept.entries()) {
    mkdirSync(dir);
    const line = (text: string) => (i === 0 ? text : text.replace(/\}$/, more));
    writeFileSync(join(dir, 'inference-0.jsonl'), `${line(request('a', 1, [1, 2]))}\n`);
    writeFileSync(join(dir, 'feedback-0.jsonl'), `${line(told('a', 2, 9, { clicks: 1 }))}\n`);
  }
  const window = { model: 'churn', labelled: true };
  const [plain, wider] = await Promise.all(kept.map((dir) => readLog(filesOrigin(dir, MESSAGES), window, {})));
  assert.deepEqual(wider.schema, plain.schema);
  assert.deepEqual((await collect(wider)).columns, (await collect(plain)).columns);
  writeFileSync(join(kept[1], 'feedback-1.jsonl'), '{"id":"a","model":"churn","label":"\\"later\\""}\n');
  const timeless = readLog(filesOrigin(kept[1], MESSAGES), window, {});
  await assert.rejects(timeless, /feedback-1\.jsonl, line 1: no record of the event log: a label without time/);
});

test('what is no record is rejected with its file and line, and the digits of 64-bit integers are kept', async () => {
  const mixed = join(folder, 'mixed');
  mkdirSync(mixed);
  const wide = [9_007_199_254_740_993n, -(2n ** 63n)];
  const features = [{ name: 'user', datatype: 'INT64' as const, shape: [1, 2], values: wide }];
  const lines = [
    request('a', 1, [1, 2], { features }),
    'no JSON',
    '{"id": "b"}',
    request('c', 2, [1, 2], { features }),
  ];
  writeFileSync(join(mixed, 'inference-0.jsonl'), `${lines.join('\n')}\n`);
  writeFileSync(join(mixed, 'feedback-0.jsonl'), `${told('a', 2, 9)}\n{"no": "id"}\n${told('c', 3, 1)}\n`);
  writeFileSync(join(mixed, 'feedback-1.jsonl'), `${told('a', 3, 0).replace('"0"', '"12345678901234567"')}\n`);
  const window = { model: 'churn', labelled: true };
  const rejects: Reject[] = [];
  const source = await readLog(filesOrigin(mixed, MESSAGES), window, {
    rejects: { add: (one) => void rejects.push(one) },
  });
  const { columns } = await collect(source);
  const column = (name: string) => columns[source.schema.fields.findIndex((field) => field.name === name)];
  assert.deepEqual([column('user[0]'), column('user[1]')], [Array(2).fill(wide[0]), Array(2).fill(wide[1])]);
  assert.deepEqual(column('label'), [12_345_678_901_234_567n, 1]);
  assert.deepEqual(
    rejects.map(({ source: file, line }) => [file, line]),
    [
      ['feedback-0.jsonl', 2],
      ['inference-0.jsonl', 2],
      ['inference-0.jsonl', 3],
    ],
  );
  const strict = (kept: string) => readLog(filesOrigin(kept, MESSAGES), window, {});
  await assert.rejects(strict(mixed), /feedback-0\.jsonl, line 2: no record of the event log: a label without an id/);
});

test('a window without a labelled request is an error that says so', async () => {
  const source = await readLog(filesOrigin(folder, MESSAGES), { model: 'else', labelled: true }, {});
  await assert.rejects(collect(source), /none of the log's \d+ records is a labelled request of model "else"/);
});

test('an import joins features of a dataset as they were known when the model was asked', async () => {
  const features = `user,at,visits\nu1,2025-12-31T00:00:00Z,10\nu1,2026-01-01T01:30:00Z,20\nu1,2026-01-01T03:00:00Z,99\n`;
  const uploaded = await fetch(`${server.url}/api/v1/datasets/visits/versions?format=csv`, {
    method: 'POST',
    body: features,
  });
  assert.equal(uploaded.status, 200);
  const join1 = { dataset: 'visits', entity: { user: 'entity' }, time: 'event_time', featureTime: 'at' };
  const run = async (join: object, max_rejects = 1) => {
    const wish = { name: 'churn-train', source: { kind: 'log', model: 'churn' }, joins: [join], max_rejects };
    return importEnded(server, (await server.ok('POST', '/api/v1/dataset-imports', wish)).id);
  };
  const done = await run(join1);
  assert.equal(done.status, 'succeeded', JSON.stringify(done));
  const found = await server.ok('GET', '/api/v1/datasets/churn-train');
  assert.deepEqual([found.rows, found.rejects, found.parents], [3, 1, [{ name: 'visits', version: 1 }]]);
  const data = await (await fetch(`${server.url}/api/v1/datasets/churn-train/versions/1/data?format=jsonl`)).text();
  const visits = (text: string) =>
    text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).visits);
  assert.deepEqual(visits(data), [10, 20, 20]);
  assert.equal((await run({ ...join1, ttlSeconds: 3600 })).version, 2);
  const short = await (await fetch(`${server.url}/api/v1/datasets/churn-train/versions/2/data?format=jsonl`)).text();
  assert.deepEqual(visits(short), [null, 20, 20]);
  const wrong = await run({ ...join1, time: 'plan' });
  assert.match(String(wrong.error), /time: column "plan" is of type string; a timestamp is wanted/);
  const lineage = await server.ok('GET', '/api/v1/datasets/visits/versions/1/lineage');
  assert.deepEqual(
    lineage.children.map(({ version }: { version: number }) => version),
    [1, 2],
  );
});

test('labels and rewards of another tenant are left out and kept as rejects, of which there are never too many', async () => {
  const tenants = join(folder, 'tenants');
  mkdirSync(tenants);
  const asked = ['a', 'b'].map((id, i) => request(id, i, [1, 2], { tenant: 'acme' }));
  writeFileSync(join(tenants, 'inference-000000000000000.jsonl'), `${asked.join('\n')}\n`);
  const of = (tenant: string, line: string): string => JSON.stringify({ ...JSON.parse(line), tenant });
  const lines = [
    of('acme', told('a', 5, 'stays', { clicks: 1 })),
    of('other', told('a', 6, 'leaves', { clicks: 9, views: 9 })),
    of('', told('a', 7, 'returns', { sales: 2 })),
    of('other', told('b', 8, 'leaves')),
  ];
  writeFileSync(join(tenants, 'feedback-000000000000000.jsonl'), lines.join('\n'));
  const path = join(folder, 'rejects.jsonl');
  const rejects = new RejectFile(path, 0);
  const window = { model: 'churn', labelled: true };
  const source = await readLog(filesOrigin(tenants, MESSAGES), window, { rejects });
  const { rows, columns } = await collect(source);
  await rejects.close();
  const column = (name: string) => columns[source.schema.fields.findIndex((field) => field.name === name)];
  assert.deepEqual([rows, column('id'), column('label')], [1, ['a'], ['returns']]);
  assert.deepEqual([column('reward.clicks'), column('reward.sales')], [[1], [2]]);
  const kept = readFileSync(path, 'utf8').trim().split('\n');
  assert.equal(rejects.count, 2);
  assert.match(kept[0], /"line":2,"reason":"it was told by another tenant/);
});

test('a label counts by its id, also where its client named the route, and one of another model makes no column', async () => {
  const named = join(folder, 'named');
  mkdirSync(named);
  const asked = ['a', 'b'].map((id, i) => request(id, i, [1, 2]));
  const other = request('c', 3, [1, 2], { model: 'fraud' });
  writeFileSync(join(named, 'inference-000000000000000.jsonl'), `${[...asked, other, asked[0]].join('\n')}\n`);
  const about = (model: string, line: string): string => JSON.stringify({ ...JSON.parse(line), model });
  const lines = [
    about('front', told('a', 5, 1, { clicks: 1 })),
    about('', told('b', 6, 0)),
    about('fraud', told('c', 7, 'yes', { views: 9 })),
  ];
  writeFileSync(join(named, 'feedback-000000000000000.jsonl'), `${lines.join('\n')}\n`);
  const source = await readLog(filesOrigin(named, MESSAGES), { model: 'churn', labelled: true }, {});
  const { rows, columns } = await collect(source);
  const names = source.schema.fields.map(({ name }) => name);
  assert.deepEqual([rows, columns[names.indexOf('id')], columns[names.indexOf('label')]], [2, ['a', 'b'], [1, 0]]);
  assert.deepEqual(
    names.filter((name) => name.startsWith('reward.')),
    ['reward.clicks'],
  );
});

test('of what is told without a model, what is about other requests makes no column', async () => {
  const nameless = join(folder, 'nameless');
  mkdirSync(nameless);
  const asked = [request('a', 1, [1, 2]), request('c', 1, [1, 2], { model: 'fraud' })];
  writeFileSync(join(nameless, 'inference-000000000000000.jsonl'), `${asked.join('\n')}\n`);
  const lines = [told('a', 2, 1, { clicks: 1 }), told('c', 3, 'yes', { views: 9 })];
  const about = lines.map((line) => JSON.stringify({ ...JSON.parse(line), model: '' }));
  writeFileSync(join(nameless, 'feedback-000000000000000.jsonl'), `${about.join('\n')}\n`);
  const source = await readLog(filesOrigin(nameless, MESSAGES), { model: 'churn', labelled: true }, {});
  const { columns } = await collect(source);
  const names = source.schema.fields.map(({ name }) => name);
  assert.deepEqual(columns[names.indexOf('label')], [1]);
  assert.deepEqual(
    names.filter((name) => name.startsWith('reward.')),
    ['reward.clicks'],
  );
});

test('a reward that comes before the label leaves the label its type and its time, and of several the latest counts', async () => {
  const rewarded = join(folder, 'rewarded');
  mkdirSync(rewarded);
  writeFileSync(join(rewarded, 'inference-000000000000000.jsonl'), `${request('a', 1, [1, 2])}\n`);
  const reward = (hour: number, rewards: object) =>
    JSON.stringify({ ...JSON.parse(told('a', hour, 0, rewards)), label: undefined });
  const lines = [reward(9, { clicks: 3, constructor: 1 }), told('a', 5, 7), reward(4, { clicks: 1 })];
  writeFileSync(join(rewarded, 'feedback-000000000000000.jsonl'), `${lines.join('\n')}\n`);
  const source = await readLog(filesOrigin(rewarded, MESSAGES), { model: 'churn', labelled: true }, {});
  const { columns } = await collect(source);
  const column = (name: string) => columns[source.schema.fields.findIndex((field) => field.name === name)];
  assert.deepEqual([column('label'), column('label_time')], [[7], [T0 + 5 * HOUR]]);
  assert.deepEqual([column('reward.clicks'), column('reward.constructor')], [[3], [1]]);
});

test('a label stays a number where another request has rewards alone', async () => {
  const apart = join(folder, 'rewards-alone');
  mkdirSync(apart);
  const asked = ['a', 'b'].map((id, i) => request(id, i, [1, 2]));
  writeFileSync(join(apart, 'inference-000000000000000.jsonl'), `${asked.join('\n')}\n`);
  const alone = JSON.stringify({ ...JSON.parse(told('a', 5, 0, { clicks: 1 })), label: undefined });
  writeFileSync(join(apart, 'feedback-000000000000000.jsonl'), `${alone}\n${told('b', 6, 1)}\n`);
  const source = await readLog(filesOrigin(apart, MESSAGES), { model: 'churn', labelled: true }, {});
  assert.equal(source.schema.fields.find(({ name }) => name === 'label')?.type, 'integer');
});
