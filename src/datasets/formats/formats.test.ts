import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { type Batch, type Cell, collect, FIELD_TYPES, type FieldType, type Schema, sourceOf } from '../batch.ts';
import { RejectFile } from '../reading.ts';
import { decode, encode, FORMATS, type Format, formatOf } from './formats.ts';

const folder = await mkdtemp(join(tmpdir(), 'formats-'));
after(() => rm(folder, { recursive: true, force: true }));

async function bytesOf(format: Format, schema: Schema, ...batches: Batch[]): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of encode(format, sourceOf(schema, ...batches))) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const fromBytes = (name: string, bytes: Uint8Array) => ({
  name,
  stream: async () => Readable.from([Buffer.from(bytes)]),
});

const typesOf = (schema: Schema) => Object.fromEntries(schema.fields.map(({ name, type }) => [name, type]));

const finite = fc.double({ noNaN: false });
const ARBITRARY: Record<FieldType, fc.Arbitrary<Cell>> = {
  boolean: fc.boolean(),
  integer: fc.oneof(fc.integer(), fc.constantFrom<Cell>(2n ** 63n - 1n, -(2n ** 63n), Number.MAX_SAFE_INTEGER)),
  number: finite,
  string: fc.string({ unit: 'grapheme', maxLength: 12 }),
  timestamp: fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 }),
  binary: fc.uint8Array({ maxLength: 8 }),
  numbers: fc.array(finite, { maxLength: 4 }),
};

const table = fc.array(fc.constantFrom(...FIELD_TYPES), { minLength: 1, maxLength: 5 }).chain((types) =>
  fc.record({
    schema: fc.constant<Schema>({ fields: types.map((type, i) => ({ name: `c${i} ${type}`, type })) }),
    rows: fc.array(fc.tuple(...types.map((type) => fc.option(ARBITRARY[type]))), { minLength: 1, maxLength: 20 }),
  }),
);

/** JSON and CSV do not tell -0 from 0. */
const plain = (cell: Cell): Cell => {
  if (Object.is(cell, -0)) return 0;
  return Array.isArray(cell) ? cell.map((item) => (Object.is(item, -0) ? 0 : item)) : cell;
};

for (const format of FORMATS)
  test(`what is written as ${format} is read back the same`, async () => {
    await fc.assert(
      fc.asyncProperty(table, async ({ schema, rows }) => {
        const columns = schema.fields.map((_, i) => rows.map((row) => row[i]));
        const batch: Batch = { rows: rows.length, columns };
        const bytes = await bytesOf(format, schema, batch);
        const text = format === 'csv' || format === 'jsonl';
        const source = await decode(format, fromBytes('x', bytes), text ? { types: typesOf(schema) } : {});
        assert.deepEqual(source.schema, schema);
        const back = await collect(source);
        // A CSV row of one missing value is an empty line, which is no row.
        if (format === 'csv' && schema.fields.length === 1) return;
        assert.deepEqual(
          back.columns.map((column) => column.map(plain)),
          columns.map((column) => column.map(plain)),
        );
      }),
      { numRuns: 60 },
    );
  });

test('the same rows give the same Parquet, however they are cut', async () => {
  const schema: Schema = {
    fields: [
      { name: 'a', type: 'integer' },
      { name: 'b', type: 'string' },
    ],
  };
  const batch = (from: number, rows: number): Batch => ({
    rows,
    columns: [Array.from({ length: rows }, (_, i) => from + i), Array.from({ length: rows }, (_, i) => `r${from + i}`)],
  });
  const whole = await bytesOf('parquet', schema, batch(0, 120_000));
  const cut = await bytesOf('parquet', schema, batch(0, 7), batch(7, 60_000), batch(60_007, 59_993));
  assert.equal(Buffer.compare(whole, cut), 0);
  const source = await decode('parquet', fromBytes('x.parquet', whole));
  const sizes: number[] = [];
  for await (const { rows } of source.batches()) sizes.push(rows);
  assert.equal(
    sizes.reduce((a, b) => a + b, 0),
    120_000,
  );
});

test('finds types out, and keeps rejects with line and reason', async () => {
  const text = 'id,age,joined,zip,note\n1,30,2024-01-02T03:04:05Z,01234,"a,\nb"\n2,,2024-01-02T03:04:06Z,99999,""\n3\n';
  const rejects = new RejectFile(join(folder, 'rejects.jsonl'), 10);
  const source = await decode('csv', fromBytes('x.csv', Buffer.from(text)), { rejects });
  assert.deepEqual(typesOf(source.schema), {
    id: 'integer',
    age: 'integer',
    joined: 'timestamp',
    zip: 'string',
    note: 'string',
  });
  const { columns } = await collect(source);
  assert.deepEqual(columns, [
    [1, 2],
    [30, null],
    [1704164645000, 1704164646000],
    ['01234', '99999'],
    ['a,\nb', ''],
  ]);
  await rejects.close();
  assert.equal(rejects.count, 1);
});

