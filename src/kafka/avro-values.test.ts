import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import avro from 'avsc';
import { framed, PlainSchemaRegistry } from '../testing/schema-registry.ts';
import { jsonOf } from './avro-json.ts';
import { AvroValues, isFramed } from './avro-values.ts';

const SCHEMA = {
  type: 'record',
  name: 'Visit',
  fields: [
    { name: 'user', type: 'long' },
    { name: 'rate', type: ['null', 'double'] },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-micros' } },
    { name: 'day', type: { type: 'int', logicalType: 'date' } },
    { name: 'price', type: { type: 'bytes', logicalType: 'decimal', precision: 9, scale: 2 } },
  ],
};
// Without logical types: as the numbers and bytes that are on the wire.
const wire = avro.Type.forSchema(SCHEMA as avro.Schema, { logicalTypes: {} });
const AT = Date.parse('2026-03-04T05:06:07.089Z');
const sample = { user: 7, rate: 0.5, at: AT * 1000 + 10, day: 20_516, price: Buffer.from([0xff, 0x38]) };

let registry: PlainSchemaRegistry;
let host = '';
before(async () => {
  registry = await PlainSchemaRegistry.open({ 5: SCHEMA });
  host = registry.url('key:se%2Fcret');
});
after(() => registry.close());

test('values are read by their schema, with the registry’s user, and logical types become what they mean', async () => {
  const value = framed(5, wire.toBuffer(sample));
  assert.ok(isFramed(value) && !isFramed(Buffer.from('{}')));
  const values = new AvroValues(host, true);
  const read = (await values.read(value)) as Record<string, unknown>;
  assert.deepEqual({ ...read }, { user: 7, rate: 0.5, at: new Date(AT), day: new Date('2026-03-04'), price: -2 });
  await values.read(value);
  const basic = Buffer.from('key:se/cret').toString('base64');
  assert.deepEqual(registry.asked, [`/schemas/ids/5 Basic ${basic}`], 'once for both');
  const plain = (await new AvroValues(host, false).read(value)) as Record<string, unknown>;
  assert.deepEqual({ ...plain }, { ...sample });
});

test('as JSON a branch of a union is what it holds, and a long too wide for a number its digits', async () => {
  const schema = {
    ...{ type: 'record', name: 'Event' },
    fields: [
      { name: 'label', type: ['null', 'long', 'double', 'string'] },
      { name: 'more', type: { type: 'map', values: ['null', 'long', 'double'] } },
    ],
  };
  const own = await PlainSchemaRegistry.open({ 9: schema });
  const type = avro.Type.forSchema(schema as avro.Schema);
  const values = new AvroValues(own.url(), true);
  try {
    const event = { label: { double: 0.5 }, more: { a: { long: 7 }, b: null } };
    assert.deepEqual(jsonOf(await values.read(framed(9, type.toBuffer(event)))), {
      label: 0.5,
      more: { a: 7, b: null },
    });
    const text = { label: { string: 'b' }, more: {} };
    assert.deepEqual(jsonOf(await values.read(framed(9, type.toBuffer(text)))), { label: 'b', more: {} });
  } finally {
    own.close();
  }
  assert.deepEqual(jsonOf([2n ** 60n, Buffer.of(0xff), new Date(0)]), [
    String(2n ** 60n),
    '/w==',
    '1970-01-01T00:00:00.000Z',
  ]);
});

test('longs keep their digits', async () => {
  const value = wire.toBuffer({ ...sample, user: 0 });
  const wide = Buffer.concat([Buffer.from('feffffffffffffffff01', 'hex'), value.subarray(1)]);
  const read = (await new AvroValues(host, true).read(framed(5, wide))) as Record<string, unknown>;
  assert.equal(read.user, 2n ** 63n - 1n);
});

test('what is no record is told apart from a registry that is away', async () => {
  const values = new AvroValues(host, true);
  const wrong = { code: 'invalid_argument' };
  await assert.rejects(values.read(Buffer.from([0, 1])), wrong);
  await assert.rejects(values.read(framed(6, Buffer.alloc(3))), { ...wrong, message: /no schema 6/ });
  await assert.rejects(values.read(framed(5, Buffer.alloc(2))), { ...wrong, message: /does not fit its schema 5/ });
  registry.status = 503;
  const away = new AvroValues(host, true);
  await assert.rejects(away.read(framed(5, wire.toBuffer(sample))), { code: 'unavailable' });
  registry.status = 200;
  await away.read(framed(5, wire.toBuffer(sample)));
});
