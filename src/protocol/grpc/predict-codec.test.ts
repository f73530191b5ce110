import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SwitchyardError } from '../../shared/errors.ts';
import { decodeBytes, encodeBytes } from '../../tensor/bytes.ts';
import { type DataType, ELEMENT_BYTES, type Tensor } from '../../tensor/tensor.ts';
import { decodePredictRequest, encodePredictResponse, peekModelSpec } from './predict-codec.ts';
import { PREDICTION_SERVICE, serviceDefinition } from './schema.ts';
import { TENSORFLOW_TYPES } from './tensor-proto-types.ts';

const { Predict } = serviceDefinition(PREDICTION_SERVICE);
const LIMIT = 1 << 20;

interface WireTensor {
  dtype: string;
  tensor_shape: { dim: { size: string }[] };
  [field: string]: unknown;
}

function request(inputs: Record<string, object>, rest: object = {}): Buffer {
  return Predict.requestSerialize({ model_spec: { name: 'm' }, inputs, ...rest });
}

function shape(...sizes: (number | string)[]): object {
  return { dim: sizes.map((size) => ({ size })) };
}

function one(tensor: object): Tensor {
  return decodePredictRequest(request({ x: tensor }), LIMIT).inputs[0];
}

function refused(tensor: object, pattern: RegExp): void {
  assert.throws(
    () => one(tensor),
    (error: unknown) =>
      error instanceof SwitchyardError && error.code === 'invalid_argument' && pattern.test(error.message),
  );
}

/** The elements of a TensorProto's value field as this library's bytes, by plain and slow means. */
function bytesOf(datatype: DataType, values: unknown[]): Buffer {
  if (datatype === 'BYTES') return Buffer.from(encodeBytes(values as Buffer[]));
  const width = ELEMENT_BYTES[datatype];
  const out = Buffer.alloc(values.length * width);
  values.forEach((value, i) => {
    if (datatype === 'FP32') out.writeFloatLE(value as number, i * 4);
    else if (datatype === 'FP64') out.writeDoubleLE(value as number, i * 8);
    else {
      let rest = BigInt.asUintN(width * 8, BigInt(value as string | number | boolean));
      for (let b = 0; b < width; b++, rest >>= 8n) out[i * width + b] = Number(rest & 0xffn);
    }
  });
  return out;
}

const datatypes = Object.keys(TENSORFLOW_TYPES) as DataType[];
const tensor: fc.Arbitrary<Tensor> = fc
  .tuple(
    fc.constantFrom(...datatypes),
    fc.nat({ max: 6 }),
    fc.infiniteStream(fc.uint8Array({ minLength: 8, maxLength: 8 })),
  )
  .map(([datatype, count, stream]) => {
    const chunks = Array.from({ length: count }, () => stream.next().value as Uint8Array);
    let data: Uint8Array;
    if (datatype === 'BYTES') data = encodeBytes(chunks.map((chunk) => chunk.subarray(0, chunk[0] % 8)));
    else {
      data = Buffer.concat(chunks.map((chunk) => chunk.subarray(0, ELEMENT_BYTES[datatype])));
      if (datatype === 'BOOL') data = data.map((byte) => byte & 1);
      // NaN's payload does not survive a number; the wire is copied as bytes, so any other value shows that.
      if (datatype === 'FP32' || datatype === 'FP64') data = data.map((byte) => byte & 0x3f);
    }
    return { name: `t${datatype}`, datatype, shape: [count], data };
  });

