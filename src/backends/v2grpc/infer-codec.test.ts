import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { decodeInferResponse, decodeStreamResponse, encodeInferRequest } from './infer-codec.ts';

/** The protocol as written down, read by another implementation. */
const root = protobuf.parse(
  `syntax = "proto3";
  message InferParameter { oneof choice { bool bool_param = 1; int64 int64_param = 2; string string_param = 3; double double_param = 4; uint64 uint64_param = 5; } }
  message InferTensorContents { repeated bool bool_contents = 1; repeated int32 int_contents = 2; repeated int64 int64_contents = 3; repeated uint32 uint_contents = 4; repeated uint64 uint64_contents = 5; repeated float fp32_contents = 6; repeated double fp64_contents = 7; repeated bytes bytes_contents = 8; }
  message Input { string name = 1; string datatype = 2; repeated int64 shape = 3; map<string, InferParameter> parameters = 4; InferTensorContents contents = 5; }
  message Output { string name = 1; map<string, InferParameter> parameters = 2; }
  message Request { string model_name = 1; string model_version = 2; string id = 3; map<string, InferParameter> parameters = 4; repeated Input inputs = 5; repeated Output outputs = 6; repeated bytes raw_input_contents = 7; }
  message Response { string model_name = 1; string model_version = 2; string id = 3; map<string, InferParameter> parameters = 4; repeated Input outputs = 5; repeated bytes raw_output_contents = 6; }
  message Stream { string error_message = 1; Response infer_response = 2; }`,
  { keepCase: true },
).root;

const encode = (type: string, value: object): Uint8Array =>
  root.lookupType(type).encode(root.lookupType(type).fromObject(value)).finish();

test('requests are read by another protobuf implementation as they were meant', () => {
  const tensors = fc.array(
    fc.record({
      name: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 200 }),
      shape: fc.array(fc.integer({ min: 0, max: 2 ** 40 }), { maxLength: 5 }),
      data: fc.uint8Array({ maxLength: 400 }),
    }),
    { maxLength: 5 },
  );
  const parameters = fc.dictionary(
    fc.string({ maxLength: 8 }).filter((key) => key !== '__proto__'),
    fc.oneof(fc.boolean(), fc.integer(), fc.string(), fc.double({ noNaN: true, noInteger: true }), fc.maxSafeInteger()),
    { maxKeys: 4 },
  );
  fc.assert(
    fc.property(
      tensors,
      fc.array(fc.string({ minLength: 1 }), { maxLength: 3 }),
      parameters,
      (specs, outputs, sent) => {
        const inputs = specs.map((spec): Tensor => ({ ...spec, datatype: 'UINT8' }));
        const bytes = encodeInferRequest('m', '3', inputs, outputs, sent);
        const type = root.lookupType('Request');
        const read = type.toObject(type.decode(bytes), {
          longs: Number,
          arrays: true,
          objects: true,
          bytes: Uint8Array,
        });
        assert.deepEqual([read.model_name, read.model_version], ['m', '3']);
        assert.deepEqual(
          read.inputs.map((input: Tensor) => [input.name, input.datatype, input.shape]),
          inputs.map((input) => [input.name, input.datatype, input.shape]),
        );
        assert.deepEqual(
          read.raw_input_contents.map((raw: Uint8Array) => [...raw]),
          inputs.map((input) => [...input.data]),
        );
        assert.deepEqual(
          read.outputs.map((output: { name: string }) => output.name),
          outputs,
        );
        assert.deepEqual(
          Object.entries(read.parameters as object)
            .map(([key, value]) => [key, Object.values(value)[0]])
            .sort(),
          Object.entries(sent).sort(),
        );
      },
    ),
    { numRuns: 200 },
  );
});

test('raw outputs are copied into memory of their own', () => {
  const bytes = encode('Response', {
    model_name: 'm',
    outputs: [
      { name: 'A', datatype: 'INT64', shape: [1] },
      { name: 'B', datatype: 'BYTES', shape: [0] },
    ],
    raw_output_contents: [Buffer.from([1, 0, 0, 0, 0, 0, 0, 128]), Buffer.alloc(0)],
  });
  const { outputs, final } = decodeInferResponse(bytes);
  assert.deepEqual(outputs, [
    { name: 'A', datatype: 'INT64', shape: [1], data: Uint8Array.from([1, 0, 0, 0, 0, 0, 0, 128]) },
    { name: 'B', datatype: 'BYTES', shape: [0], data: new Uint8Array(0) },
  ]);
  assert.equal(final, false);
  assert.equal(outputs[0].data.buffer.byteLength, 8);
});

