import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DecisionRecord } from '../../pipeline/routed/record.ts';
import { RequestIds } from '../../shared/ids.ts';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { fp32 } from '../../testing/loopback.ts';
import { decodeRecord } from '../encode/record-decoder.ts';
import { countersOf, DROPPED, HANDED, LOST, SAMPLED_OUT, SERVED, TAKEN } from './memory.ts';
import { RingReader } from './ring-reader.ts';

const withInput = (id: string, floats: number) => {
  const base = finishedRequest({ id });
  return {
    ...base,
    request: { ...base.request, inputs: [fp32('x', [floats], new Array(floats).fill(floats))] },
  };
};

test('what was handed over arrives once and in order; what found no room is counted', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 300 }), fc.boolean()), { minLength: 1, maxLength: 300 }),
      (steps) => {
        const loop = new LogLoop({}, { bytes: 16 * 1024 });
        const arrived: string[] = [];
        const sent: string[] = [];
        const take = (): void => {
          for (const bytes of loop.take()) {
            const { id, features } = decodeRecord(bytes);
            assert.equal(features[0].values.length, features[0].shape[0]);
            for (const value of features[0].values) assert.equal(value, features[0].shape[0]);
            arrived.push(id);
          }
        };
        steps.forEach(([floats, read], i) => {
          const handed = countersOf(loop.memory)[HANDED];
          loop.tap.finished(withInput(`id-${i}`, floats));
          if (countersOf(loop.memory)[HANDED] > handed) sent.push(`id-${i}`);
          if (read) take();
        });
        take();
        assert.deepEqual(arrived, sent);
        const counters = countersOf(loop.memory);
        assert.equal(counters[SERVED], steps.length);
        assert.equal(counters[SERVED], counters[HANDED] + counters[DROPPED] + counters[SAMPLED_OUT]);
        assert.equal(counters[TAKEN], counters[HANDED]);
      },
    ),
    { numRuns: 60 },
  );
});

test('an id by its number arrives as the text that the client is told, whatever source it is from', () => {
  const loop = new LogLoop();
  const sources = [new RequestIds(), new RequestIds()];
  const number = fc.oneof(fc.nat(1300), fc.maxSafeNat());
  fc.assert(
    fc.property(fc.nat(1), number, (source, each) => {
      const ids = sources[source];
      loop.tap.finished(finishedRequest({ id: 'not read', ids, number: each }));
      assert.equal(decodeRecord(loop.take()[0]).id, ids.text(each));
    }),
  );
});

test('a ring that nobody reads fills up, and everything beyond is counted as dropped', () => {
  const loop = new LogLoop({}, { bytes: 16 * 1024 });
  for (let i = 0; i < 1000; i++) loop.tap.finished(withInput(`id-${i}`, 10));
  const counters = countersOf(loop.memory);
  assert.ok(counters[DROPPED] > 800, `${counters[DROPPED]}`);
  assert.equal(loop.take().length, counters[HANDED]);
  loop.tap.finished(withInput('after', 10));
  assert.equal(decodeRecord(loop.take()[0]).id, 'after');
});

test('a record larger than the ring can take travels by itself, up to a bound', () => {
  const loop = new LogLoop({ rule: { payloadLimitBytes: 1024 * 1024 } }, { bytes: 64 * 1024 });
  loop.tap.finished(withInput('big', 5000));
  loop.tap.finished(withInput('small', 1));
  loop.tap.finished(withInput('too big', 20_000));
  const ids = loop.take().map((bytes) => decodeRecord(bytes).id);
  assert.deepEqual(ids, ['small', 'big']);
  assert.equal(countersOf(loop.memory)[DROPPED], 1);
  loop.tap.finished(withInput('again', 5000));
  assert.deepEqual(
    loop.take().map((bytes) => decodeRecord(bytes).features[0].values[4999]),
    [5000],
  );
});

test('a log thread that starts again hears every definition anew and counts what it cannot read', () => {
  const loop = new LogLoop();
  loop.tap.finished(withInput('read', 1));
  assert.equal(loop.take().length, 1);
  loop.tap.finished(withInput('lost', 1));
  loop.reader = new RingReader(loop.memory);
  loop.tap.finished(withInput('found', 1));
  assert.deepEqual(
    loop.take().map((bytes) => decodeRecord(bytes).id),
    ['found'],
  );
  const counters = countersOf(loop.memory);
  assert.equal(counters[LOST], 1);
  assert.equal(counters[TAKEN], counters[HANDED]);
});

