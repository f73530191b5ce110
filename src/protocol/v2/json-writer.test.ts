import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { InferRequest, InferResponse, Parameters } from '../../pipeline/types.ts';
import { encodeBytes } from '../../tensor/bytes.ts';
import { DATA_TYPES, type DataType, ELEMENT_BYTES, type Tensor } from '../../tensor/tensor.ts';
import { plainTensors } from '../../testing/plain-tensors.ts';
import { decodeInferRequest } from './infer-decoder.ts';
import { encodeError, encodeInferResponse, encodeInSlices, needsSlices } from './json-writer.ts';

function response(...outputs: Tensor[]): InferResponse {
  return { model: 'm', version: '1', id: '', outputs, parameters: undefined, timings: undefined };
}

function request(change: Partial<InferRequest> = {}): InferRequest {
  return { model: 'm', version: '', id: '', inputs: [], outputs: [], parameters: undefined, ...change };
}

function parameters(values: Record<string, string | number | bigint | boolean>): Parameters {
  return Object.assign(Object.create(null), values);
}

function json(answer: InferResponse, asked = request()): string {
  const { jsonLength, body } = encodeInferResponse(answer, asked);
  assert.equal(jsonLength, -1);
  return Buffer.from(body).toString();
}

function tensor(datatype: DataType, shape: number[], data: Uint8Array, name = 'y'): Tensor {
  return { name, datatype, shape, data };
}

const float32 = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);

test('a JSON response', () => {
  const answer = { ...response(tensor('FP32', [1, 3], float32(0.1, -2, NaN))), id: 'q"1' };
  assert.equal(
    json(answer),
    '{"model_name":"m","model_version":"1","id":"q\\"1","outputs":[' +
      '{"name":"y","datatype":"FP32","shape":[1,3],"data":[0.1,-2.0,NaN]}]}',
  );
  assert.match(json(response(), request({ id: 'from the request' })), /"id":"from the request"/);
  assert.doesNotMatch(json(response()), /"id"/);
  const flagged = { ...response(), parameters: parameters({ final: true, n: 2n ** 60n, s: 'x', f: 0.5 }) };
  assert.match(
    json(flagged),
    /"parameters":\{"final":true,"n":1152921504606846976,"s":"x","f":0\.5\},"outputs":\[\]\}$/,
  );
});

/** A tensor of any type without NaN (whose bits JSON cannot keep), FP16 and BF16. */
const tensors = fc
  .tuple(
    fc.constantFrom(...DATA_TYPES.filter((type) => type !== 'FP16' && type !== 'BF16')),
    fc.array(fc.nat(4), { maxLength: 3 }),
  )
  .chain(([datatype, shape]) => {
    const count = shape.reduce((product, dim) => product * dim, 1);
    if (datatype === 'BYTES') {
      return fc
        .array(fc.string({ unit: 'binary' }), { minLength: count, maxLength: count })
        .map((values) => tensor(datatype, shape, encodeBytes(values), 'x'));
    }
    const size = count * ELEMENT_BYTES[datatype];
    return fc.uint8Array({ minLength: size, maxLength: size }).map((bytes) => {
      if (datatype === 'BOOL') for (let i = 0; i < size; i++) bytes[i] &= 1;
      // A NaN's exponent is all ones: clearing one bit of it makes it a number.
      if (datatype === 'FP32') for (let i = 3; i < size; i += 4) bytes[i] &= 0xbf;
      if (datatype === 'FP64') for (let i = 7; i < size; i += 8) bytes[i] &= 0xbf;
      return tensor(datatype, shape, bytes, 'x');
    });
  });

test('every tensor survives being printed and read again', () => {
  fc.assert(
    fc.property(fc.array(tensors, { maxLength: 3 }), (drawn) => {
      const outputs = drawn.map((output, i) => ({ ...output, name: `x${i}` }));
      const text = json(response(...outputs)).replace('"outputs"', '"inputs"');
      const { inputs } = decodeInferRequest('m', '', Buffer.from(text), -1);
      assert.deepEqual(plainTensors(inputs), outputs);
    }),
    { numRuns: 1000 },
  );
});

test('misaligned data prints the same', () => {
  for (const datatype of ['FP32', 'INT64', 'FP64', 'INT16', 'UINT32'] as const) {
    const bytes = Uint8Array.from({ length: 16 }, (_, i) => (i * 37) & 0x3f);
    const shifted = new Uint8Array(17);
    shifted.set(bytes, 1);
    const shape = [16 / ELEMENT_BYTES[datatype]];
    assert.equal(
      json(response(tensor(datatype, shape, shifted.subarray(1)))),
      json(response(tensor(datatype, shape, bytes))),
    );
  }
});