test('raw bytes that do not fill their shape are refused', () => {
  for (const shape of [[2], [-1], [2 ** 40, 2 ** 40]]) {
    const output = { name: 'A', datatype: 'INT32', shape };
    const bytes = encode('Response', { outputs: [output], raw_output_contents: [Buffer.alloc(4)] });
    assert.throws(() => decodeInferResponse(bytes), { code: 'internal', message: /4 bytes for output "A" of INT32/ });
  }
});

test('typed outputs, as MLServer answers, become the same raw bytes', () => {
  const typed = (datatype: string, contents: object, shape = [2]) =>
    decodeInferResponse(encode('Response', { outputs: [{ name: 'A', datatype, shape, contents }] })).outputs[0].data;
  const bytes = (view: ArrayBufferView) => new Uint8Array(view.buffer as ArrayBuffer);
  assert.deepEqual(typed('BOOL', { bool_contents: [true, false] }), Uint8Array.of(1, 0));
  assert.deepEqual(typed('INT8', { int_contents: [-1, 127] }), bytes(Int8Array.of(-1, 127)));
  assert.deepEqual(typed('INT16', { int_contents: [-32768, 5] }), bytes(Int16Array.of(-32768, 5)));
  assert.deepEqual(typed('INT32', { int_contents: [-5, 7] }), bytes(Int32Array.of(-5, 7)));
  assert.deepEqual(
    typed('INT64', { int64_contents: ['-9223372036854775808', '9007199254740993'] }),
    bytes(BigInt64Array.of(-(2n ** 63n), 2n ** 53n + 1n)),
  );
  assert.deepEqual(typed('UINT32', { uint_contents: [4294967295, 0] }), bytes(Uint32Array.of(4294967295, 0)));
  assert.deepEqual(
    typed('UINT64', { uint64_contents: ['18446744073709551615', '1'] }),
    bytes(BigUint64Array.of(2n ** 64n - 1n, 1n)),
  );
  assert.deepEqual(typed('FP32', { fp32_contents: [1.5, -2] }), bytes(Float32Array.of(1.5, -2)));
  assert.deepEqual(typed('FP64', { fp64_contents: [1e300, -0] }), bytes(Float64Array.of(1e300, -0)));
  assert.deepEqual(
    typed('BYTES', { bytes_contents: [Buffer.from('ab'), Buffer.alloc(0)] }),
    Uint8Array.of(2, 0, 0, 0, 97, 98, 0, 0, 0, 0),
  );
  assert.throws(() => typed('INT32', { int_contents: [1] }), {
    code: 'internal',
    message: /1 values for output "A" of shape \[2\]/,
  });
  assert.throws(() => typed('COMPLEX64', {}), { code: 'unsupported', message: /"COMPLEX64"/ });
});

test('a stream answer carries an error, a response, or the final mark', () => {
  const response = { outputs: [{ name: 'A', datatype: 'UINT8', shape: [1] }], raw_output_contents: [Buffer.of(9)] };
  const mark = { parameters: { triton_final_response: { bool_param: true } } };
  assert.deepEqual(decodeStreamResponse(encode('Stream', { error_message: 'no' }), 'triton'), {
    outputs: [],
    final: false,
    error: 'no',
  });
  assert.equal(decodeStreamResponse(encode('Stream', { infer_response: response }), 'triton').outputs[0].data[0], 9);
  assert.equal(decodeStreamResponse(encode('Stream', { infer_response: mark }), 'triton').final, true);
  const { outputs, final, error } = decodeStreamResponse(encode('Response', response), 'bare');
  assert.deepEqual([outputs[0].data[0], final, error], [9, false, '']);
});

test('whatever a broken server sends ends in our error, never in another', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      try {
        decodeStreamResponse(bytes, 'triton');
      } catch (error) {
        assert.ok(error instanceof SwitchyardError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
