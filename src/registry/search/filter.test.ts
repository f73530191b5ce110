import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RegistryError } from '../errors.ts';
import { parseFilter, parseOrderBy } from './filter.ts';
import {
  type Comparison,
  KEYED_OPERATORS,
  NUMBER_OPERATORS,
  type Operator,
  type SearchGrammar,
  TEXT_OPERATORS,
} from './grammar.ts';

const GRAMMAR: SearchGrammar = {
  entities: {
    metric: { type: 'number', operators: NUMBER_OPERATORS },
    tag: { type: 'text', operators: KEYED_OPERATORS },
    dataset: { type: 'text', operators: TEXT_OPERATORS, keys: ['name', 'digest'] },
  },
  entityAliases: { metrics: 'metric', tags: 'tag', run: 'attributes' },
  attributes: {
    status: { type: 'text', operators: TEXT_OPERATORS },
    start_time: { type: 'number', operators: NUMBER_OPERATORS },
  },
  attributeAliases: { created: 'start_time', 'Start time': 'start_time' },
  orderable: ['start_time'],
  orderableEntities: ['metric'],
};
const parse = (text: string): Comparison[] => parseFilter(text, GRAMMAR);
const one = (text: string): unknown[] => {
  const [{ entity, key, operator, value }, ...more] = parse(text);
  assert.equal(more.length, 0);
  return [entity, key, operator, value];
};

test('names come plain, dotted, in backticks and in double quotes', () => {
  assert.deepEqual(one('metrics.loss < 0.5'), ['metric', 'loss', '<', 0.5]);
  assert.deepEqual(one("tags.mlflow.source.name = 'x'"), ['tag', 'mlflow.source.name', '=', 'x']);
  assert.deepEqual(one("tags.`mlflow.prompt.is_prompt` != 'true'"), ['tag', 'mlflow.prompt.is_prompt', '!=', 'true']);
  assert.deepEqual(one('metrics."val loss/1">=-1e-3'), ['metric', 'val loss/1', '>=', -0.001]);
  assert.deepEqual(one('metric.val-loss/2.b=1'), ['metric', 'val-loss/2.b', '=', 1]);
  assert.deepEqual(one('metric.0 <> .5'), ['metric', '0', '!=', 0.5]);
  assert.deepEqual(one("status = 'FINISHED'"), ['attribute', 'status', '=', 'FINISHED']);
  assert.deepEqual(one('attributes.created > 5'), ['attribute', 'start_time', '>', 5]);
  assert.deepEqual(one('run.`Start time` > 5'), ['attribute', 'start_time', '>', 5]);
  assert.deepEqual(one("dataset.name LIKE '%x%'"), ['dataset', 'name', 'LIKE', '%x%']);
});

test('values and operators', () => {
  assert.deepEqual(one("status in ('a', \"b\" ,'c',)"), ['attribute', 'status', 'IN', ['a', 'b', 'c']]);
  assert.deepEqual(one("status not  IN ('a')"), ['attribute', 'status', 'NOT IN', ['a']]);
  assert.deepEqual(one('tags.a is null'), ['tag', 'a', 'IS NULL', null]);
  assert.deepEqual(one('tags.a IS NOT NULL'), ['tag', 'a', 'IS NOT NULL', null]);
  assert.deepEqual(one("tags.a = 'it''s'"), ['tag', 'a', '=', "it's"]);
  assert.deepEqual(one('tags.a ilike "and"'), ['tag', 'a', 'ILIKE', 'and']);
  assert.equal(parse("metrics.a>1 and tags.b='x AND y' AnD status='z'").length, 3);
  assert.deepEqual(parse('  '), []);
});

