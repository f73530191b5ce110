import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DecisionRecord } from '../../pipeline/routed/record.ts';
import { encodeBytes } from '../../tensor/bytes.ts';
import { native } from '../../tensor/native.ts';
import { DATA_TYPES, ELEMENT_BYTES, type Tensor } from '../../tensor/tensor.ts';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { AvroWriter } from '../encode/avro-writer.ts';
import { writeFeedback } from '../encode/feedback-encoder.ts';
import { recordJson } from '../encode/json.ts';
import { decodeRecord } from '../encode/record-decoder.ts';
import { FEEDBACK, INFERENCE, SpoolRun } from '../spool/format.ts';
import { RecordLines } from './record-lines.ts';

const numbers = fc.oneof(
  fc.double(),
  fc.integer().map((n) => n / 100),
  fc.constantFrom(0, -0, 1e21, 1e-7, 123456789012345680000, 0.000001, 5e-324, 1.5, -1, Number.MAX_VALUE),
);
const words = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('"\\', '\b\f\n\r\t\u0001\u001f\u007f', 'é€😀', '\u2028'),
);

const tensors = fc
  .tuple(
    fc.constantFrom(...DATA_TYPES),
    fc.string(),
    fc.array(numbers, { maxLength: 12 }),
    fc.array(words, { maxLength: 4 }),
  )
  .chain(([datatype, name, floats, texts]) =>
    fc.tuple(fc.constant({ datatype, name, floats, texts }), fc.uint8Array({ minLength: 32, maxLength: 32 })),
  )
  .map(([{ datatype, name, floats, texts }, bytes]): Tensor => {
    if (datatype === 'BYTES') return { name, datatype, shape: [texts.length], data: encodeBytes(texts) };
    if (datatype === 'FP32' || datatype === 'FP64') {
      const values = datatype === 'FP32' ? Float32Array.from(floats) : Float64Array.from(floats);
      return { name, datatype, shape: [values.length, 1], data: new Uint8Array(values.buffer) };
    }
    const data = datatype === 'BOOL' ? bytes.map((byte) => byte & 1) : bytes;
    return { name, datatype, shape: [32 / ELEMENT_BYTES[datatype]], data };
  });

const decisions = fc
  .record({
    route: words,
    bucket: fc.integer({ min: -1, max: 9999 }),
    pmf: fc.array(numbers, { maxLength: 3 }),
    eligible: fc.array(words, { maxLength: 3 }),
    fallbacks: fc.array(fc.record({ variant: words, cause: words }), { maxLength: 2 }),
    proposed: fc.option(fc.record({ variant: words, pmf: fc.array(numbers, { maxLength: 2 }) }), { nil: undefined }),
    features: fc.array(numbers, { maxLength: 3 }),
  })
  .map((drawn) => {
    const same = {
      stateVersion: 1,
      snapshotVersion: 2 ** 40,
      propensity: 0.1,
      assigned: 'b',
      served: 'a',
      role: 'arm',
    };
    return { ...same, detour: '', analysed: true, override: -1, ...drawn } as unknown as DecisionRecord;
  });

const requests = fc.record({
  id: words,
  requestId: words,
  latencyMs: numbers,
  status: fc.constantFrom('ok' as const, 'internal' as const),
  timed: fc.boolean(),
  inputs: fc.array(tensors, { maxLength: 3 }),
  outputs: fc.array(tensors, { maxLength: 2 }),
  decision: fc.option(decisions, { nil: undefined }),
});
type Drawn = typeof requests extends fc.Arbitrary<infer T> ? T : never;

const timings = { queue: 0.1, computeInput: 2, computeInfer: 1e-9, computeOutput: 4.25, batchSize: 5 };

/** Encoded behind one another, as they lie in a chunk of the spool. */
function spooled(drawn: readonly Drawn[], rule: object = {}): SpoolRun {
  const loop = new LogLoop({ rule });
  const base = finishedRequest();
  for (const { requestId, inputs, outputs, timed, ...own } of drawn)
    loop.tap.finished({
      ...base,
      ...own,
      request: { ...base.request, id: requestId, inputs },
      response: { ...base.response!, outputs, timings: timed ? timings : undefined },
    });
  return chunked(loop.take());
}

function chunked(bodies: readonly Uint8Array[], kinds = new Uint8Array(bodies.length).fill(INFERENCE)): SpoolRun {
  let end = 0;
  const places = bodies.flatMap(({ length }) => {
    end += length;
    return [end - length, end];
  });
  return new SpoolRun(Buffer.concat(bodies), bodies.length, Int32Array.from(places), kinds);
}

