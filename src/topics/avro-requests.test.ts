import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { kafkaSchema } from '../config/kafka-schema.ts';
import type { InferResponse } from '../pipeline/types.ts';
import { decodeBytes, encodeBytes } from '../tensor/bytes.ts';
import type { DataType } from '../tensor/tensor.ts';
import { typedView } from '../tensor/views.ts';
import { answerOf, requestOf } from './avro-requests.ts';

function numbersOf(datatype: DataType, data: Uint8Array): (number | bigint)[] {
  return Array.from(typedView(datatype, data) as ArrayLike<number | bigint>);
}

function config(inputs: object, more: object = {}) {
  const avro = { schemaRegistry: 'http://127.0.0.1:1', inputs, ...more };
  const entry = { requests: 'asks', results: 'answers', model: 'm', avro };
  const [{ avro: read }] = kafkaSchema.parse({ brokers: ['127.0.0.1:1'], inference: [entry] }).inference;
  assert.ok(read !== undefined, 'the section is read');
  return read;
}

test('fields of records become inputs with their types and shapes', () => {
  const inputs = {
    x: { fields: ['amount', 'customer.age', 'embedding'], datatype: 'FP32' },
    key: { fields: ['id'], datatype: 'INT64', shape: [1] },
    flag: { fields: ['flags'], datatype: 'BOOL', shape: [2, 1] },
    text: { fields: ['note', 'picture'], datatype: 'BYTES' },
  };
  const record = {
    amount: null,
    customer: { age: 41 },
    embedding: [0.5, [1.5]],
    id: 2n ** 60n + 1n,
    flags: [true, false],
    note: 'Köln',
    picture: Buffer.from([0xff, 0]),
  };
  const request = requestOf(config(inputs, { id: 'customer.age' }), record, 'm', '3');
  assert.deepEqual([request.model, request.version, request.id], ['m', '3', '41']);
  const [x, key, flag, text] = request.inputs;
  assert.deepEqual(
    request.inputs.map(({ name, datatype, shape }) => [name, datatype, shape]),
    [
      ['x', 'FP32', [1, 4]],
      ['key', 'INT64', [1]],
      ['flag', 'BOOL', [2, 1]],
      ['text', 'BYTES', [1, 2]],
    ],
  );
  assert.deepEqual(numbersOf('FP32', x.data), [Number.NaN, 41, 0.5, 1.5]);
  assert.deepEqual(numbersOf('INT64', key.data), [2n ** 60n + 1n]);
  assert.deepEqual(Array.from(flag.data), [1, 0]);
  assert.deepEqual(
    decodeBytes(text.data).map((bytes) => [...bytes]),
    [[...Buffer.from('Köln')], [0xff, 0]],
  );
});

test('what does not fit is named with its field or input', () => {
  const of = (input: object, record: object) => () => requestOf(config({ x: input }), record, 'm', '');
  const wrong = { code: 'invalid_argument' };
  assert.throws(of({ fields: ['a.b'], datatype: 'FP32' }, { a: { c: 1 } }), /has no field "a\.b"/);
  assert.throws(of({ fields: ['a'], datatype: 'FP32' }, { a: 'x' }), /input 'x' takes numbers, not "x"/);
  assert.throws(of({ fields: ['a'], datatype: 'INT32' }, { a: null }), /takes whole numbers or booleans, not null/);
  assert.throws(of({ fields: ['a'], datatype: 'INT8' }, { a: 300 }), wrong);
  assert.throws(of({ fields: ['a'], datatype: 'INT32' }, { a: 1.5 }), wrong);
  assert.throws(of({ fields: ['a'], datatype: 'BYTES' }, { a: 1 }), /takes texts and bytes, not 1/);
  assert.throws(of({ fields: ['a'], datatype: 'FP64', shape: [1, 3] }, { a: [1, 2] }), wrong);
});

test('doubles, longs and bytes come through whatever they are', () => {
  const inputs = {
    f: { fields: ['f'], datatype: 'FP64' },
    l: { fields: ['l'], datatype: 'INT64' },
    b: { fields: ['b'], datatype: 'BYTES' },
  };
  const read = config(inputs);
  const long = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
  const some = { minLength: 1, maxLength: 20 };
  fc.assert(
    fc.property(fc.array(fc.double(), some), fc.array(long, some), fc.array(fc.uint8Array(), some), (f, l, b) => {
      const { inputs } = requestOf(read, { f, l, b }, 'm', '');
      assert.deepEqual(numbersOf('FP64', inputs[0].data), f);
      assert.deepEqual(numbersOf('INT64', inputs[1].data), l);
      assert.deepEqual(
        decodeBytes(inputs[2].data).map((bytes) => [...bytes]),
        b.map((bytes) => [...bytes]),
      );
    }),
  );
});

test('answers have their values where their type belongs', () => {
  const outputs = [
    { name: 'y', datatype: 'FP32', shape: [1, 2], data: new Uint8Array(new Float32Array([1.5, -2]).buffer) },
    { name: 'n', datatype: 'INT64', shape: [1], data: new Uint8Array(new BigInt64Array([7n]).buffer) },
    { name: 't', datatype: 'BOOL', shape: [1], data: Uint8Array.of(1) },
    { name: 's', datatype: 'BYTES', shape: [1], data: encodeBytes(['ja']) },
  ] as InferResponse['outputs'];
  const response = { model: 'm', version: '1', id: '', outputs } as unknown as InferResponse;
  const answer = answerOf(
    response,
    requestOf(config({ x: { fields: ['i'], datatype: 'INT32' } }, { id: 'i' }), { i: 5 }, 'm', ''),
  );
  assert.deepEqual(answer, {
    id: '5',
    model: 'm',
    version: '1',
    outputs: [
      { name: 'y', datatype: 'FP32', shape: [1, 2], doubles: [1.5, -2] },
      { name: 'n', datatype: 'INT64', shape: [1], longs: [7n] },
      { name: 't', datatype: 'BOOL', shape: [1], booleans: [true] },
      { name: 's', datatype: 'BYTES', shape: [1], bytes: [Buffer.from('ja')] },
    ],
  });
});
