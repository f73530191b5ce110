import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SwitchyardError } from '../../shared/errors.ts';
import { encodeBytes } from '../../tensor/bytes.ts';
import type { DataType } from '../../tensor/tensor.ts';
import { decodeInferRequest, peekId, peekModel } from './infer-decoder.ts';
import { INFERENCE_SERVICE, serviceDefinition } from './schema.ts';

const { ModelInfer } = serviceDefinition(INFERENCE_SERVICE);

function encode(request: object): Buffer {
  return ModelInfer.requestSerialize(request);
}

function refused(request: object, pattern: RegExp, code = 'invalid_argument'): void {
  assert.throws(
    () => decodeInferRequest(encode(request)),
    (error: unknown) => {
      assert.ok(error instanceof SwitchyardError, String(error));
      assert.equal(error.code, code);
      assert.match(error.message, pattern);
      return true;
    },
  );
}

/** Per datatype: a value's arbitrary, its typed field, and how it looks as bytes. */
const integer = (bits: number, signed: boolean) =>
  signed
    ? fc.bigInt({ min: -(2n ** BigInt(bits - 1)), max: 2n ** BigInt(bits - 1) - 1n })
    : fc.bigInt({ min: 0n, max: 2n ** BigInt(bits) - 1n });

function integerBytes(values: bigint[], width: number): Buffer {
  const out = Buffer.alloc(values.length * width);
  values.forEach((value, i) => {
    let rest = BigInt.asUintN(width * 8, value);
    for (let b = 0; b < width; b++, rest >>= 8n) out[i * width + b] = Number(rest & 0xffn);
  });
  return out;
}

interface Typed {
  datatype: DataType;
  field: string;
  contents: unknown[];
  bytes: Uint8Array;
}

function integers(datatype: DataType, field: string, bits: number, signed: boolean): fc.Arbitrary<Typed> {
  return fc.array(integer(bits, signed), { maxLength: 20 }).map((values) => ({
    datatype,
    field,
    contents: values.map((value) => (bits === 64 ? String(value) : Number(value))),
    bytes: integerBytes(values, bits / 8),
  }));
}

const typed: fc.Arbitrary<Typed> = fc.oneof(
  integers('INT8', 'int_contents', 8, true),
  integers('INT16', 'int_contents', 16, true),
  integers('INT32', 'int_contents', 32, true),
  integers('INT64', 'int64_contents', 64, true),
  integers('UINT8', 'uint_contents', 8, false),
  integers('UINT16', 'uint_contents', 16, false),
  integers('UINT32', 'uint_contents', 32, false),
  integers('UINT64', 'uint64_contents', 64, false),
  fc.array(fc.boolean(), { maxLength: 20 }).map((values) => ({
    datatype: 'BOOL' as const,
    field: 'bool_contents',
    contents: values,
    bytes: Uint8Array.from(values, Number),
  })),
  fc.array(fc.float(), { maxLength: 20 }).map((values) => ({
    datatype: 'FP32' as const,
    field: 'fp32_contents',
    contents: values,
    bytes: new Uint8Array(Float32Array.from(values).buffer),
  })),
  fc.array(fc.double(), { maxLength: 20 }).map((values) => ({
    datatype: 'FP64' as const,
    field: 'fp64_contents',
    contents: values,
    bytes: new Uint8Array(Float64Array.from(values).buffer),
  })),
  fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 10 }).map((values) => ({
    datatype: 'BYTES' as const,
    field: 'bytes_contents',
    contents: values.map((value) => Buffer.from(value)),
    bytes: encodeBytes(values),
  })),
);

const text = fc.string({ unit: 'grapheme', maxLength: 80 });
const parameter = fc.oneof(
  fc.boolean().map((value) => ({ wire: { bool_param: value }, value: value as unknown })),
  fc
    .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
    .map((value) => ({ wire: { int64_param: String(value) }, value: exact(value) })),
  fc
    .bigInt({ min: 0n, max: 2n ** 64n - 1n })
    .map((value) => ({ wire: { uint64_param: String(value) }, value: exact(value) })),
  text.map((value) => ({ wire: { string_param: value }, value: value as unknown })),
  fc.double({ noNaN: true }).map((value) => ({ wire: { double_param: value }, value: value as unknown })),
);

