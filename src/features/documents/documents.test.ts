import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConfigError } from '../../config/yaml-file.ts';
import { parseExact } from '../../shared/exact-json.ts';
import { DRIVER_DOCUMENTS, document, featureSet } from '../../testing/features.ts';
import { askService } from './ask.ts';
import { FeatureBook } from './book.ts';
import { checkCollisions, entityKey, selectRefs, viewOf } from './catalog.ts';
import { loadFeatureFiles, plainFeatureFiles } from './load.ts';
import { readFeature, readTime, valueText } from './values.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-features-'));
test.after(() => rmSync(scratch, { recursive: true, force: true }));

test('mistakes in files are named with file, line and column, all at once', () => {
  const file = join(scratch, 'bad.yaml');
  writeFileSync(
    file,
    `apiVersion: switchyard/v1
kind: Entity
metadata: {name: driver}
spec: {joinKey: driver_id, type: uuid}
---
apiVersion: switchyard/v1
kind: FeatureView
metadata: {name: stats}
spec:
  entities: [driver]
  ttl: soon
  features:
    - {name: a, type: float32, colour: red}
---
kind: Sandwich
`,
  );
  assert.throws(
    () => loadFeatureFiles([file, join(scratch, 'none.yaml')]),
    (error: unknown) => {
      assert.ok(error instanceof ConfigError, String(error));
      const places = error.problems.map((problem) => /:(\d+:\d+): (\S+)/.exec(problem)?.slice(1, 3).join(' '));
      assert.deepEqual(places.slice(0, 4), [
        '4:28 spec.type:',
        '11:3 spec.ttl:',
        '13:32 spec.features.0.colour:',
        '15:1 kind:',
      ]);
      assert.match(error.problems[4], /none\.yaml: cannot be read/);
      return true;
    },
  );
});

test('mistakes in windows are named with their place', () => {
  const file = join(scratch, 'windows.yaml');
  const view = (name: string, spec: string): string =>
    `---\napiVersion: switchyard/v1\nkind: FeatureView\nmetadata: {name: ${name}}\nspec:\n  entities: [card]\n${spec}`;
  writeFileSync(
    file,
    `${view(
      'a',
      `  ttl: 1d
  features:
    - {name: a, type: float32, aggregate: {of: count, window: 1h, slide: 7m}}
    - {name: b, type: string, aggregate: {of: sum, column: x, window: 1h}}
    - {name: c, type: int64}
    - {name: d, type: int64, aggregate: {of: max, window: 10d, slide: 1m}}
`,
    )}${view('b', '  features: [{name: a, type: int64, aggregate: {of: median, window: 1h}}]\n')}${view('c', '  features: [{name: a, type: int64}]\n  source: {id: x}\n')}`,
  );
  assert.throws(
    () => loadFeatureFiles([file]),
    (error: unknown) => {
      assert.ok(error instanceof ConfigError, String(error));
      assert.deepEqual(
        error.problems.map((problem) => problem.replace(/^.*windows\.yaml:/, '')),
        [
          '7:3: spec.ttl: windows say how long events count; leave ttl out',
          '9:55: spec.features.0.aggregate.window: must be a multiple of slide',
          '10:17: spec.features.1.type: sum makes one of int64, float32, float64, not string',
          '11:7: spec.features.2: has no aggregate, and others of the view have; put it into a view of its own',
          '12:42: spec.features.3.aggregate.of: max needs a column of the events',
          "12:51: spec.features.3.aggregate.window: is 14400 times as long as the view's panes of 60000 ms, which all its slides are multiples of; at most 1000 times is allowed: lengthen the slides, or put it into a view of its own",
          '19:49: spec.features.0.aggregate.of: Invalid option: expected one of "count"|"sum"|"mean"|"min"|"max"|"last"|"countDistinct"|"stddev"',
          '27:12: spec.source.id: only aggregates count events by id',
        ],
      );
      return true;
    },
  );
});

test("the page's documents can be read, and plain ones are as they were written", () => {
  const page = readFileSync('docs/features.md', 'utf8');
  const snippets = [...page.matchAll(/```yaml\n(apiVersion[\s\S]*?)```/g)].map(([, text]) => text);
  assert.ok(snippets.length >= 2, `${snippets.length} snippets`);
  const files = snippets.map((text, i) => {
    const file = join(scratch, `page-${i}.yaml`);
    writeFileSync(file, text);
    return file;
  });
  const plain = plainFeatureFiles(files);
  const { views, onDemand } = featureSet(plain as object[]);
  assert.equal(views.size + onDemand.size, snippets.length);
  assert.equal(loadFeatureFiles(files).length, plain.length);
  const windows = snippets.find((text) => text.includes('aggregate'));
  assert.ok(windows?.includes('window: 1h, slide: 5m'), 'the page shows aggregates');
});

test('what documents say about one another is checked, too', () => {
  const file = join(scratch, 'among.yaml');
  writeFileSync(
    file,
    `apiVersion: switchyard/v1
kind: FeatureView
metadata: {name: stats}
spec: {entities: [rider], features: [{name: a, type: bool}]}
`,
  );
  assert.throws(
    () => loadFeatureFiles([file]),
    /among\.yaml:4:19: spec\.entities\.0: there is no Entity rider; there are none/,
  );
  assert.throws(() => featureSet([...DRIVER_DOCUMENTS, DRIVER_DOCUMENTS[0]]), /there is another Entity driver/);
  const clash = document('FeatureView', 'x', {
    entities: ['driver'],
    features: [{ name: 'driver_id', type: 'int64' }],
  });
  assert.throws(() => featureSet([...DRIVER_DOCUMENTS, clash]), /name of a join key/);
  const service = document('FeatureService', 's', { features: [{ view: 'driver_stats', features: ['nothing'] }] });
  assert.throws(() => featureSet([...DRIVER_DOCUMENTS, service]), /has no feature nothing; it has conv_rate, trips/);
});