test('sampling, fields and rules by model and route', () => {
  let draw = 0;
  const loop = new LogLoop(
    {
      rule: { sample: 0.25 },
      models: {
        quiet: { enabled: false },
        iris: { sample: 1, inputs: ['x'], outputs: [], entity: { parameter: 'user' } },
      },
    },
    { random: () => (draw = (draw + 0.1) % 1) },
  );
  loop.tap.setRoutes(new Map([['ranker', { sample: 0.5 }]]));
  assert.equal(loop.tap.wants('', 'quiet'), false);
  assert.equal(loop.tap.wants('ranker', 'other'), true);
  const base = finishedRequest();
  const parameters = Object.assign(Object.create(null), { user: 'u-9' });
  const inputs = [fp32('z', [1], [1]), fp32('x', [1], [2])];
  loop.tap.finished({ ...base, request: { ...base.request, inputs, parameters } });
  const [record] = loop.take().map((bytes) => decodeRecord(bytes));
  assert.equal(record.entity, 'u-9');
  assert.deepEqual(
    record.features.map(({ name }) => name),
    ['x'],
  );
  assert.deepEqual(record.predictions, []);
  for (let i = 0; i < 100; i++) loop.tap.finished({ ...base, request: { ...base.request, model: 'unknown' } });
  const sampled = loop.take().map((bytes) => decodeRecord(bytes));
  assert.ok(sampled.length >= 20 && sampled.length <= 30, `${sampled.length} of 100`);
  assert.equal(sampled[0].sampleRate, 0.25);
  assert.equal(sampled[0].requestedModel, 'unknown');
  const counters = countersOf(loop.memory);
  assert.equal(counters[SAMPLED_OUT] + counters[HANDED], counters[SERVED]);
});

test('what a rule takes out of the inputs does not come back by a context made of them', () => {
  const rule = { redact: [{ field: 'inputs.x', action: 'drop' as const }] };
  const loop = new LogLoop({ rule });
  const decision: Partial<DecisionRecord> = {
    ...{ route: 'ranker', stateVersion: 1, snapshotVersion: 1, eligible: ['a'], pmf: [1], propensity: 1, role: 'arm' },
    ...{ assigned: 'a', served: 'a', analysed: true, override: -1, bucket: -1, fallbacks: [], detour: '' },
    features: [1, 3],
  };
  loop.tap.finished(finishedRequest({ decision: decision as DecisionRecord }));
  const [record] = loop.take().map((bytes) => decodeRecord(bytes));
  assert.deepEqual(record.context, []);
  assert.deepEqual(record.redactions, ['inputs.x: drop', 'context: drop']);
  assert.equal(record.proposed, undefined);
});

test('a routed request says how it was decided, and its shadow says that it is one', () => {
  const loop = new LogLoop();
  const decision: Partial<DecisionRecord> = {
    route: 'ranker',
    stateVersion: 3,
    snapshotVersion: 2 ** 40,
    eligible: ['a', 'b'],
    pmf: [0.75, 0.25],
    propensity: 0.25,
    assigned: 'b',
    served: 'b',
    role: 'arm',
    analysed: true,
    override: 1,
    bucket: 9999,
    fallbacks: [{ variant: 'a', cause: 'timeout', version: '1' }],
    proposed: { variant: 'a', pmf: [0.125, 0.875] },
    features: [1, -2.5, 0],
    detour: '',
    model: 'iris',
  };
  const base = finishedRequest({ decision: decision as DecisionRecord });
  loop.tap.finished(base);
  loop.tap.finished({ ...base, shadow: 'a' });
  const [primary, shadow] = loop.take().map((bytes) => decodeRecord(bytes));
  assert.deepEqual(primary.eligible, ['a', 'b']);
  assert.deepEqual(primary.pmf, [0.75, 0.25]);
  assert.equal(primary.propensity, 0.25);
  assert.equal(primary.variant, 'b');
  assert.equal(primary.stateVersion, 3);
  assert.equal(primary.snapshotVersion, 2 ** 40);
  assert.equal(primary.analysed, true);
  assert.deepEqual([primary.override, primary.bucket], [1, 9999]);
  assert.deepEqual(primary.fallbacks, [{ variant: 'a', cause: 'timeout' }]);
  assert.deepEqual(primary.proposed, { variant: 'a', pmf: [0.125, 0.875] });
  assert.deepEqual(primary.context, [1, -2.5, 0]);
  assert.deepEqual([...primary.features[0].values], [1.5, -2]);
  assert.equal(shadow.shadow, true);
  assert.equal(shadow.variant, 'a');
  assert.equal(shadow.assigned, 'b');
});
