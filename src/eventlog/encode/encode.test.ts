import assert from 'node:assert/strict';
import { test } from 'node:test';
import avro from 'avsc';
import fc from 'fast-check';
import type { Redaction } from '../../config/log-rule-schema.ts';
import type { DecisionRecord } from '../../pipeline/routed/record.ts';
import { encodeBytes } from '../../tensor/bytes.ts';
import { DATA_TYPES, type DataType, ELEMENT_BYTES, type Tensor } from '../../tensor/tensor.ts';
import { typedView } from '../../tensor/views.ts';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { fp32 } from '../../testing/loopback.ts';
import { mergeRules } from '../handover/targets.ts';
import { PAYLOAD_NOT_KEPT } from '../record.ts';
import { AvroWriter } from './avro-writer.ts';
import { byReference } from './by-reference.ts';
import { containerOf } from './container.ts';
import { readContainer } from './container-reader.ts';
import { writeFeedback } from './feedback-encoder.ts';
import { recordJson, sagemakerLine } from './json.ts';
import { readRecordJson } from './json-reader.ts';
import { feedbackOfMessage, recordsOfMessage } from './message-reader.ts';
import { decodeRecord, readHead, readRecord } from './record-decoder.ts';
import { writeRecord } from './record-writer.ts';
import { Redactions } from './redact.ts';
import { INFERENCE_SCHEMA } from './schema.ts';

const long = avro.types.LongType.__with({
  fromBuffer: (buffer: Buffer) => buffer.readBigInt64LE(),
  toBuffer: (value: bigint) => {
    const buffer = Buffer.alloc(8);
    buffer.writeBigInt64LE(value);
    return buffer;
  },
  fromJSON: BigInt,
  toJSON: Number,
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: (a: bigint, b: bigint) => (a === b ? 0 : a < b ? -1 : 1),
});
/** Avro's own reader of the published schema: what any consumer has. */
const reference = avro.Type.forSchema(INFERENCE_SCHEMA as avro.Schema, { registry: { long } });

interface ReferenceColumn {
  name: string;
  datatype: string;
  shape: bigint[];
  floats: number[] | null;
  doubles: number[] | null;
  longs: bigint[] | null;
  booleans: boolean[] | null;
  strings: string[] | null;
  binaries: Buffer[] | null;
}

const tensors = fc
  .constantFrom(...DATA_TYPES)
  .chain((datatype) => fc.tuple(fc.constant(datatype), fc.integer({ min: 0, max: 40 }), fc.infiniteStream(fc.nat(255))))
  .map(([datatype, count, bytes]): Tensor => {
    const data =
      datatype === 'BYTES'
        ? encodeBytes(Array.from({ length: count }, (_, i) => 'é'.repeat(i)))
        : Uint8Array.from({ length: count * ELEMENT_BYTES[datatype] }, () =>
            datatype === 'BOOL' ? bytes.next().value & 1 : bytes.next().value,
          );
    return { name: `t_${datatype}`, datatype, shape: [1, count], data };
  });

/** What the reference reads of a column, as our decoder's values. */
function valuesOf(column: ReferenceColumn): unknown[] {
  const { datatype } = column;
  if (column.longs !== null) {
    if (datatype === 'UINT64') return column.longs.map((value) => BigInt.asUintN(64, value));
    return datatype === 'INT64' ? column.longs : column.longs.map(Number);
  }
  return column.floats ?? column.doubles ?? column.booleans ?? column.strings ?? column.binaries ?? [];
}

