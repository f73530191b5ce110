import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readFeatureJoin } from '../../config/feature-join.ts';
import type { JoinedInputs } from '../../pipeline/feature-step.ts';
import type { InferRequest, RequestContext, ServingVersion } from '../../pipeline/types.ts';
import { monotonicMs } from '../../shared/clock.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { document, featureSet } from '../../testing/features.ts';
import { modelConfig, spec } from '../../testing/models.ts';
import { viewOf } from '../documents/catalog.ts';
import { MemoryStore } from '../store/memory-store.ts';
import { noCounts, type OnlineStore, type Row } from '../store/online-store.ts';
import { FeatureJoiner } from './join.ts';

const set = featureSet();
const NOW = Date.now();
const DAY = 86_400_000;

function store(): MemoryStore {
  const memory = new MemoryStore(1000);
  const rows: Row[] = [
    { key: '1', time: NOW, values: [0.5, 7, true, 'Köln'] },
    { key: '2', time: NOW, values: [null, 2n ** 60n, false, ''] },
    { key: '3', time: NOW - 2 * DAY, values: [0.25, 9, true, 'x'] },
  ];
  memory.write('t', viewOf(set, 'driver_stats'), rows);
  memory.write('t', viewOf(set, 'embeddings'), [{ key: '1', time: NOW, values: [[1, 2]] }]);
  return memory;
}

const JOIN = `
entities: {driver_id: driver}
inputs:
  x: [driver_stats:trips, embeddings:vector, driver_stats:conv_rate]
  home: [driver_stats:home]
`;
const INPUTS = [spec('x', 'FP32', [4]), spec('home', 'BYTES', [1]), spec('own', 'FP32', [1])];

let handles = 0;
function version(join: string, inputs = INPUTS): ServingVersion {
  const config = modelConfig({ name: 'm', signature: { inputs, outputs: [], maxBatchSize: 8 } });
  config.features = readFeatureJoin(join, 'switchyard.features');
  return {
    handle: ++handles,
    model: 'm',
    version: '1',
    config,
    executors: [],
    absence: '',
    cacheIdentity: '',
    metricsRow: 0,
    memoryBytes: 0,
  };
}

function int64(name: string, values: bigint[]): Tensor {
  return { name, datatype: 'INT64', shape: [values.length, 1], data: new Uint8Array(new BigInt64Array(values).buffer) };
}

const own: Tensor = { name: 'own', datatype: 'FP32', shape: [4, 1], data: new Uint8Array(16) };
const request = (...inputs: Tensor[]): InferRequest => ({
  model: 'm',
  version: '',
  id: '',
  inputs,
  outputs: [],
  parameters: undefined,
});
const context = (deadline = Number.POSITIVE_INFINITY) => ({ tenant: 't', deadline }) as RequestContext;

function texts({ data }: Tensor): string[] {
  const found: string[] = [];
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < data.length; at += 4 + view.getUint32(at, true))
    found.push(Buffer.from(data.subarray(at + 4, at + 4 + view.getUint32(at, true))).toString());
  return found;
}

test('inputs come from the store, row by row, with defaults where there is nothing', () => {
  const joiner = new FeatureJoiner(store(), () => set);
  const asked = request(int64('driver', [2n, 1n, 3n, 1n]), own);
  const joined = joiner.join(version(JOIN), asked, context()) as JoinedInputs;
  assert.deepEqual(
    joined.inputs.map(({ name }) => name),
    ['own', 'x', 'home'],
  );
  const [x, home] = joined.added;
  assert.deepEqual([x.datatype, x.shape, home.shape], ['FP32', [4, 4], [4, 1]]);
  const row1 = [7, 1, 2, 0.5];
  assert.deepEqual([...new Float32Array(x.data.buffer)], [2 ** 60, 0, 0, 0, ...row1, -1, 0, 0, 0, ...row1]);
  assert.deepEqual(texts(home), ['', 'Köln', '', 'Köln']);
  // The request itself stays as it was: it may be sent again.
  assert.deepEqual(
    asked.inputs.map(({ name }) => name),
    ['driver', 'own'],
  );
  assert.deepEqual(joiner.counts.values, { PRESENT: 10, NULL_VALUE: 1, NOT_FOUND: 2, OUTSIDE_MAX_AGE: 3 });
});

test('an input that the request brings is not read for', () => {
  const joiner = new FeatureJoiner(store(), () => set);
  const x: Tensor = { name: 'x', datatype: 'FP32', shape: [1, 4], data: new Uint8Array(16) };
  const home: Tensor = { name: 'home', datatype: 'BYTES', shape: [1, 1], data: new Uint8Array(4) };
  const joined = joiner.join(version(JOIN), request(x, home), context()) as JoinedInputs;
  assert.deepEqual([joined.inputs, joined.added], [[x, home], []]);
  const part = joiner.join(version(JOIN), request(x, int64('driver', [1n])), context()) as JoinedInputs;
  assert.deepEqual(
    part.added.map(({ name }) => name),
    ['home'],
  );
});

test('missing: reject refuses the request by feature, row and status', () => {
  const joiner = new FeatureJoiner(store(), () => set);
  const join = (ids: bigint[]) =>
    joiner.join(version(`${JOIN}missing: reject\n`), request(int64('driver', ids)), context());
  assert.ok(!(join([1n]) instanceof Promise), 'memory answers at once');
  assert.throws(() => join([1n, 3n]), {
    code: 'failed_precondition',
    message: /driver_stats:trips of row 1 is OUTSIDE_MAX_AGE/,
  });
});