test('mistakes are named with their position and what is allowed', () => {
  for (const [text, message] of [
    ['metrics.a > 1 OR metrics.b > 1', /AND, or the end at position 15.*OR is not supported/],
    ["metrics.a > '1'", /a number at position 13/],
    ['tags.a = 1', /single quotes at position 10/],
    ['tags.a', /a comparison.*at position 7, found its end/],
    ['tags.a > 1', /> at position 8 does not apply to tag "a"; allowed are !=/],
    ['metrics.a LIKE 1', /does not apply/],
    ['nope = 1', /unknown attribute "nope" at position 1; allowed are status, start_time/],
    ['thing.x = 1', /unknown entity "thing" at position 1; allowed are metric, tag/],
    ["dataset.color = 'x'", /dataset has name, digest/],
    ['(metrics.a > 1)', /parentheses do not group/],
    ["tags.a = 'x", /the ' at position 10 is not closed/],
    ["tags.a = 'x';", /unexpected ";" at position 13/],
    ["status IN ('a' 'b')", /expected , or \)/],
    ['status IN ()', /single quotes/],
    ['status IS NULL', /does not apply/],
    ['status NOT x', /expected IN/],
    ['metrics.a = 1e999', /beyond the range/],
    ['metrics.constructor = 1 AND __proto__ = 1', /unknown attribute "__proto__"/],
    ['metrics.a = 1 AND', /a name such as/],
    ['x'.repeat(20_001), /at most 20000/],
    [Array(102).fill('metrics.a > 1').join(' AND '), /more than 100/],
  ] as const) {
    assert.throws(
      () => parse(text),
      (error: unknown) => {
        assert.ok(error instanceof RegistryError);
        assert.equal(error.registryCode, 'INVALID_PARAMETER_VALUE');
        assert.match(error.message, message);
        return true;
      },
    );
  }
});

test('order_by takes a name and a direction', () => {
  assert.deepEqual(parseOrderBy(['metrics.`a b` DESC', 'start_time asc', 'metrics.c'], GRAMMAR), [
    { entity: 'metric', key: 'a b', ascending: false },
    { entity: 'attribute', key: 'start_time', ascending: true },
    { entity: 'metric', key: 'c', ascending: true },
  ]);
  for (const bad of ['', 'metrics.a up', 'metrics.a DESC DESC', 'status', 'tags.a', '1', 'metrics.a, metrics.b'])
    assert.throws(() => parseOrderBy([bad], GRAMMAR), RegistryError, bad);
  assert.throws(() => parseOrderBy(['created', 'start_time DESC'], GRAMMAR), /duplicate/);
});

const text = fc.string({ unit: 'grapheme', maxLength: 20 });
const quote = (value: string, mark: string): string => mark + value.replaceAll(mark, mark + mark) + mark;
const comparison: fc.Arbitrary<[Comparison, string]> = fc.oneof(
  fc
    .tuple(text, fc.constantFrom(...NUMBER_OPERATORS), fc.double({ noNaN: true, noDefaultInfinity: true }))
    .map(([key, operator, value]): [Comparison, string] => [
      { entity: 'metric', key, operator, value: value === 0 ? 0 : value },
      `metrics.${quote(key, '`')} ${operator} ${value === 0 ? 0 : value}`,
    ]),
  fc
    .tuple(text, fc.constantFrom<Operator>('=', '!=', 'LIKE', 'ILIKE'), text)
    .map(([key, operator, value]): [Comparison, string] => [
      { entity: 'tag', key, operator, value },
      `tag.${quote(key, '"')}${operator.length > 2 ? ` ${operator} ` : operator}${quote(value, "'")}`,
    ]),
  fc
    .tuple(fc.constantFrom<Operator>('IN', 'NOT IN'), fc.array(text, { minLength: 1, maxLength: 4 }))
    .map(([operator, value]): [Comparison, string] => [
      { entity: 'attribute', key: 'status', operator, value },
      `status ${operator} (${value.map((item) => quote(item, "'")).join(',')})`,
    ]),
);

test('what is written as a filter is read back the same', () => {
  fc.assert(
    fc.property(fc.array(comparison, { minLength: 1, maxLength: 5 }), (items) => {
      assert.deepEqual(
        parse(items.map(([, written]) => written).join(' AND ')),
        items.map(([meant]) => meant),
      );
    }),
  );
});

test('any text either parses or gets invalid_argument', () => {
  const pieces = fc.constantFrom(
    'metrics',
    '.',
    '`',
    '"',
    "'",
    'AND',
    'IN',
    '(',
    ')',
    ',',
    ' ',
    '=',
    '>',
    '1',
    'a',
    'IS',
    'NOT',
    'NULL',
    '-',
    '%',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(pieces, { maxLength: 12 }).map((list) => list.join('')),
      ),
      (source) => {
        try {
          parse(source);
        } catch (error) {
          assert.ok(error instanceof RegistryError, String(error));
        }
      },
    ),
    { numRuns: 1000 },
  );
});
