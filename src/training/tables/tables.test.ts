import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { readTable, writeCsv } from './csv.ts';
import { filesAndHttp, gather } from './reader.ts';
import { split } from './split.ts';
import { type Cell, type ColumnType, factsOf, type Table } from './table.ts';
import { applyTransform, fitTransform, type Operation } from './transform.ts';
import { describeProblem, findProblems, inferSchema } from './validate.ts';

const folder = mkdtempSync(join(tmpdir(), 'data-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const table = (columns: Record<string, [ColumnType, Cell[]]>): Table => ({
  columns: Object.entries(columns).map(([name, [type, values]]) => ({ name, type, values })),
  rows: Object.values(columns)[0][1].length,
});
const file = (name: string, text: string | Buffer): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const values = (found: Table, name: string) => found.columns.find((column) => column.name === name)?.values;

test('whatever a table holds comes back from its CSV', async () => {
  const text = fc.string({ unit: 'binary' }).filter((value) => !value.includes('\0') && !/\p{Surrogate}/u.test(value));
  const cells: Record<ColumnType, fc.Arbitrary<Cell>> = {
    string: fc.option(text),
    number: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0)),
    integer: fc.option(fc.maxSafeInteger()),
    boolean: fc.option(fc.boolean()),
  };
  const tables = fc
    .integer({ min: 1, max: 8 })
    .chain((rows) =>
      fc
        .tuple(
          ...(Object.entries(cells) as [ColumnType, fc.Arbitrary<Cell>][]).map(([type, cell]) =>
            fc.array(cell, { minLength: rows, maxLength: rows }).map((list) => [type, list] as [ColumnType, Cell[]]),
          ),
        )
        .map((columns) =>
          table(Object.fromEntries(columns.map(([type, list]) => [`a ${type}, "quoted"`, [type, list]]))),
        ),
    );
  await fc.assert(
    fc.asyncProperty(tables, async (given) => {
      const csv = [...writeCsv(given)].join('');
      assert.deepEqual(await readTable(Readable.from([Buffer.from(csv)]), factsOf(given)), given);
    }),
    { numRuns: 200 },
  );
});

test('CSV and JSON lines are read, typed, and joined by column', async () => {
  const csv = file('a.csv', '﻿id,score,name,ok\n1,0.5,"x, y",true\n2,NA,,false\n');
  const lines = file('b.jsonl', '{"id": 3, "score": 2, "name": "z", "extra": "e"}\n\n{"id": 4}\n');
  const found = await gather(filesAndHttp, [
    { location: csv, format: 'csv', missing: ['NA'] },
    { location: lines, format: 'jsonl' },
  ]);
  assert.deepEqual(
    factsOf(found).map(({ name, type }) => `${name}:${type}`),
    ['id:integer', 'score:number', 'name:string', 'ok:boolean', 'extra:string'],
  );
  assert.deepEqual(values(found, 'score'), [0.5, null, 2, null]);
  assert.deepEqual(values(found, 'name'), ['x, y', null, 'z', null]);
  assert.deepEqual(values(found, 'ok'), [true, false, null, null]);
});

test('files come gzipped and over HTTP; failures name the place', async () => {
  const server = http.createServer((request, response) => {
    if (request.url === '/data.csv') response.end('a\n7\n');
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const read = (location: string, format: 'csv' | 'jsonl' = 'csv') => gather(filesAndHttp, [{ location, format }]);
  assert.deepEqual(values(await read(`${base}/data.csv`), 'a'), [7]);
  assert.deepEqual(values(await read(file('c.csv.gz', gzipSync('a\n9\n'))), 'a'), [9]);
  await assert.rejects(read(`${base}/other.csv`), /other\.csv answered 404/);
  await assert.rejects(read(join(folder, 'none.csv')), /none\.csv: there is no such file/);
  await assert.rejects(read(file('bad.csv', 'a,b\n1\n')), /bad\.csv: not readable as CSV: .*line 2/);
  await assert.rejects(read(file('twice.csv', 'a,a\n1,2\n')), /"a" is there twice/);
  await assert.rejects(read(file('bad.jsonl', '{"a": 1}\n{"a": [1]}\n'), 'jsonl'), /line 2: "a" holds a list/);
  await assert.rejects(
    gather(filesAndHttp, [{ location: file('d.csv', 'a\n1\nx\n'), format: 'csv' }], { a: 'integer' }),
    /row 2: column "a" is "x", which is no integer/,
  );
  await new Promise((resolve) => server.close(resolve));
});

test('a split loses and doubles no row, and is the same every time', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 20, max: 300 }),
      fc.nat(),
      fc.constantFrom('random', 'key', 'stratify'),
      (rows, seed, by) => {
        const given = table({
          id: ['integer', Array.from({ length: rows }, (_, i) => i)],
          class: ['integer', Array.from({ length: rows }, (_, i) => i % 2)],
        });
        const spec = {
          parts: { train: 0.7, test: 0.3 },
          seed,
          ...(by === 'key' ? { key: 'id' } : by === 'stratify' ? { stratify: 'class' } : {}),
        };
        let parts: Map<string, Table>;
        try {
          parts = split(given, spec);
        } catch (error) {
          assert.match((error as Error).message, /would be empty/);
          return;
        }
        const ids = [...parts.values()].flatMap((part) => values(part, 'id') as number[]);
        assert.deepEqual(
          ids.toSorted((a, b) => a - b),
          values(given, 'id'),
        );
        assert.deepEqual(split(given, spec), parts);
      },
    ),
  );
});