test('what does not fit is refused: the request, or the configuration', () => {
  const joiner = new FeatureJoiner(store(), () => set);
  const join =
    (text: string, inputs: Tensor[], specs = INPUTS) =>
    () =>
      joiner.join(version(text, specs), request(...inputs), context());
  const one = int64('driver', [1n]);
  assert.throws(join(JOIN, [own]), { code: 'invalid_argument', message: /input 'driver' is missing/ });
  assert.throws(join(JOIN, [{ ...own, name: 'driver' }]), /holds keys, which are integers or BYTES, not FP32/);
  const bytes: Tensor = { name: 'driver', datatype: 'BYTES', shape: [1], data: new Uint8Array([9, 0, 0, 0, 1]) };
  assert.throws(join(JOIN, [bytes]), /ends behind its data/);
  const word: Tensor = { ...bytes, data: new Uint8Array([1, 0, 0, 0, 65]) };
  assert.throws(join(JOIN, [word]), /driver_id must be an integer of 64 bits, not "A"/);
  const plan = { code: 'failed_precondition' };
  assert.throws(join('{entities: {a: b}, inputs: {x: [driver_stats:trips]}}', [one]), {
    ...plan,
    message: /join key driver_id/,
  });
  assert.throws(join('{entities: {driver_id: driver}, inputs: {z: [driver_stats:trips]}}', [one]), {
    ...plan,
    message: /no input 'z'/,
  });
  assert.throws(join('{entities: {driver_id: driver}, inputs: {x: [driver_stats:trips]}}', [one]), {
    ...plan,
    message: /make 1 columns/,
  });
  assert.throws(join('{entities: {driver_id: driver}, inputs: {x: [none:trips]}}', [one]), {
    ...plan,
    message: /"none" does not exist/,
  });
  assert.throws(join('{entities: {driver_id: driver}, inputs: {x: [driver_stats:home]}}', [one]), {
    ...plan,
    message: /of type string/,
  });
  const small = [spec('x', 'INT8', [1])];
  const trips = '{entities: {driver_id: driver}, inputs: {x: [driver_stats:trips]}}';
  assert.throws(
    join(trips, [int64('driver', [2n])], small),
    /1152921504606846976, which input 'x' \(INT8\) cannot hold/,
  );
  for (const bad of [
    'entities: [',
    'entities: {}',
    '{entities: {a: b}, inputs: {x: [y]}}',
    '{entities: {a: b}, inputs: {x: [v:f]}, timeout: 5}',
  ])
    assert.throws(
      () => readFeatureJoin(bad, 'switchyard.features'),
      { code: 'invalid_argument', message: /^switchyard\.features/ },
      bad,
    );
});

test('a store that fails or is late: an error, or defaults if the model says so', async () => {
  const failing = (read: OnlineStore['read']): FeatureJoiner =>
    new FeatureJoiner(
      { kind: 'redis', read, write: () => 0, ingest: () => noCounts(), replace: () => {}, close: () => {} },
      () => set,
    );
  const away = failing(() => Promise.reject(new SwitchyardError('unavailable', 'away')));
  const late = failing(() => new Promise(() => {}));
  const asked = request(int64('driver', [1n]));
  await assert.rejects(async () => away.join(version(JOIN), asked, context()), { code: 'unavailable' });
  await assert.rejects(async () => late.join(version(`${JOIN}timeoutMs: 1\n`), asked, context()), {
    code: 'deadline_exceeded',
  });
  await assert.rejects(async () => late.join(version(`${JOIN}timeoutMs: 60000\n`), asked, context(monotonicMs())), {
    code: 'deadline_exceeded',
  });
  for (const joiner of [away, late]) {
    const { added } = await joiner.join(version(`${JOIN}failure: default\ntimeoutMs: 1\n`), asked, context());
    assert.deepEqual([...new Float32Array(added[0].data.buffer)], [-1, 0, 0, 0]);
    assert.equal(joiner.counts.defaulted, 1);
  }
});

test('every row gets its own values, however rows and features are mixed', () => {
  const wide = featureSet([
    document('Entity', 'e', { joinKey: 'id' }),
    ...['a', 'b'].map((name) =>
      document('FeatureView', name, {
        entities: ['e'],
        features: [0, 1, 2].map((i) => ({ name: `f${i}`, type: 'float64' })),
      }),
    ),
  ]);
  const memory = new MemoryStore(1000);
  for (const [v, name] of ['a', 'b'].entries())
    memory.write(
      't',
      viewOf(wide, name),
      Array.from({ length: 20 }, (_, id) => ({
        key: String(id),
        time: NOW,
        values: [0, 1, 2].map((f) => id * 100 + v * 10 + f),
      })),
    );
  const joiner = new FeatureJoiner(memory, () => wide);
  const feature = fc.record({ v: fc.integer({ min: 0, max: 1 }), f: fc.integer({ min: 0, max: 2 }) });
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 19 }), { minLength: 1, maxLength: 30 }),
      fc.array(feature, { minLength: 1, maxLength: 8 }),
      (ids, features) => {
        const names = features.map(({ v, f }) => `${'ab'[v]}:f${f}`);
        const model = version(`{entities: {id: id}, inputs: {x: [${names.join()}]}}`, [
          spec('x', 'FP64', [features.length]),
        ]);
        const { added } = joiner.join(model, request(int64('id', ids.map(BigInt))), context()) as JoinedInputs;
        const expected = ids.flatMap((id) => features.map(({ v, f }) => id * 100 + v * 10 + f));
        assert.deepEqual([...new Float64Array(added[0].data.buffer)], expected);
      },
    ),
  );
});