test('every tensor arrives: read by Avro’s reference implementation and by our decoder alike', () => {
  fc.assert(
    fc.property(
      fc.array(tensors, { maxLength: 5 }),
      fc.array(tensors, { maxLength: 3 }),
      fc.string(),
      (ins, outs, id) => {
        const loop = new LogLoop();
        const base = finishedRequest();
        loop.tap.finished({
          ...base,
          request: { ...base.request, id, inputs: ins },
          response: { ...base.response!, outputs: outs },
        });
        const [bytes] = loop.take();
        const own = decodeRecord(bytes);
        const read = reference.fromBuffer(Buffer.from(bytes)) as {
          requestId: string;
          features: ReferenceColumn[];
          predictions: ReferenceColumn[];
        };
        assert.equal(own.requestId, Buffer.from(id).toString());
        assert.equal(read.requestId, own.requestId);
        for (const side of ['features', 'predictions'] as const) {
          const sent = side === 'features' ? ins : outs;
          assert.equal(own[side].length, sent.length);
          own[side].forEach((column, i) => {
            assert.equal(column.name, sent[i].name);
            assert.deepEqual(column.shape, sent[i].shape);
            assert.deepEqual(Array.from<unknown>(column.values), valuesOf(read[side][i]));
            const raw = typedView(sent[i].datatype, sent[i].data);
            if (['FP32', 'FP64', 'INT32', 'INT64', 'UINT64', 'INT8'].includes(column.datatype))
              assert.deepEqual(Array.from<unknown>(column.values), Array.from<unknown>(raw));
          });
        }
        JSON.parse(recordJson(own));
      },
    ),
    { numRuns: 200 },
  );
});

test('a record says who was asked, who answered and how long it took', () => {
  const loop = new LogLoop();
  loop.tap.finished(finishedRequest());
  const [bytes] = loop.take();
  assert.deepEqual(readHead(bytes, false), {
    id: 'id-1',
    time: 1_700_000_000_123,
    entity: '',
    traceparent: '',
    model: 'iris',
    tenant: 'default',
    event: '',
  });
  const record = decodeRecord(bytes);
  assert.deepEqual(
    { ...record, features: record.features.map(({ values }) => [...values]), predictions: record.predictions.length },
    {
      id: 'id-1',
      time: 1_700_000_000_123,
      entity: '',
      requestId: 'client-7',
      traceparent: '',
      route: '',
      variant: '',
      assigned: '',
      model: 'iris',
      version: '1',
      digest: 'sha256:aa',
      requestedModel: 'iris',
      tenant: 'default',
      protocol: 'http',
      role: '',
      detour: '',
      shadow: false,
      analysed: false,
      sampleRate: 1,
      schemaVersion: 2,
      status: 'ok',
      latencyMs: 1.5,
      propensity: 1,
      stateVersion: 0,
      snapshotVersion: -1,
      pmf: [],
      eligible: [],
      features: [[1.5, -2]],
      predictions: 1,
      redactions: [],
      override: -1,
      bucket: -1,
      fallbacks: [],
      context: [],
    },
  );
});

test('why a request was decided so is there for every reader of the schema; version 1 did not say it', () => {
  const decision: Partial<DecisionRecord> = {
    ...{
      route: 'ranker',
      stateVersion: 3,
      snapshotVersion: 4,
      eligible: ['a', 'b'],
      pmf: [0.75, 0.25],
      propensity: 0.25,
    },
    ...{ assigned: 'b', served: 'a', role: 'arm', analysed: true, detour: '', override: 2, bucket: 4711 },
    fallbacks: [{ variant: 'b', cause: '5xx', version: '1' }],
    proposed: { variant: 'b', pmf: [0.125, 0.875] },
    features: [1, -2.5],
  };
  const loop = new LogLoop();
  loop.tap.finished(finishedRequest({ decision: decision as DecisionRecord }));
  const [bytes] = loop.take();
  const read = reference.fromBuffer(Buffer.from(bytes)) as Record<string, unknown>;
  const { override, bucket, fallbacks, proposed, context, ...before } = read;
  const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
  assert.deepEqual([override, bucket, plain(context)], [2, 4711, [1, -2.5]]);
  assert.deepEqual(plain(fallbacks), [{ variant: 'b', cause: '5xx' }]);
  assert.deepEqual(plain(proposed), { variant: 'b', pmf: [0.125, 0.875] });

  const fields = INFERENCE_SCHEMA.fields.slice(0, -5);
  const first = avro.Type.forSchema({ ...INFERENCE_SCHEMA, fields } as avro.Schema, { registry: { long } });
  const old = decodeRecord(first.toBuffer({ ...before, schemaVersion: 1 }));
  assert.deepEqual([old.pmf, old.redactions, old.schemaVersion], [[0.75, 0.25], [], 1]);
  assert.deepEqual([old.override, old.bucket, old.fallbacks, old.proposed, old.context], [-1, -1, [], undefined, []]);
});