function exact(value: bigint): unknown {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

const parameterName = fc.string({ minLength: 1, maxLength: 12 }).map((name) => `p${name}`);

describe('decodeInferRequest', () => {
  it('reads what protobufjs writes, typed or raw', () => {
    fc.assert(
      fc.property(
        fc.record({
          model: text,
          version: text,
          id: text,
          tensors: fc.array(typed, { maxLength: 4 }),
          raw: fc.boolean(),
          parameters: fc.dictionary(parameterName, parameter, { maxKeys: 5 }),
          outputs: fc.uniqueArray(text, { maxLength: 4 }),
        }),
        ({ model, version, id, tensors, raw, parameters, outputs }) => {
          const inputs = tensors.map((tensor, i) => ({
            name: `in${i}`,
            datatype: tensor.datatype,
            shape: [1, tensor.contents.length],
            ...(raw ? {} : { contents: { [tensor.field]: tensor.contents } }),
          }));
          const wire: Record<string, object> = {};
          for (const [name, { wire: value }] of Object.entries(parameters)) wire[name] = value;
          const message = encode({
            model_name: model,
            model_version: version,
            id,
            parameters: wire,
            inputs,
            outputs: outputs.map((name) => ({ name })),
            raw_input_contents: raw ? tensors.map((tensor) => Buffer.from(tensor.bytes)) : [],
          });
          const { request } = decodeInferRequest(message);
          assert.deepEqual([request.model, request.version, request.id], [model, version, id]);
          assert.equal(peekModel(message), model);
          assert.equal(peekId(message), id);
          assert.deepEqual(
            request.outputs,
            outputs.map((name) => ({ name, binary: true, classification: 0 })),
          );
          assert.equal(request.inputs.length, tensors.length);
          request.inputs.forEach((input, i) => {
            assert.equal(input.name, `in${i}`);
            assert.equal(input.datatype, tensors[i].datatype);
            assert.deepEqual(input.shape, [1, tensors[i].contents.length]);
            assert.deepEqual(Buffer.from(input.data), Buffer.from(tensors[i].bytes));
          });
          const expected = Object.entries(parameters);
          assert.equal(Object.keys(request.parameters ?? {}).length, expected.length);
          for (const [name, { value }] of expected) assert.equal(request.parameters?.[name], value);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('copies no raw contents', () => {
    const message = encode({
      inputs: [{ name: 'x', datatype: 'UINT8', shape: [3] }],
      raw_input_contents: [Buffer.from([1, 2, 3])],
    });
    const { data } = decodeInferRequest(message).request.inputs[0];
    assert.equal(data.buffer, message.buffer);
    message.fill(7);
    assert.deepEqual([...data], [7, 7, 7]);
  });

  it('reads unpacked elements and raw contents that come before their input', () => {
    // x: INT32 of shape [1], its contents one unpacked int_contents element (field 2, varint 5).
    const input = Buffer.from('0a0178' + '1205494e543332' + '1801' + '2a021005', 'hex');
    const message = Buffer.concat([Buffer.from([0x2a, input.length]), input]);
    assert.deepEqual([...decodeInferRequest(message).request.inputs[0].data], [5, 0, 0, 0]);
    const rawFirst = Buffer.concat([
      Buffer.from('3a0109', 'hex'),
      encode({ inputs: [{ name: 'x', datatype: 'INT8', shape: [1] }] }),
    ]);
    assert.deepEqual([...decodeInferRequest(rawFirst).request.inputs[0].data], [9]);
  });

  it('takes timeout, priority, classification and the empty final response out for the transport', () => {
    const decoded = decodeInferRequest(
      encode({
        parameters: {
          timeout: { int64_param: 2500 },
          priority: { uint64_param: 3 },
          triton_enable_empty_final_response: { bool_param: true },
          sequence_id: { string_param: 'a' },
        },
        outputs: [{ name: 'y', parameters: { classification: { int64_param: 2 } } }],
      }),
    );
    assert.equal(decoded.timeoutMicros, 2500);
    assert.equal(decoded.priority, 3);
    assert.equal(decoded.emptyFinalResponse, true);
    assert.equal(decoded.request.outputs[0].classification, 2);
    assert.deepEqual({ ...decoded.request.parameters }, { timeout: 2500, priority: 3, sequence_id: 'a' });
    assert.equal(Object.getPrototypeOf(decoded.request.parameters), null);
  });

  const x = { name: 'x', datatype: 'FP32', shape: [2] };
  const eight = Buffer.alloc(8);
  const cases: [string, object, RegExp, string?][] = [
    [
      'an overflowing shape',
      { inputs: [{ ...x, shape: ['16', '1152921504606846978'] }], raw_input_contents: [eight] },
      /shape/,
    ],
    ['a negative dimension', { inputs: [{ ...x, shape: [2, -5] }], raw_input_contents: [eight] }, /-5/],
    ['a rank over 32', { inputs: [{ ...x, shape: new Array(40).fill(1) }], raw_input_contents: [eight] }, /rank/],
    ['an unknown datatype', { inputs: [{ ...x, datatype: 'FP8' }], raw_input_contents: [eight] }, /FP8.*allowed/],
    ['too few bytes', { inputs: [{ ...x, shape: [3] }], raw_input_contents: [eight] }, /12 bytes, got 8/],
    ['too many bytes', { inputs: [{ ...x, shape: [1] }], raw_input_contents: [eight] }, /4 bytes, got 8/],
    [
      'BYTES running past its end',
      { inputs: [{ ...x, datatype: 'BYTES', shape: [1] }], raw_input_contents: [Buffer.from([9, 0, 0, 0, 1])] },
      /BYTES/,
    ],
    ['too few typed elements', { inputs: [{ ...x, contents: { fp32_contents: [1] } }] }, /takes 2 elements, got 1/],
    [
      'typed elements in another field',
      { inputs: [{ ...x, contents: { int_contents: [1, 2] } }] },
      /fp32_contents.*int_contents/,
    ],
    ['typed FP16', { inputs: [{ ...x, datatype: 'FP16', contents: { fp32_contents: [1, 2] } }] }, /raw_input_contents/],
    [
      'an INT8 out of range',
      { inputs: [{ ...x, datatype: 'INT8', contents: { int_contents: [1, 128] } }] },
      /128.*-128 to 127/,
    ],
    [
      'a UINT16 out of range',
      { inputs: [{ ...x, datatype: 'UINT16', contents: { uint_contents: [1, 65536] } }] },
      /65536/,
    ],
    [
      'typed and raw mixed',
      {
        inputs: [
          { ...x, contents: { fp32_contents: [1, 2] } },
          { ...x, name: 'y' },
        ],
        raw_input_contents: [eight, eight],
      },
      /mixed/,
    ],
    [
      'fewer raw entries than inputs',
      { inputs: [x, { ...x, name: 'y' }], raw_input_contents: [eight] },
      /1 entries for 2 inputs/,
    ],
    ['more raw entries than inputs', { inputs: [x], raw_input_contents: [eight, eight] }, /2 entries for 1 inputs/],
    ['no data at all', { inputs: [x] }, /no data/],
    ['duplicate inputs', { inputs: [x, x], raw_input_contents: [eight, eight] }, /'x' is given twice/],
    ['duplicate outputs', { outputs: [{ name: 'y' }, { name: 'y' }] }, /'y' is given twice/],
    ['a reserved parameter', { parameters: { triton_x: { bool_param: true } } }, /triton_x/],
    ['a parameter named __proto__', { parameters: JSON.parse('{"__proto__":{"int64_param":1}}') }, /__proto__/],
    ['a parameter without a value', { parameters: { a: {} } }, /no value/],
    ['a negative timeout', { parameters: { timeout: { int64_param: -1 } } }, /timeout/],
    ['a priority of text', { parameters: { priority: { string_param: 'high' } } }, /priority/],
    [
      'shared memory',
      { inputs: [{ ...x, parameters: { shared_memory_region: { string_param: 'r' } } }] },
      /shared memory/,
      'unsupported',
    ],
  ];
  for (const [name, request, pattern, code] of cases) it(`refuses ${name}`, () => refused(request, pattern, code));

  it('answers any bytes with a request or invalid_argument, and nothing else', () => {
    const valid = encode({
      model_name: 'm',
      parameters: { timeout: { int64_param: 5 } },
      inputs: [
        { ...x, contents: { fp32_contents: [1, 2] } },
        { name: 'y', datatype: 'BYTES', shape: [1], contents: { bytes_contents: [Buffer.from('a')] } },
      ],
    });
    const mutation = fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(
        fc.oneof(
          mutation.map(mutate),
          fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
        ),
        (bytes) => {
          try {
            decodeInferRequest(bytes);
          } catch (error) {
            assert.ok(error instanceof SwitchyardError, String(error));
          }
        },
      ),
      { numRuns: 2000 },
    );
    function mutate(changes: [number, number][]): Buffer {
      const copy = Buffer.from(valid);
      for (const [at, value] of changes) copy[at] = value;
      return copy;
    }
  });
});