test('binary outputs follow the JSON in order and carry their size', () => {
  const outputs = [
    tensor('FP16', [2], new Uint8Array([1, 2, 3, 4]), 'a'),
    tensor('INT8', [1], new Uint8Array([255]), 'b'),
    tensor('BYTES', [1], encodeBytes([new Uint8Array([255])]), 'c'),
  ];
  const wanted = (name: string, binary: boolean) => ({ name, binary, classification: 0 });
  const { jsonLength, body } = encodeInferResponse(
    response(...outputs),
    request({ outputs: [wanted('c', true), wanted('a', true), wanted('b', false)] }),
  );
  const head = JSON.parse(Buffer.from(body.subarray(0, jsonLength)).toString());
  assert.deepEqual(head.outputs, [
    { name: 'a', datatype: 'FP16', shape: [2], parameters: { binary_data_size: 4 } },
    { name: 'b', datatype: 'INT8', shape: [1], data: [-1] },
    { name: 'c', datatype: 'BYTES', shape: [1], parameters: { binary_data_size: 5 } },
  ]);
  assert.deepEqual([...body.subarray(jsonLength)], [1, 2, 3, 4, 1, 0, 0, 0, 255]);
  const all = encodeInferResponse(
    response(...outputs),
    request({ parameters: parameters({ binary_data_output: true }) }),
  );
  assert.equal(all.body.length - all.jsonLength, 10);
});

test('what has no JSON form is refused with the remedy', () => {
  for (const output of [
    tensor('FP16', [1], new Uint8Array(2)),
    tensor('BF16', [1], new Uint8Array(2)),
    tensor('BYTES', [1], encodeBytes([new Uint8Array([0xc3])])),
  ]) {
    assert.throws(() => json(response(output)), { code: 'invalid_argument', message: /'y'.*binary_data: true/ });
  }
  assert.match(json(response()), /"outputs":\[\]/, 'the next response is whole');
});

test('large responses grow the buffer', () => {
  const count = 100000;
  const values = Float32Array.from({ length: count }, (_, i) => Math.fround(Math.sin(i)));
  const parsed = JSON.parse(json(response(tensor('FP32', [count], new Uint8Array(values.buffer)))));
  assert.deepEqual(Float32Array.from(parsed.outputs[0].data), values);
});

test('error bodies', () => {
  assert.equal(Buffer.from(encodeError('no "such" model é')).toString(), '{"error":"no \\"such\\" model é"}');
});

test('answers in any order read as each would alone, whatever they share with those before', () => {
  const answers = fc.record({
    model: fc.constantFrom('m', 'n'),
    version: fc.constantFrom('1', '2'),
    id: fc.constantFrom('', '', 'q'),
    name: fc.constantFrom('y', 'z'),
    values: fc.array(fc.constantFrom(0, 1.5, -2, 0.03125), { maxLength: 3 }),
    second: fc.boolean(),
    error: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(answers, { maxLength: 30 }), (drawn) => {
      for (const { model, version, id, name, values, second, error } of drawn) {
        const outputs = [tensor('FP32', [values.length], float32(...values), name)];
        if (second) outputs.push(tensor('UINT8', [2], Uint8Array.of(3, 4), 'w'));
        if (error) encodeError('something in between');
        assert.deepEqual(JSON.parse(json({ ...response(...outputs), model, version, id })), {
          model_name: model,
          model_version: version,
          ...(id === '' ? {} : { id }),
          outputs: outputs.map((output, i) => ({
            name: output.name,
            datatype: output.datatype,
            shape: output.shape,
            data: i === 0 ? values : [3, 4],
          })),
        });
      }
    }),
  );
});

test('a large answer in slices is the same answer, whatever is encoded in between', () => {
  const values = Float32Array.from({ length: 40_000 }, (_, i) => Math.sin(i));
  const large = tensor('FP32', [2, 20_000], new Uint8Array(values.buffer));
  const texts = tensor('BYTES', [20_000], encodeBytes(Array.from({ length: 20_000 }, (_, i) => `é${i}`)), 'texts');
  const small = tensor('INT64', [1], new Uint8Array(8), 'small');
  const whole = { ...response(small, large, texts), id: 'of mine' };
  const asked = [request(), request({ outputs: [{ name: 'texts', binary: true, classification: 0 }] })];
  for (const request of asked) {
    assert.ok(needsSlices(whole, request));
    const expected = encodeInferResponse(whole, request);
    const body = Buffer.from(expected.body);
    const slices = encodeInSlices(whole, request);
    const abandoned = encodeInSlices(whole, request);
    let turns = 0;
    let step = slices.next();
    for (; !step.done; step = slices.next()) {
      turns++;
      encodeError('another answer');
      if (turns === 1) abandoned.next();
    }
    assert.ok(turns > 2, `${turns} turns`);
    assert.equal(step.value.jsonLength, expected.jsonLength);
    assert.ok(body.equals(step.value.body));
  }
  const binary = request({ parameters: parameters({ binary_data_output: true }) });
  assert.ok(!needsSlices(whole, binary), 'bytes are not printed');
  assert.ok(!needsSlices(response(small), request()));
});
