import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { dataSchema } from '../config/data-schema.ts';
import type { Cell, FieldType } from '../datasets/batch.ts';
import { ColumnProfiler, type Profile } from '../datasets/profile.ts';
import { findAnomalies } from './anomalies.ts';
import { inferDataSchema } from './infer.ts';
import { distance, skewOf } from './skew.ts';

function profile(columns: Record<string, { type: FieldType; cells: Cell[] }>): Profile {
  const found = Object.entries(columns).map(([name, { type, cells }]) => {
    const profiler = new ColumnProfiler({ name, type });
    profiler.add(cells);
    return profiler.result();
  });
  return { rows: found[0].count + found[0].nulls, columns: found };
}

const numbers = (...cells: Cell[]) => ({ type: 'number' as const, cells });
const texts = (...cells: Cell[]) => ({ type: 'string' as const, cells });

const REFERENCE = profile({
  age: { type: 'integer', cells: [18, 40, 65, 30, 22, null, 51, 44, 37, 29] },
  country: texts('DE', 'FR', 'DE', 'FR', 'IT', 'DE', 'FR', 'IT', 'DE', 'DE'),
  name: texts('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'),
  vector: { type: 'numbers', cells: Array(10).fill([0.5, 1]) },
});

test('infers types, ranges, vocabularies, lengths and completeness as a person would', () => {
  const rest = { required: true, maxUnknown: 0, severity: 'error' };
  assert.deepEqual(inferDataSchema(REFERENCE), {
    fields: {
      age: { type: 'integer', maxMissing: 0.2, min: 18, max: 65, ...rest },
      country: { type: 'string', maxMissing: 0, values: ['DE', 'FR', 'IT'], ...rest },
      name: { type: 'string', maxMissing: 0, ...rest },
      vector: { type: 'numbers', maxMissing: 0, min: 0.5, max: 1, minLength: 2, maxLength: 2, ...rest },
    },
    extra: 'warning',
    minRows: 0,
  });
});

test('finds each kind of anomaly, and nothing in the reference itself', () => {
  const schema = dataSchema.parse({ ...inferDataSchema(REFERENCE), minRows: 4 });
  assert.deepEqual(findAnomalies(REFERENCE, schema), []);
  schema.fields.name.unique = true;
  const bad = profile({
    age: { type: 'integer', cells: [17, 99, null] },
    country: { type: 'string', cells: ['DE', 'XX', null] },
    name: { type: 'integer', cells: [1, 2, 3] },
    added: texts('x', 'y', 'z'),
  });
  assert.deepEqual(
    findAnomalies(bad, schema).map(({ field, kind, severity }) => [field, kind, severity]),
    [
      ['', 'TOO_FEW_ROWS', 'error'],
      ['age', 'MISSING_VALUES', 'error'],
      ['age', 'BELOW_MIN', 'error'],
      ['age', 'ABOVE_MAX', 'error'],
      ['country', 'MISSING_VALUES', 'error'],
      ['country', 'VOCABULARY', 'error'],
      ['name', 'TYPE', 'error'],
      ['vector', 'MISSING_COLUMN', 'error'],
      ['added', 'EXTRA_COLUMN', 'warning'],
    ],
  );
  const [, , below, , , vocabulary] = findAnomalies(bad, schema);
  assert.equal(below.message, '17 is below 18');
  assert.match(vocabulary.message, /50\.00 % of the values are not in the vocabulary, such as "XX"/);
  const twice = profile({
    age: numbers(20),
    country: texts('DE'),
    name: texts('a', 'a'),
    vector: { type: 'numbers', cells: [[1]] },
  });
  assert.deepEqual(
    findAnomalies(twice, { ...schema, minRows: 0 }).map(({ field, kind }) => [field, kind]),
    [
      ['age', 'TYPE'],
      ['name', 'NOT_UNIQUE'],
      ['vector', 'LENGTH'],
    ],
  );
});

test('a reference never contradicts the schema that was inferred from it', () => {
  const cell = fc.option(fc.oneof(fc.double(), fc.constant(Number.NaN)));
  fc.assert(
    fc.property(fc.array(cell, { minLength: 1 }), fc.array(fc.option(fc.string()), { minLength: 1 }), (a, b) => {
      const rows = Math.min(a.length, b.length);
      const data = profile({ a: numbers(...a.slice(0, rows)), b: texts(...b.slice(0, rows)) });
      const schema = inferDataSchema(data);
      assert.deepEqual(findAnomalies(data, schema), []);
    }),
  );
});

test('skew is 0 between equal and 1 between disjoint data, and as computed by hand in between', () => {
  const [a] = profile({ x: texts('p', 'p', 'q', 'r') }).columns;
  const [b] = profile({ x: texts('p', 'q', 'q', 's') }).columns;
  assert.deepEqual(skewOf(a, a), { linf: 0, js: 0 });
  const skew = skewOf(a, b);
  assert.equal(skew?.linf, 0.25);
  // scipy.spatial.distance.jensenshannon([.5,.25,.25,0],[.25,.5,0,.25], base=2) ** 2
  assert.ok(Math.abs((skew?.js ?? 0) - 0.31127812445913283) < 1e-12, `js ${skew?.js}`);
  const [low] = profile({ x: numbers(1, 2, 3) }).columns;
  const [high] = profile({ x: numbers(101, 102, 103) }).columns;
  assert.deepEqual(skewOf(low, low), { linf: 0, js: 0 });
  assert.ok((skewOf(low, high)?.js ?? 0) > 0.99, `js ${skewOf(low, high)?.js}`);
  assert.equal(distance([1, 0], [0, 1]).js, 1);
});

test('skew between training and serving is an anomaly where a field limits it', () => {
  const schema = dataSchema.parse({ fields: { x: { maxSkew: { linf: 0.1, js: 0.05 } } } });
  const training = profile({ x: texts('p', 'p', 'p', 'q') });
  assert.deepEqual(findAnomalies(training, schema, training), []);
  const serving = profile({ x: texts('q', 'q', 'q', 'p') });
  assert.deepEqual(
    findAnomalies(serving, schema, training).map(({ kind }) => kind),
    ['SKEW', 'SKEW'],
  );
});