test('redactions happen before anything is encoded, and the record says so', () => {
  const text = (name: string, value: string): Tensor => ({
    name,
    datatype: 'BYTES',
    shape: [1],
    data: encodeBytes([value]),
  });
  const base = finishedRequest();
  const loop = new LogLoop({
    rule: {
      entity: { input: 'user' },
      redact: [
        { field: 'inputs.user', action: 'hash' },
        { field: 'inputs.name', action: 'drop' },
        { field: 'inputs.age', action: 'mask' },
        { field: 'inputs.city', action: 'truncate', length: 2 },
        { field: 'inputs.income', action: 'truncate', length: 1 },
        { field: 'tenant', action: 'hash' },
        { field: 'outputs.*', action: 'mask' },
      ],
    },
  });
  loop.tap.finished({
    ...base,
    request: {
      ...base.request,
      inputs: [
        text('user', 'ann'),
        text('name', 'Ann Onymous'),
        fp32('age', [1], [42]),
        text('city', 'Zürich'),
        fp32('income', [2], [12.345, -0.99]),
      ],
    },
  });
  const [bytes] = loop.take();
  for (const secret of ['ann', 'Onymous', 'rich', 'default'])
    assert.ok(!Buffer.from(bytes).includes(secret), `${secret} is still there`);
  const record = decodeRecord(bytes);
  const shown = Object.fromEntries(record.features.map(({ name, values }) => [name, [...values]]));
  assert.match(String(shown.user), /^[0-9a-f]{32}$/);
  assert.equal(record.entity, shown.user[0]);
  assert.deepEqual(shown.age, []);
  assert.deepEqual(shown.city, ['Zü']);
  assert.deepEqual(shown.income, [...new Float32Array([12.3, -0.9])]);
  assert.deepEqual(Object.keys(shown), ['user', 'age', 'city', 'income']);
  assert.deepEqual([...record.predictions[0].values], []);
  assert.deepEqual(record.redactions.sort(), [
    'inputs.age: mask',
    'inputs.city: truncate',
    'inputs.income: truncate',
    'inputs.name: drop',
    'inputs.user: hash',
    'outputs.*: mask',
    'tenant: hash',
  ]);
});

test('of several redactions of a field the strictest holds, whichever rule it stands in', () => {
  const redact = (...list: Redaction[]) => ({ redact: list });
  const general = redact({ field: 'inputs.x', action: 'drop' }, { field: 'inputs.*', action: 'mask' });
  const model = redact(
    { field: 'inputs.x', action: 'truncate', length: 3 },
    { field: 'inputs.y', action: 'hash' },
    { field: 'requestId', action: 'truncate', length: 8 },
  );
  const merged = mergeRules(general, model, redact({ field: 'requestId', action: 'truncate', length: 20 }));
  const redactions = new Redactions(merged.redact);
  assert.deepEqual(
    [redactions.column('inputs', 'x'), redactions.column('inputs', 'y'), redactions.column('inputs', 'z')].map(
      (action) => action?.line,
    ),
    ['inputs.x: drop', 'inputs.*: mask', 'inputs.*: mask'],
  );
  assert.equal(redactions.text('requestId')?.length, 8);
  assert.equal(redactions.column('outputs', 'x'), undefined);
});