function linesOf(run: SpoolRun, addon: typeof native): string {
  const lines = new RecordLines(addon);
  assert.equal(lines.add(run), 0);
  return lines.bytes.toString();
}

test('the addon prints what recordJson prints', { skip: native === undefined }, () => {
  fc.assert(
    fc.property(fc.array(requests, { minLength: 1, maxLength: 5 }), (drawn) => {
      const run = spooled(drawn);
      const twin = run.records.map(({ u8, start, end }) => `${recordJson(decodeRecord(u8, start, end))}\n`).join('');
      assert.equal(linesOf(run, undefined), twin);
      assert.equal(linesOf(run, native), twin);
    }),
    { numRuns: 500 },
  );
});

test('neighbours that are alike in some fields do not take over what differs', { skip: native === undefined }, () => {
  const parts = fc.array(requests, { minLength: 2, maxLength: 3 });
  const picks = fc.array(fc.record({ all: fc.nat(), decision: fc.nat(), inputs: fc.nat(), outputs: fc.nat() }), {
    minLength: 2,
    maxLength: 12,
  });
  fc.assert(
    fc.property(parts, picks, (some, mixed) => {
      const of = (n: number) => some[n % some.length];
      const run = spooled(
        mixed.map(({ all, decision, inputs, outputs }) => ({
          ...of(all),
          decision: of(decision).decision,
          inputs: of(inputs).inputs,
          outputs: of(outputs).outputs,
        })),
      );
      assert.equal(linesOf(run, native), linesOf(run, undefined));
    }),
    { numRuns: 300 },
  );
});

test('ordinary records are printed by the addon itself', { skip: native === undefined }, () => {
  const text: Tensor = { name: 't', datatype: 'BYTES', shape: [1], data: encodeBytes(['né"e']) };
  const loop = new LogLoop({ rule: { redact: [{ field: 'outputs.*', action: 'mask' }] } });
  const base = finishedRequest();
  for (let i = 0; i < 300; i++) loop.tap.finished({ ...base, request: { ...base.request, inputs: [text] } });
  const run = chunked(loop.take());
  let calls = 0;
  const counted = {
    meta: native!.meta,
    recordLines: (...all: Parameters<NonNullable<typeof native>['recordLines']>) => {
      calls++;
      native!.recordLines(...all);
    },
  } as typeof native;
  const printed = linesOf(run, counted);
  assert.equal(printed, linesOf(run, undefined));
  assert.ok(calls < 5, `${calls} calls for ${run.count} records`);
  assert.match(printed, /"data":null/);
});

test('bytes that are no record are refused, wherever they are cut or changed', () => {
  const whole = spooled(fc.sample(requests, { numRuns: 1, seed: 7 })).record(0);
  const good = whole.u8.subarray(whole.start, whole.end);
  const add = (bytes: Uint8Array, addon: typeof native): [number, string] => {
    const lines = new RecordLines(addon);
    const refused = lines.add(chunked([bytes]));
    return [refused, lines.bytes.toString()];
  };
  for (let cut = 0; cut < good.length; cut++) {
    const bytes = Uint8Array.from(good.subarray(0, cut));
    assert.deepEqual(add(bytes, native), add(bytes, undefined));
    const changed = Uint8Array.from(good);
    changed[cut] ^= 0x55;
    assert.deepEqual(add(changed, native), add(changed, undefined), `byte ${cut}`);
  }
});

test('feedback stands between requests as it came, and the lines are made anew for each batch', () => {
  const out = new AvroWriter();
  writeFeedback({ id: 'f', time: 1, route: 'r', model: 'm', rewards: { reward: 1 }, event: 'e', tenant: '' }, out);
  const requestOf = (id: string) => ({ ...fc.sample(requests, { numRuns: 1, seed: 3 })[0], id });
  const both = spooled(['id-1', 'id-2'].map(requestOf));
  const [a, b] = both.records.map(({ body }) => body);
  const lines = new RecordLines();
  const ids = () =>
    lines.bytes
      .toString()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => (JSON.parse(line) as { id: string }).id);
  assert.equal(lines.add(chunked([a, out.u8.slice(0, out.at), b], Uint8Array.of(INFERENCE, FEEDBACK, INFERENCE))), 0);
  assert.deepEqual(ids(), ['id-1', 'f', 'id-2']);
  lines.clear();
  assert.equal(lines.add(both, 1), 0);
  assert.deepEqual(ids(), ['id-2']);
});