describe('TensorProto', () => {
  it('is written as protobufjs reads it', () => {
    fc.assert(
      fc.property(fc.uniqueArray(tensor, { selector: (made) => made.name, maxLength: 5 }), (outputs) => {
        const frame = encodePredictResponse({
          model: 'm',
          version: '7',
          id: '',
          outputs,
          parameters: undefined,
          timings: undefined,
        });
        assert.equal(frame.readUInt32BE(1), frame.length - 5);
        const wire = Predict.responseDeserialize(frame.subarray(5)) as {
          outputs: Record<string, WireTensor>;
          model_spec: { name: string; version: { value: string }; signature_name: string };
        };
        assert.equal(wire.model_spec.name, 'm');
        assert.equal(wire.model_spec.version.value, '7');
        for (const output of outputs) {
          const type = TENSORFLOW_TYPES[output.datatype];
          const got = wire.outputs[output.name];
          assert.equal(got.dtype, type.name);
          assert.deepEqual(
            got.tensor_shape.dim.map((dim) => Number(dim.size)),
            output.shape,
          );
          assert.deepEqual(bytesOf(output.datatype, got[type.fieldName] as unknown[]), Buffer.from(output.data));
        }
      }),
    );
  });

  it('is read as protobufjs writes it, from values or content', () => {
    fc.assert(
      fc.property(tensor, fc.boolean(), (made, asContent) => {
        const frame = encodePredictResponse({
          model: 'm',
          version: '',
          id: '',
          outputs: [made],
          parameters: undefined,
          timings: undefined,
        });
        const wire = Predict.responseDeserialize(frame.subarray(5)) as { outputs: Record<string, WireTensor> };
        const type = TENSORFLOW_TYPES[made.datatype];
        const values = { [type.fieldName]: wire.outputs[made.name][type.fieldName] };
        const content = { tensor_content: Buffer.from(made.data) };
        const proto = {
          dtype: type.name,
          tensor_shape: shape(...made.shape),
          ...(asContent && made.datatype !== 'BYTES' ? content : values),
        };
        const got = one(proto);
        assert.equal(got.datatype, made.datatype);
        assert.deepEqual(got.shape, made.shape);
        assert.deepEqual(Buffer.from(got.data), Buffer.from(made.data));
      }),
    );
  });

  it('repeats the last of too few values, and takes none for zeros', () => {
    const short = one({ dtype: 'DT_INT16', tensor_shape: shape(2, 2), int_val: [1, -2] });
    assert.deepEqual([...new Int16Array(Uint8Array.from(short.data).buffer)], [1, -2, -2, -2]);
    const zeros = one({ dtype: 'DT_FLOAT', tensor_shape: shape(3) });
    assert.deepEqual([...zeros.data], new Array(12).fill(0));
    const strings = one({
      dtype: 'DT_STRING',
      tensor_shape: shape(3),
      string_val: [Buffer.from('a'), Buffer.from('bc')],
    });
    assert.deepEqual(
      decodeBytes(strings.data).map((value) => Buffer.from(value).toString()),
      ['a', 'bc', 'bc'],
    );
    assert.deepEqual(one({ dtype: 'DT_INT64', int64_val: ['-9223372036854775808'] }).shape, []);
  });

  it('refuses what does not fit', () => {
    refused({ dtype: 'DT_FLOAT', tensor_shape: shape(1), float_val: [1, 2] }, /takes 1 elements, got 2/);
    refused({ dtype: 'DT_FLOAT', tensor_shape: shape(1), int_val: [1] }, /float_val.*int_val/);
    refused({ dtype: 'DT_UINT8', tensor_shape: shape(1), int_val: [256] }, /0 to 255/);
    refused({ dtype: 'DT_FLOAT', tensor_shape: shape(2), tensor_content: Buffer.alloc(4) }, /8 bytes, got 4/);
    refused({ dtype: 'DT_FLOAT', tensor_shape: shape(1), tensor_content: Buffer.alloc(4), float_val: [1] }, /not both/);
    refused({ dtype: 'DT_STRING', tensor_shape: shape(1), tensor_content: Buffer.alloc(4) }, /string_val/);
    refused({ dtype: 'DT_COMPLEX64', tensor_shape: shape(1) }, /dtype 8/);
    refused({ dtype: 'DT_FLOAT', tensor_shape: { unknown_rank: true } }, /rank/);
    refused({ dtype: 'DT_FLOAT', tensor_shape: shape(2, -5) }, /-5/);
  });

  it('refuses a few bytes that stand for a huge tensor', () => {
    refused({ dtype: 'DT_FLOAT', tensor_shape: shape(1 << 30), float_val: [1] }, /limit/);
    refused({ dtype: 'DT_STRING', tensor_shape: shape(1 << 30) }, /limit/);
    refused({ dtype: 'DT_STRING', tensor_shape: shape(1 << 17), string_val: [Buffer.alloc(1000)] }, /limit/);
    refused({ dtype: 'DT_FLOAT', tensor_shape: shape('16', '1152921504606846978'), float_val: [1] }, /shape/);
  });
});

describe('PredictRequest', () => {
  it('names model, version or label, signature and outputs', () => {
    const versioned = request(
      {},
      { model_spec: { name: 'm', version: { value: '12' }, signature_name: 's' }, output_filter: ['a', 'b'] },
    );
    const decoded = decodePredictRequest(versioned, LIMIT);
    assert.deepEqual(decoded.spec, { name: 'm', version: '12', label: '', signature: 's' });
    assert.deepEqual(decoded.outputs, ['a', 'b']);
    const labelled = request({}, { model_spec: { name: 'm', version_label: 'stable' } });
    assert.deepEqual(peekModelSpec(labelled), { name: 'm', version: '', label: 'stable', signature: '' });
  });

  it('refuses an output named twice', () => {
    assert.throws(() => decodePredictRequest(request({}, { output_filter: ['a', 'a'] }), LIMIT), /twice/);
  });
});