test('what is too large for a record is kept by reference, as a file that says what it is', () => {
  const loop = new LogLoop({ rule: { payloadLimitBytes: 1024, redact: [{ field: 'inputs.y', action: 'drop' }] } });
  const base = finishedRequest();
  const inputs = [
    fp32(
      'x',
      [1, 300],
      Array.from({ length: 300 }, (_, i) => i),
    ),
    fp32('y', [1], [7]),
  ];
  loop.tap.finished({ ...base, request: { ...base.request, inputs } });
  const record = decodeRecord(loop.take()[0]);
  assert.equal(record.payloadRef, 'payload-1');
  assert.equal(record.payloadSha256, 'ff');
  assert.deepEqual(
    record.features.map(({ name, shape, values }) => [name, shape, values.length]),
    [['x', [1, 300], 0]],
  );
  // Avro's own reader of container files finds the one record.
  const decoder = new avro.streams.BlockDecoder();
  const found: { features: { floats: number[] }[] }[] = [];
  decoder.on('data', (each) => found.push(each));
  decoder.end(Buffer.from(loop.payloads[0]));
  return new Promise<void>((resolve) =>
    decoder.on('end', () => {
      assert.equal(found.length, 1);
      assert.equal(found[0].features.length, 1);
      assert.equal(found[0].features[0].floats[299], 299);
      resolve();
    }),
  );
});

test('a payload that the disk refuses leaves a record that says so', () => {
  const loop = new LogLoop({ rule: { payloadLimitBytes: 1024 } }, { keep: () => undefined });
  const base = finishedRequest();
  loop.tap.finished({ ...base, request: { ...base.request, inputs: [fp32('x', [1, 300], new Array(300).fill(1))] } });
  const record = decodeRecord(loop.take()[0]);
  assert.equal(record.payloadRef, undefined);
  assert.match(record.redactions.join(), /payload: not kept/);
});

test('a record that no sink can take whole is kept by reference later, too', () => {
  fc.assert(
    fc.property(fc.array(tensors, { maxLength: 4 }), fc.boolean(), (inputs, refused) => {
      const base = finishedRequest();
      const loop = new LogLoop({ rule: { redact: [{ field: 'requestId', action: 'mask' }] } });
      loop.tap.finished({ ...base, request: { ...base.request, inputs } });
      const [bytes] = loop.take();
      const payloads: Uint8Array[] = [];
      const keep = (payload: Uint8Array) => {
        payloads.push(payload);
        return refused ? undefined : { ref: 'ref', sha256: 'sum' };
      };
      const framed = Buffer.concat([Buffer.from([1, 2, 3]), bytes, Buffer.from([4])]);
      const without = byReference(framed, 3, 3 + bytes.length, keep) as Uint8Array;
      const whole = decodeRecord(bytes);
      const stripped = (columns: typeof whole.features) => columns.map((column) => ({ ...column, values: [] }));
      assert.deepEqual(decodeRecord(without), {
        ...whole,
        features: stripped(whole.features),
        predictions: stripped(whole.predictions),
        redactions: refused ? [PAYLOAD_NOT_KEPT, ...whole.redactions] : whole.redactions,
        ...(refused ? {} : { payloadRef: 'ref', payloadSha256: 'sum' }),
      });
      reference.fromBuffer(Buffer.from(without));
      assert.equal(payloads.length, 1);
      assert.ok(Buffer.from(payloads[0]).includes(Buffer.from(bytes)), 'the record lies in the payload as it was');
      if (!refused) assert.equal(byReference(without, 0, without.length, keep), undefined);
    }),
    { numRuns: 50 },
  );
});

test('a record that came as JSON is the record', () => {
  const text =
    '{"id":"a","time":1,"model":"m","version":"1","status":"ok","features":[{"name":"x","datatype":"FP32","shape":[1,2],"data":["NaN",2]}],"predictions":[{"name":"y","datatype":"BYTES","shape":[1],"data":["NaN"]},{"name":"z","datatype":"FP32","shape":[1],"data":null}]}';
  const { features, predictions } = readRecordJson(text);
  assert.deepEqual([...features[0].values], [Number.NaN, 2]);
  assert.deepEqual([...predictions[0].values], ['NaN']);
  assert.deepEqual([...predictions[1].values], []);
});

test('64-bit integers keep their digits in JSON, and floats stay numbers', () => {
  const base = readRecordJson(
    '{"id":"a","time":1,"model":"m","version":"1","status":"ok","features":[],"predictions":[],"context":[1e17]}',
  );
  const column = (name: string, datatype: 'INT64' | 'FP64', values: (number | bigint)[]) => ({
    name,
    datatype,
    shape: [values.length],
    values,
  });
  const features = [column('x', 'INT64', [9_007_199_254_740_993n, 5]), column('y', 'FP64', [1e17, 0.5])];
  const read = readRecordJson(recordJson({ ...base, features, context: [1e17] }));
  assert.deepEqual(read.features, features);
  assert.deepEqual(read.context, [1e17]);
});

