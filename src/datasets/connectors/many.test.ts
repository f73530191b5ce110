import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { datasetsSchema } from '../../config/datasets-schema.ts';
import { MESSAGES } from '../../eventlog/encode/message-reader.ts';
import { type Batch, collect, type FieldType, sourceOf } from '../batch.ts';
import { encode } from '../formats/formats.ts';
import type { Progress, Reject } from '../reading.ts';
import { Connectors } from './connectors.ts';
import { patternOf } from './glob.ts';

const folder = mkdtempSync(join(tmpdir(), 'many-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const put = (name: string, bytes: string | Uint8Array): void => {
  mkdirSync(join(folder, name, '..'), { recursive: true });
  writeFileSync(join(folder, name), bytes);
};
const connectors = (maxBytes = 1_000_000) =>
  new Connectors({
    config: { ...datasetsSchema.parse({ folders: [folder] }), maxBytes },
    logFolders: {},
    messages: MESSAGES,
    kafka: () => Promise.reject(new Error('there is no Kafka')),
  });
const open = (path: string | string[], options = {}) => connectors().open({ kind: 'file', path }, options);
const rowsOf = async (path: string | string[], options = {}) => collect(await open(path, options));

async function parquet(fields: [string, FieldType][], batch: Batch): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const schema = { fields: fields.map(([name, type]) => ({ name, type })) };
  for await (const chunk of encode('parquet', sourceOf(schema, batch))) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test('patterns choose within a part, through folders, and among names', () => {
  const chosen = (text: string, ...names: string[]) => names.filter((name) => patternOf(text)?.fits(name));
  const names = ['a/b.csv', 'a/bb.csv', 'a/c/b.csv', 'a/c/d/b.csv', 'a/b.csv.gz', 'a/_SUCCESS', 'a/.b.csv', 'b/b.csv'];
  assert.deepEqual(chosen('a/*.csv', ...names), ['a/b.csv', 'a/bb.csv']);
  assert.deepEqual(chosen('a/?.csv', ...names), ['a/b.csv']);
  assert.deepEqual(chosen('a/**/b.csv', ...names), ['a/b.csv', 'a/c/b.csv', 'a/c/d/b.csv']);
  assert.deepEqual(chosen('[!a]/b.*', ...names), ['b/b.csv']);
  assert.deepEqual(chosen('{a,b}/{b,c/b}.csv', ...names), ['a/b.csv', 'a/c/b.csv', 'b/b.csv']);
  assert.deepEqual(chosen('a/c/', ...names), ['a/c/b.csv', 'a/c/d/b.csv']);
  assert.deepEqual(chosen('a/.*', ...names), ['a/.b.csv']);
  assert.equal(patternOf('a/(b)+$.csv'), undefined);
  assert.equal(patternOf('x/a(1)*.csv')?.fits('x/a(1)2.csv'), true);
  assert.equal(patternOf('x/y*/z.csv')?.prefix, 'x/');
  assert.deepEqual(chosen('x{1,{2,3}b}?', 'x1a', 'x2ba', 'x3b', 'x3ba'), ['x1a', 'x2ba', 'x3ba']);
  assert.deepEqual(chosen('[!a-c-]*', 'a', 'd', '-', 'é', '/'), ['d', 'é']);
  for (const wrong of ['a/[b.csv', 'a/{b,c.csv', '{a,b}'.repeat(11)])
    assert.throws(() => patternOf(wrong), { code: 'invalid_argument' });
});

test('a pattern of many stars takes as long as its length says, not for ever', () => {
  const pattern = patternOf(`${'*a'.repeat(50)}b`);
  assert.equal(pattern?.fits('a'.repeat(1000)), false);
  assert.equal(pattern?.fits(`${'a'.repeat(1000)}b`), true);
});

test('files are read one after the other, by the first one’s columns; each reject names its file', async () => {
  put('days/2.csv', 'id,amount\n3,x\n4,2.5\nlast,1\n');
  put('days/1.csv', 'id,amount\n1,0.5\n2,1\n');
  put('days/10.csv.gz', '');
  put('days/note.txt', 'none');
  const rejects: Reject[] = [];
  const seen: Progress[] = [];
  const options = {
    rejects: { add: (one: Reject) => void rejects.push(one) },
    onProgress: (one: Progress) => void seen.push(one),
  };
  assert.deepEqual(await rowsOf('days/[0-9].csv', options), {
    rows: 3,
    columns: [
      [1, 2, 4],
      [0.5, 1, 2.5],
    ],
  });
  assert.deepEqual(
    rejects.map(({ source, line }) => [source, line]),
    [
      ['days/2.csv', 2],
      ['days/2.csv', 4],
    ],
  );
  assert.deepEqual([seen.at(-1)?.rows, seen.at(-1)?.bytes, seen.at(-1)?.totalBytes], [3, 47, 47]);
  await assert.rejects(rowsOf('days/?.csv'), /days\/2\.csv: line 2: column "amount": "x" is no number/);
  // In the order of the list, and no file twice.
  put('days/3.jsonl', '{"amount": 7.5, "id": 9007199254740993}\n{"id": 8}\n');
  put('days/4.jsonl', '{"id": 1, "more": 2}\n{"id": 9}\n');
  rejects.length = 0;
  const { columns } = await rowsOf(['days/3.jsonl', 'days/1.csv', 'days/*.jsonl'], options);
  assert.deepEqual(columns, [
    [7.5, null, 0.5, 1, null],
    [9_007_199_254_740_993n, 8, 1, 2, 9],
  ]);
  assert.deepEqual([rejects[0].source, rejects[0].line, rejects.length], ['days/4.jsonl', 1, 1]);
  assert.match(rejects[0].reason, /the column "more" is not among the columns of the first rows/);
});

test('columns of Parquet are found by name; others than the first file’s are an error that names file and column', async () => {
  const rows = (...columns: Batch['columns']): Batch => ({ rows: columns[0].length, columns });
  put(
    'p/a.parquet',
    await parquet(
      [
        ['id', 'integer'],
        ['at', 'number'],
      ],
      rows([1, 2], [0.5, null]),
    ),
  );
  put(
    'p/b.parquet',
    await parquet(
      [
        ['at', 'integer'],
        ['id', 'number'],
      ],
      rows([3, 4], [5, 0.5]),
    ),
  );
  const rejects: Reject[] = [];
  const { columns } = await rowsOf('p/*.parquet', { rejects: { add: (one: Reject) => void rejects.push(one) } });
  assert.deepEqual(columns, [
    [1, 2, 5],
    [0.5, null, 3],
  ]);
  assert.deepEqual(
    rejects.map(({ source, line, reason }) => [source, line, reason]),
    [['p/b.parquet', 2, 'column "id": 0.5 is no integer, as in the first file']],
  );
  put('p/c.parquet', await parquet([['id', 'integer']], rows([1])));
  await assert.rejects(rowsOf(['p/a.parquet', 'p/c.parquet']), /p\/c\.parquet: the column "at" is in the first file/);
  put('p/d.csv', 'id\n1\n');
  await assert.rejects(rowsOf(['p/a.parquet', 'p/d.csv']), /p\/d\.csv: line 1: the heading lacks the column "at"/);
});

test('a pattern stays within the allowed folders, and one that fits nothing is an error', async () => {
  const outside = mkdtempSync(join(tmpdir(), 'many-outside-'));
  after(() => rmSync(outside, { recursive: true, force: true }));
  writeFileSync(join(outside, 'secret.csv'), 'a\n1\n');
  mkdirSync(join(folder, 'links'));
  symlinkSync(join(outside, 'secret.csv'), join(folder, 'links/secret.csv'));
  await assert.rejects(rowsOf('links/*.csv'), { code: 'permission_denied' });
  await assert.rejects(rowsOf(`${outside}/*.csv`), { code: 'permission_denied' });
  await assert.rejects(rowsOf('../*.csv'), { code: 'permission_denied' });
  await assert.rejects(rowsOf('links/*.parquet'), { code: 'not_found', message: /no file fits "links\/\*\.parquet"/ });
  await assert.rejects(rowsOf(['links/none.csv']), { code: 'not_found' });
  put('big/1.csv', `a\n${'1\n'.repeat(100)}`);
  put('big/2.csv', `a\n${'1\n'.repeat(100)}`);
  const few = connectors(300).open({ kind: 'file', path: 'big/*.csv' }, {});
  await assert.rejects(few, { code: 'payload_too_large', message: /2 files have 404 bytes/ });
});

test('folders in Hive’s form are columns where that is asked for', async () => {
  put('hive/date=2026-11-29/hour=23/a.csv', 'id,model\n1,m\n');
  put('hive/date=2026-11-30/hour=07/a.csv', 'id,model\n2,m\n3,m\n');
  put('hive/date=__HIVE_DEFAULT_PARTITION__/hour=08/a.csv', 'id,model\n4,m\n');
  const read = (path: string | string[], more: object = {}) =>
    connectors().open({ kind: 'file', path, partitions: true, ...more }, {});
  const source = await read('hive/');
  assert.deepEqual(source.schema.fields.slice(2), [
    { name: 'date', type: 'string' },
    { name: 'hour', type: 'integer' },
  ]);
  const { columns } = await collect(source);
  assert.deepEqual(columns, [
    [1, 2, 3, 4],
    ['m', 'm', 'm', 'm'],
    ['2026-11-29', '2026-11-30', '2026-11-30', null],
    [23, 7, 7, 8],
  ]);
  const typed = await read('hive/date=2026*/', { types: { date: 'timestamp', hour: 'string' } });
  assert.deepEqual((await collect(typed)).columns.slice(2), [
    [Date.UTC(2026, 10, 29), Date.UTC(2026, 10, 30), Date.UTC(2026, 10, 30)],
    ['23', '07', '07'],
  ]);
  assert.equal((await open('hive/')).schema.fields.length, 2, 'not by itself');
  assert.deepEqual((await collect(await read('hive/date=2026-11-29/hour=23/a.csv'))).columns[3], [23]);
  // A column that the files have themselves.
  put('own/model=a%2Fb/1.jsonl', '{"id": 1, "model": "a/b"}\n');
  put('own/model=c/1.jsonl', '{"id": 2, "model": "c"}\n');
  assert.deepEqual((await collect(await read('own/'))).columns, [
    [1, 2],
    ['a/b', 'c'],
  ]);
  put('own2/model=a%2Fb/1.jsonl', '{"id": 1}\n');
  assert.deepEqual((await collect(await read('own2/'))).columns, [[1], ['a/b']]);
  await assert.rejects(read(['hive/', 'own/']), /own\/model=a%2Fb\/1\.jsonl lies in the partitions model, the first/);
  await assert.rejects(
    read('hive/', { types: { date: 'integer' } }),
    /the partition "date" is "2026-11-29", which is no/,
  );
});