test('whole numbers of 64 bits keep their digits in JSON lines, nested ones too', async () => {
  const lines = '{"id": 9007199254740993, "nested": {"ids": [12345678901234567, "12345678901234567"], "x": 0.5}}\n';
  const source = await decode('jsonl', fromBytes('wide.jsonl', Buffer.from(lines)));
  assert.deepEqual(typesOf(source.schema), { id: 'integer', nested: 'string' });
  const { columns } = await collect(source);
  assert.deepEqual(columns, [[9007199254740993n], ['{"ids":[12345678901234567,"12345678901234567"],"x":0.5}']]);
});

test('without a place for rejects the first one ends the reading, naming line, column and value', async () => {
  const types = { n: 'integer' } as const;
  const read = async (text: string, format: Format) =>
    collect(await decode(format, fromBytes(`x.${format}`, Buffer.from(text)), { types }));
  await assert.rejects(read('n\n1\ntwo\n', 'csv'), /x\.csv: line 3: column "n": "two" is no integer/);
  await assert.rejects(read('{"n":1}\n{"n":', 'jsonl'), /x\.jsonl: line 2: not JSON/);
  await assert.rejects(read('n,n\n', 'csv'), /line 1: the column name "n" is there twice/);
  await assert.rejects(decode('csv', fromBytes('x.csv', Buffer.from('n\n'))), /x\.csv: there is no row/);
});

test('refuses more rejects than are allowed', async () => {
  const rejects = new RejectFile(join(folder, 'many.jsonl'), 2);
  const text = `n\n${'x\n'.repeat(5)}`;
  const source = await decode('csv', fromBytes('x.csv', Buffer.from(text)), { types: { n: 'number' }, rejects });
  await assert.rejects(collect(source), /more than 2 rows were rejected, the last in line 4/);
  await rejects.close();
});

test('truncated and damaged Parquet and Arrow are refused wherever they are cut', async () => {
  const schema: Schema = {
    fields: [
      { name: 'a', type: 'number' },
      { name: 's', type: 'string' },
    ],
  };
  const batch: Batch = { rows: 100, columns: [Array.from({ length: 100 }, (_, i) => i / 3), Array(100).fill('word')] };
  for (const format of ['parquet', 'arrow'] as const) {
    const bytes = await bytesOf(format, schema, batch);
    for (let length = 0; length < bytes.length - 8; length += 37) {
      const cut = async () => collect(await decode(format, fromBytes('cut', bytes.subarray(0, length))));
      await assert.rejects(cut(), { code: 'invalid_argument' }, `${format} cut to ${length} of ${bytes.length} bytes`);
    }
  }
  const parquet = await bytesOf('parquet', schema, batch);
  const damaged = Buffer.from(parquet);
  damaged.fill(0xff, 4, 200);
  await assert.rejects(
    async () => collect(await decode('parquet', fromBytes('bad.parquet', damaged))),
    /bad\.parquet: not readable as Parquet: the row group from row 1 on: .*write it again/,
  );
});

test('reads gzip, refuses broken gzip, ends beyond the limit of bytes, and tells its progress', async () => {
  const rows = Array.from({ length: 5000 }, (_, i) => `{"i":${i}}`).join('\n');
  const packed = gzipSync(rows);
  const file = join(folder, 'rows.jsonl.gz');
  await writeFile(file, packed);
  const seen: { rows: number; bytes: number; totalBytes: number | undefined }[] = [];
  const source = await decode('jsonl', { name: 'rows.jsonl.gz', file }, { onProgress: (p) => void seen.push(p) });
  assert.equal((await collect(source)).rows, 5000);
  assert.deepEqual(seen.at(-1), { rows: 5000, bytes: packed.length, totalBytes: packed.length });
  const limited = async () => collect(await decode('jsonl', { name: 'rows.jsonl.gz', file }, { maxBytes: 1000 }));
  await assert.rejects(limited(), { code: 'payload_too_large' });
  const broken = async () => collect(await decode('jsonl', fromBytes('x.jsonl.gz', packed.subarray(0, 900))));
  await assert.rejects(broken(), /x\.jsonl\.gz: not readable as gzip/);
});

test('knows a format by the name', () => {
  assert.equal(formatOf('a/b.csv.gz'), 'csv');
  assert.equal(formatOf('https://host/data.parquet?x=1.y'), 'parquet');
  assert.throws(() => formatOf('data.xlsx'), /does not say its format/);
});