test('a message is read in each of the sink’s forms, and what is none is refused', () => {
  const loop = new LogLoop();
  for (const id of ['a', 'b']) loop.tap.finished(finishedRequest({ id }));
  const taken = loop.take();
  const records = taken.map((bytes) => decodeRecord(bytes));
  const block = containerOf(
    taken.map((u8) => ({ u8, start: 0, end: u8.length })),
    'inference',
  );
  const read = (value: Uint8Array, headers: Record<string, string>) =>
    recordsOfMessage({ value: Buffer.from(value), headers });
  assert.deepEqual(read(block, { 'switchyard-records': '2' }), records);
  const framed = Buffer.concat([Buffer.alloc(5), taken[0]]);
  assert.deepEqual(read(framed, { 'content-type': 'application/avro' }), [records[0]]);
  const [json] = read(Buffer.from(recordJson(records[1])), { 'content-type': 'application/json' });
  assert.deepEqual(recordJson(json), recordJson(records[1]));
  assert.deepEqual(
    readContainer(block, (reader) => readRecord(reader).id),
    ['a', 'b'],
  );
  const noShape = recordJson(records[1]).replace(/"shape":\[[\d,]*\],/, '');
  const wrong = [
    '7',
    'null',
    '{}',
    noShape,
    '{"id":"a","time":1,"model":"m","version":"1","status":"ok","features":7}',
  ];
  for (const text of wrong) assert.throws(() => read(Buffer.from(text), {}), Error, text);
  // Cut before its first block it is a whole container of nothing.
  const empty = containerOf([], 'inference').length - 16 - 2;
  for (let cut = 0; cut < block.length; cut++)
    if (cut !== empty)
      assert.throws(() => read(block.subarray(0, cut), { 'switchyard-records': '2' }), Error, `cut at ${cut}`);
});

test('fields that JSON has beside a record’s own are left out, and what no label can do without is missed', () => {
  const loop = new LogLoop();
  loop.tap.finished(finishedRequest());
  const [body] = loop.take();
  const more = { note: 'x', nested: { time: 7 }, values: [1], replayed: 'm' };
  const record = { ...JSON.parse(recordJson(decodeRecord(body))), ...more };
  for (const list of [record.features, record.predictions]) for (const column of list) Object.assign(column, more);
  const message = (value: object) => ({ value: Buffer.from(JSON.stringify(value)), headers: {} });
  const out = new AvroWriter();
  writeRecord(recordsOfMessage(message(record))[0], out);
  assert.deepEqual(out.u8.slice(0, out.at), body);
  const label = {
    id: 'a',
    time: 5,
    route: '',
    model: 'm',
    rewards: { reward: 1 },
    label: '"b"',
    event: 'e',
    tenant: 'acme',
  };
  const written = (value: object) => {
    const bytes = new AvroWriter();
    writeFeedback(feedbackOfMessage(message(value))[0], bytes);
    return bytes.u8.slice(0, bytes.at);
  };
  assert.deepEqual(written({ ...label, ...more }), written(label));
  const { rewards, ...unrewarded } = label;
  assert.deepEqual(written(unrewarded), written({ ...label, rewards: {} }));
  const { time, ...timeless } = label;
  assert.throws(() => feedbackOfMessage(message(timeless)), /a label without time/);
  assert.throws(() => feedbackOfMessage(message({ ...label, label: { class: 'b' } })), /JSON as a text/);
  assert.throws(() => feedbackOfMessage(message({ ...label, rewards: 1 })), /numbers by name/);
});

