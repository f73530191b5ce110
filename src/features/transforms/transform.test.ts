import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readFeatureJoin } from '../../config/feature-join.ts';
import type { JoinedInputs } from '../../pipeline/feature-step.ts';
import type { RequestContext, ServingVersion } from '../../pipeline/types.ts';
import { document, featureSet } from '../../testing/features.ts';
import { modelConfig, spec } from '../../testing/models.ts';
import { selectRefs, viewOf } from '../documents/catalog.ts';
import type { FeatureValue } from '../documents/values.ts';
import { historicalFeatures } from '../offline/historical.ts';
import { FeatureJoiner } from '../serving/join.ts';
import { MemoryStore } from '../store/memory-store.ts';
import { applyTransform, hashOf, transformColumns, transformWidth } from './apply.ts';
import { fitTransform, transformDigest } from './fit.ts';
import { type FittedTransform, readFitted, readTransformSpec } from './spec.ts';

const STEPS = [
  { feature: 'age', kind: 'standard' },
  { feature: 'age', kind: 'minMax' },
  { feature: 'age', kind: 'bucketise', buckets: 4 },
  { feature: 'age', kind: 'bucketise', boundaries: [18, 65] },
  { feature: 'age', kind: 'identity' },
  { feature: 'city', kind: 'oneHot', categories: 2 },
  { feature: 'city', kind: 'ordinal' },
  { feature: 'city', kind: 'hash', buckets: 7 },
];
const AGES: FeatureValue[] = [10, 20, 30, 40, null];
const CITIES: FeatureValue[] = ['b', 'a', 'b', null, 'a'];
const columnOf = (feature: string): FeatureValue[] => (feature === 'age' ? AGES : CITIES);

function apply(fitted: FittedTransform, values: Record<string, FeatureValue>): number[] {
  const out: number[] = [];
  applyTransform(fitted, (step) => values[fitted[step].feature], out, 0);
  return out;
}

test('what is learnt and what it makes of values, missing and unknown ones too', () => {
  const fitted = fitTransform(readTransformSpec(STEPS), columnOf);
  assert.deepEqual(transformColumns(fitted).slice(5, 7), ['city=a', 'city=b']);
  assert.equal(transformWidth(fitted), 9);
  const deviation = Math.sqrt(125);
  assert.deepEqual(apply(fitted, { age: 40, city: 'b' }), [15 / deviation, 1, 3, 1, 40, 0, 1, 1, hashOf('b') % 7]);
  assert.deepEqual(apply(fitted, { age: null, city: null }), [0, 0, -1, -1, 0, 0, 0, -1, -1]);
  assert.deepEqual(apply(fitted, { age: 70, city: 'new' }).slice(2), [3, 2, 70, 0, 0, -1, hashOf('new') % 7]);
  // FNV-1a's published value.
  assert.equal(hashOf('a'), 0xe40c292c);
});

test('state is JSON, and the digest is of what was learnt', () => {
  const fitted = fitTransform(readTransformSpec(STEPS), columnOf);
  assert.deepEqual(readFitted(JSON.stringify(fitted)), fitted);
  const again = fitTransform(readTransformSpec(STEPS), columnOf);
  assert.equal(transformDigest(again), transformDigest(fitted));
  const other = fitTransform(readTransformSpec(STEPS), (feature) => (feature === 'age' ? [1, 2] : CITIES));
  assert.notEqual(transformDigest(other), transformDigest(fitted));
});

test('steps that cannot be are refused by name', () => {
  const refused = (steps: unknown, message: RegExp) =>
    assert.throws(() => fitTransform(readTransformSpec(steps), columnOf), { code: 'invalid_argument', message });
  refused([], /^steps: /);
  refused([{ feature: 'age', kind: 'hash' }], /steps\.0\.buckets: hash needs/);
  refused([{ feature: 'age', kind: 'bucketise' }], /either boundaries or buckets/);
  refused([{ feature: 'age', kind: 'bucketise', boundaries: [2, 1] }], /must ascend/);
  refused([{ feature: 'age', kind: 'log' }], /steps\.0\.kind/);
  refused([{ feature: 'city', kind: 'standard' }], /feature city is "b", and its transform takes a number/);
});

test('training and serving make the same numbers of the same events', async () => {
  const set = featureSet([
    document('Entity', 'e', { joinKey: 'id' }),
    document('FeatureView', 'v', {
      entities: ['e'],
      ttl: '1h',
      features: [
        { name: 'age', type: 'float64' },
        { name: 'city', type: 'string' },
      ],
    }),
  ]);
  const view = viewOf(set, 'v');
  const selections = selectRefs(set, ['v:age', 'v:city']);
  const event = fc.record({
    id: fc.integer({ min: 0, max: 5 }),
    // Some are too old, and they come in any order.
    ago: fc.integer({ min: 0, max: 2 * 3_600_000 }),
    age: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 })),
    city: fc.option(fc.constantFrom('a', 'b', 'c', 'd')),
  });
  let handles = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 1, maxLength: 40 }), async (events) => {
      // Far from the edge of the TTL, so that the two readings cannot fall on its two sides.
      const now = Date.now();
      const near = events.filter(({ ago }) => Math.abs(ago - 3_600_000) > 60_000);
      const rows = near.map(({ id, ago, age, city }) => ({ key: String(id), time: now - ago, values: [age, city] }));
      const fitted = fitTransform(readTransformSpec(STEPS), (feature) => [
        ...rows.map(({ values }) => values[feature === 'age' ? 0 : 1]),
        feature === 'age' ? 1 : 'a',
      ]);
      const ids = [0, 1, 2, 3, 4, 5];
      const frame = new Map<string, unknown[]>([['id', ids]]);
      const known = await historicalFeatures(
        selections,
        frame,
        ids.map(() => now),
        async () => rows,
        async () => [],
      );
      const trained = ids.flatMap((_, row) => apply(fitted, { age: known[0].values[row], city: known[1].values[row] }));

      const store = new MemoryStore(100);
      store.write('t', view, rows);
      const width = transformWidth(fitted);
      const config = modelConfig({
        name: 'm',
        signature: { inputs: [spec('x', 'FP64', [width])], outputs: [], maxBatchSize: 8 },
      });
      config.features = readFeatureJoin(
        "{entities: {id: id}, inputs: {x: {transform: t@1, features: ['v:city', 'v:age']}}}",
        'switchyard.features',
      );
      const version = { handle: ++handles, model: 'm', version: '1', config } as ServingVersion;
      const joiner = new FeatureJoiner(
        store,
        () => set,
        () => new Map([['t@1', fitted]]),
      );
      const keys = new Uint8Array(new BigInt64Array(ids.map(BigInt)).buffer);
      const request = {
        model: 'm',
        version: '',
        id: '',
        inputs: [{ name: 'id', datatype: 'INT64' as const, shape: [6, 1], data: keys }],
        outputs: [],
        parameters: undefined,
      };
      const context = { tenant: 't', deadline: Number.POSITIVE_INFINITY } as RequestContext;
      const { added } = joiner.join(version, request, context) as JoinedInputs;
      assert.deepEqual([...new Float64Array(added[0].data.buffer)], trained);
    }),
  );
});
