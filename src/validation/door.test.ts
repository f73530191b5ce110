import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ModelConfig } from '../config/model-config.ts';
import { readModelValidation } from '../config/model-validation.ts';
import type { InferRequest, RequestContext, ServingVersion } from '../pipeline/types.ts';
import { decodeBytes, encodeBytes } from '../tensor/bytes.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { ANOMALIES_COLUMN, Door } from './door.ts';

function version(validation: string): ServingVersion {
  const config = {
    signature: { inputs: [], outputs: [], maxBatchSize: 8 },
    validation: readModelValidation(validation, 'switchyard.validation'),
  } as unknown as ModelConfig;
  return { model: 'm', config } as ServingVersion;
}

function floats(name: string, shape: number[], ...values: number[]): Tensor {
  return { name, datatype: 'FP32', shape, data: new Uint8Array(new Float32Array(values).buffer) };
}

function texts(name: string, ...values: string[]): Tensor {
  return { name, datatype: 'BYTES', shape: [values.length, 1], data: encodeBytes(values) };
}

const context = (): RequestContext => ({ served: undefined }) as RequestContext;
const request = (...inputs: Tensor[]): InferRequest => ({ inputs }) as unknown as InferRequest;

test('rejects what is out of range, unknown, missing or of another shape, naming it and what is allowed', () => {
  const reject = (validation: string, ...inputs: Tensor[]) => {
    const door = new Door();
    return () => door.check(version(`{policy: reject, fields: ${validation}}`), request(...inputs), context());
  };
  const x = floats('x', [2, 2], 1, 20, 3, 40);
  for (const [fields, inputs, message] of [
    ['{x: {max: 30}}', [x], /'x' in row 1 is 40; at most 30 is allowed/],
    ['{"x[0]": {min: 2}}', [x], /'x\[0\]' in row 0 is 1; at least 2 is allowed/],
    ['{x: {shape: [3]}}', [x], /rows of shape \[2\]; allowed is \[3\]/],
    ['{"x[5]": {min: 0}}', [x], /'x\[5\]' is missing: a row has 2 values/],
    ['{y: {min: 0}}', [x], /input 'y' is missing/],
    ['{x: {maxMissing: 0}}', [floats('x', [1, 2], 1, Number.NaN)], /1 missing of 2 values/],
    ['{x: {values: [1, 2]}}', [floats('x', [1, 2], 1, 3)], /is 3; allowed are 1, 2/],
    ['{c: {values: [DE, FR]}}', [texts('c', 'DE', 'XX')], /'c' in row 1 is "XX"; allowed are "DE", "FR"/],
    ['{c: {maxLength: 3}}', [texts('c', 'long')], /has 4 characters; at most 3 are allowed/],
  ] as const)
    assert.throws(reject(fields, ...inputs), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'invalid_argument');
      assert.match(error.message, message);
      return true;
    });
  for (const [fields, inputs] of [
    ['{"x[0]": {max: 3}, "x[1]": {min: 20}}', [x]],
    ['{y: {required: false, min: 0}}', [x]],
    ['{c: {values: [DE], maxUnknown: 0.5}}', [texts('c', 'DE', 'XX')]],
    ['{x: {min: 0, max: 1}}', [floats('x', [1, 1], Number.NaN)]],
  ] as const)
    reject(fields, ...inputs)();
});

test('flags in the answer and the record, counts by rule, and only counts by the policy log', () => {
  const door = new Door();
  const flagged = version('{policy: flag, fields: {x: {max: 1}, c: {values: [DE]}}}');
  const seen = context();
  door.check(flagged, request(floats('x', [1, 1], 2), texts('c', 'FR')), seen);
  assert.equal(seen.served?.anomalies, 'x:ABOVE_MAX, c:VOCABULARY');
  const [column] = seen.served?.joined ?? [];
  assert.equal(column.name, ANOMALIES_COLUMN);
  assert.deepEqual(decodeBytes(column.data).map(String).length, 2);
  const logged = context();
  const logs = version('{policy: log, fields: {x: {max: 1}}}');
  for (let i = 0; i < 3; i++) door.check(logs, request(floats('x', [1, 1], 2)), logged);
  door.check(logs, request(floats('x', [1, 1], 1)), logged);
  assert.equal(logged.served, undefined);
  assert.deepEqual(
    [...(door.take() ?? [])],
    [
      ['m\0x\0ABOVE_MAX\0flag', 1],
      ['m\0c\0VOCABULARY\0flag', 1],
      ['m\0x\0ABOVE_MAX\0log', 3],
    ],
  );
  assert.equal(door.take(), undefined);
});

test('takes exactly the numbers that lie in the range', () => {
  const door = new Door();
  const inRange = version('{policy: reject, fields: {"x[1]": {min: -1, max: 1}}}');
  const row = fc.tuple(fc.float({ noNaN: true }), fc.float({ noNaN: true, min: -2, max: 2 }));
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 8 }), (rows) => {
      const check = () => door.check(inRange, request(floats('x', [rows.length, 2], ...rows.flat())), context());
      if (rows.every(([, value]) => value >= -1 && value <= 1)) check();
      else assert.throws(check, { code: 'invalid_argument' });
    }),
  );
});

test('a schema that is wrong is refused with the place', () => {
  const read = (text: string) => () => readModelValidation(text, 'switchyard.validation');
  assert.throws(read('{policy: maybe, fields: {x: {min: 0}}}'), /switchyard\.validation\.policy/);
  assert.throws(
    read('{policy: log, fields: {x: {min: 2, max: 1}}}'),
    /switchyard\.validation\.fields\.x: min is above max/,
  );
  assert.throws(read('{policy: log, fields: {}}'), /name at least one/);
  assert.throws(read('{policy: [}'), /no YAML/);
});