test('SageMaker’s line, as its model monitor reads it', () => {
  const loop = new LogLoop();
  loop.tap.finished(finishedRequest());
  const line = JSON.parse(sagemakerLine(decodeRecord(loop.take()[0])));
  assert.deepEqual(line.eventMetadata, {
    eventId: 'id-1',
    inferenceId: 'client-7',
    inferenceTime: '2023-11-14T22:13:20Z',
  });
  assert.equal(line.eventVersion, '0');
  assert.equal(line.captureData.endpointInput.mode, 'INPUT');
  assert.equal(line.captureData.endpointInput.encoding, 'JSON');
  assert.deepEqual(JSON.parse(line.captureData.endpointOutput.data), {
    outputs: [{ name: 'y', datatype: 'FP32' satisfies DataType, shape: [1, 1], data: [0.25] }],
  });
});

/** Of one route, so that some are laid out alike. */
const decisions = fc
  .record({
    bucket: fc.constantFrom(-1, 0, 63, 64, 4711, 8191, 8192, 9999),
    snapshotVersion: fc.constantFrom(-1, 7, 2 ** 40),
    propensity: fc.constantFrom(0.25, 0.75),
    override: fc.constantFrom(-1, 1),
    pmf: fc.constantFrom([], [0.25, 0.75], [0.5, 0.5]),
    eligible: fc.constantFrom(['a', 'b'], ['b', 'a']),
    fallbacks: fc.constantFrom([], [{ variant: 'a', cause: '5xx' }], [{ variant: 'b', cause: 'timeout' }]),
    proposed: fc.constantFrom(undefined, { variant: 'a', pmf: [1, 0] }, { variant: 'b', pmf: [1, 0] }),
    features: fc.constantFrom(undefined, [1, -2.5], [0, 3]),
  })
  .map((drawn) => {
    const same = { route: 'ranker', stateVersion: 3, assigned: 'b', served: 'a', role: 'arm', detour: '' } as const;
    return { ...same, analysed: true, ...drawn } as unknown as DecisionRecord;
  });

test('a record is the same whether records like it came before or not', () => {
  const few = fc.constantFrom('', 'r-1', 'r-22', 'é');
  const floats = fc.array(fc.float({ noNaN: true }), { maxLength: 3 });
  const step = fc.record({
    id: fc.constantFrom('id-1', 'id-2', 'longer'),
    requestId: few,
    traceparent: few,
    status: fc.constantFrom('ok' as const, 'internal' as const),
    time: fc.constantFrom(0, 1_700_000_000_123, 1_700_000_000_124, 2 ** 41, 2 ** 34),
    latencyMs: fc.double({ noNaN: true }),
    timed: fc.boolean(),
    inputs: fc.array(floats, { maxLength: 2 }),
    outputs: fc.array(floats, { maxLength: 2 }),
    whole: fc.boolean(),
    decision: fc.option(decisions, { nil: undefined }),
  });
  type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
  const timings = { queue: 1, computeInput: 2, computeInfer: 3.5, computeOutput: 4, batchSize: 5 };
  const int32 = (name: string, values: readonly number[]): Tensor => ({
    name,
    datatype: 'INT32',
    shape: [values.length],
    data: new Uint8Array(Int32Array.from(values).buffer),
  });
  const finish = (loop: LogLoop, drawn: Step): void => {
    const base = finishedRequest();
    const { id, requestId, traceparent, status, time, latencyMs, whole, decision } = drawn;
    const tensors = (lists: number[][]): Tensor[] =>
      lists.map((list, i) => (whole && i === 1 ? int32('n', list) : fp32(`t${i}`, [1, list.length], list)));
    loop.tap.finished({
      ...base,
      ...{ id, status, time, latencyMs, decision },
      request: { ...base.request, id: requestId, inputs: tensors(drawn.inputs) },
      context: { ...base.context, traceparent },
      response: { ...base.response!, outputs: tensors(drawn.outputs), timings: drawn.timed ? timings : undefined },
    });
  };
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), (steps) => {
      const together = new LogLoop();
      // Each twice: the second time its layout is known.
      for (const drawn of [...steps, ...steps]) finish(together, drawn);
      const records = together.take();
      steps.forEach((drawn, i) => {
        const alone = new LogLoop();
        finish(alone, drawn);
        const [record] = alone.take();
        for (const other of [records[i], records[steps.length + i]])
          assert.equal(Buffer.from(other).toString('hex'), Buffer.from(record).toString('hex'));
      });
    }),
  );
});