test('changes come whole or not at all', () => {
  const book = new FeatureBook([], scratch);
  const change = (kind: 'Entity' | 'FeatureView', name: string, body: unknown) => ({ kind, name, body });
  const [driver, , stats] = DRIVER_DOCUMENTS;
  assert.throws(() => book.change([change('FeatureView', 'driver_stats', stats)], false), /there is no Entity driver/);
  book.change([change('FeatureView', 'driver_stats', stats), change('Entity', 'driver', driver)], false);
  assert.deepEqual([...book.set.views.keys()], ['driver_stats']);
  assert.throws(() => book.change([change('Entity', 'driver', undefined)], false), /there is no Entity driver/);
  assert.throws(() => book.change([change('Entity', 'rider', undefined)], false), { code: 'not_found' });
  assert.equal(book.set.entities.size, 1);
  const rows = [
    { kind: 'FeatureView', name: 'driver_stats', body: JSON.stringify(stats) },
    { kind: 'Entity', name: 'old', body: '{"kind":"Entity"}' },
  ];
  const problems = book.restore(rows);
  assert.match(problems.join('\n'), /Entity old: .*\nFeatureView driver_stats: there is no Entity driver/s);
  assert.equal(book.set.views.size, 0);
});

test('features are grouped by view; unknown and ambiguous names are refused', () => {
  const set = featureSet();
  const groups = selectRefs(set, ['driver_stats:trips', 'embeddings:vector', 'driver_stats:home']);
  assert.deepEqual(
    groups.map(({ view, fields }) => [view.name, fields]),
    [
      ['driver_stats', [1, 3]],
      ['embeddings', [0]],
    ],
  );
  assert.deepEqual(
    askService(set, 'ranking').asked.map(({ fields }) => fields),
    [[1, 0], [0]],
  );
  assert.throws(() => selectRefs(set, []), /No features/);
  assert.throws(() => selectRefs(set, ['trips']), /"view:feature"/);
  assert.throws(() => selectRefs(set, ['riders:trips']), { code: 'not_found', message: /riders/ });
  assert.throws(() => selectRefs(set, ['driver_stats:x']), { code: 'invalid_argument', message: /has no feature "x"/ });
  const twice = selectRefs(set, ['driver_stats:trips', 'city_stats:trips']);
  assert.throws(() => checkCollisions(twice, false), /full_feature_names/);
  checkCollisions(twice, true);
});

test('keys of one and of several entities cannot be mistaken for one another', () => {
  const set = featureSet();
  const key = (view: string, values: Record<string, unknown>) =>
    entityKey(viewOf(set, view), (name) => values[name], '');
  assert.equal(key('driver_stats', { driver_id: 7 }), '7');
  assert.equal(key('driver_stats', { driver_id: '9223372036854775807' }), '9223372036854775807');
  assert.equal(key('city_stats', { driver_id: 7, city: 'a","b' }), '["7","a\\",\\"b"]');
  for (const bad of [1.5, 2 ** 53, '9223372036854775808', null, true, ''])
    assert.throws(() => key('driver_stats', { driver_id: bad }), { code: 'invalid_argument' }, String(bad));
});

test('values are what their type says, or the mistake is named', () => {
  assert.equal(readFeature('float32', 0, 0.1, 'v'), Math.fround(0.1));
  assert.equal(readFeature('int64', 0, '9007199254740993', 'v'), 9007199254740993n);
  assert.deepEqual(readFeature('float32', 2, [1, 'NaN'], 'v'), [1, Number.NaN]);
  assert.equal(readFeature('timestamp', 0, '2026-01-01T00:00:01.9Z', 'v'), 1_767_225_601);
  assert.equal(readFeature('bool', 0, null, 'v'), null);
  const wrong = (type: Parameters<typeof readFeature>[0], length: number, value: unknown) =>
    assert.throws(() => readFeature(type, length, value, 'df, row 3: x'), {
      code: 'invalid_argument',
      message: /df, row 3: x/,
    });
  wrong('int32', 0, 2 ** 31);
  wrong('int64', 0, 1.5);
  wrong('float64', 0, '1.5');
  wrong('string', 0, 5);
  wrong('bool', 0, 2);
  wrong('float32', 2, [1]);
  wrong('float32', 0, [1]);
  assert.equal(readTime('2026-01-01 00:00:00.123456', 't'), Date.UTC(2026, 0, 1, 0, 0, 0, 123));
  assert.equal(readTime('2026-01-01T01:00:00+01:00', 't'), Date.UTC(2026, 0, 1));
  for (const bad of ['yesterday', '2026-13-01', null, Number.NaN, {}])
    assert.throws(() => readTime(bad, 't'), { code: 'invalid_argument' });
});

test('what is written as JSON is read back the same', () => {
  const number = fc.oneof(fc.double(), fc.integer());
  fc.assert(
    fc.property(number, (value) => {
      const read = readFeature('float64', 0, parseExact(valueText(value)), 'v');
      assert.ok(Object.is(read, value), `${value} became ${String(read)}`);
    }),
  );
  fc.assert(
    fc.property(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), (value) => {
      assert.equal(BigInt(readFeature('int64', 0, parseExact(valueText(value)), 'v') as number), value);
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.equal(readFeature('string', 0, parseExact(valueText(text)), 'v'), text);
    }),
  );
});