test('splits keep their promises: by time, by key, by class', () => {
  const given = table({
    at: ['string', ['2026-01-03', '2026-01-01', '2026-01-04', '2026-01-02']],
    user: ['string', ['a', 'b', 'a', 'b']],
  });
  const parts = split(given, { parts: { train: 0.5, test: 0.5 }, seed: 1, time: 'at' });
  assert.deepEqual(values(parts.get('train')!, 'at'), ['2026-01-01', '2026-01-02']);
  assert.throws(() => split(given, { parts: { train: 0.5, test: 0.5 }, seed: 1, time: 'user' }), /no time/);
  const users = Array.from({ length: 400 }, (_, i) => `u${i % 100}`);
  const byKey = split(table({ user: ['string', users] }), { parts: { a: 0.5, b: 0.5 }, seed: 3, key: 'user' });
  const left = new Set(values(byKey.get('a')!, 'user'));
  assert.ok(values(byKey.get('b')!, 'user')?.every((user) => !left.has(user)));
  const rare = table({ y: ['integer', Array.from({ length: 100 }, (_, i) => Number(i < 10))] });
  const mixed = split(rare, { parts: { a: 0.8, b: 0.2 }, seed: 3, stratify: 'y' });
  assert.equal(values(mixed.get('b')!, 'y')?.filter((y) => y === 1).length, 2);
});

test('a dataset is held against a schema, given or inferred', () => {
  const given = table({ age: ['integer', [3, -1, 200, null]], city: ['string', ['a', 'b', 'c', 'c']] });
  const problems = findProblems(given, {
    columns: { age: { type: 'number', min: 0, max: 120, maxMissing: 0.1 }, city: { values: ['a', 'b'] }, zip: {} },
    minRows: 5,
  });
  assert.deepEqual(problems.map(describeProblem), [
    '4 rows, at least 5 are wanted',
    'age, row 2: -1 is below 0',
    'age, row 3: 200 is above 120',
    'age, row 4: 25.00 % of the values are missing, 10 % may be',
    'city, row 3: "c" is not in the vocabulary (2 values)',
    'zip: the column is missing',
  ]);
  assert.deepEqual(findProblems(given, inferSchema(given)), []);
  assert.match(
    describeProblem(findProblems(given, { columns: { age: { maxMissing: 1 } } })[0]),
    /does not know the column/,
  );
});

test('a transformation is learnt once and applied to later data as it was', () => {
  const operations: Operation[] = [
    { scale: { columns: ['x'], method: 'standard' } },
    { oneHot: { columns: ['c'], maxValues: 5 } },
    { hash: { columns: ['h'], buckets: 16 } },
    { rename: { x: 'scaled' } },
  ];
  const first = table({ x: ['number', [0, 2, 4]], c: ['string', ['a', 'b', 'a']], h: ['string', ['p', 'q', 'p']] });
  const { table: fitted, state } = fitTransform(first, operations);
  assert.deepEqual(
    fitted.columns.map(({ name }) => name),
    ['scaled', 'c=a', 'c=b', 'h'],
  );
  assert.ok(Math.abs((values(fitted, 'scaled')?.[2] as number) - 2 / Math.sqrt(8 / 3)) < 1e-12);
  const later = table({ x: ['number', [2]], c: ['string', ['new']], h: ['string', ['p']] });
  const applied = applyTransform(later, operations, JSON.parse(JSON.stringify(state)));
  assert.deepEqual(
    applied.columns.map((column) => column.values[0]),
    [0, 0, 0, values(fitted, 'h')?.[0]],
  );
  assert.throws(() => fitTransform(first, [{ select: ['y'] }]), /no column "y"; the dataset has x, c, h/);
  assert.throws(() => fitTransform(first, [{ oneHot: { columns: ['c'], maxValues: 1 } }]), /2 values, 1 are allowed/);
});
