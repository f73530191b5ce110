import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import avro from 'avsc';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { containerOf } from './container.ts';
import { readContainer } from './container-reader.ts';
import { decodeRecord, readRecord } from './record-decoder.ts';
import { INFERENCE_SCHEMA } from './schema.ts';

const read = (bytes: Uint8Array) => readContainer(bytes, (reader) => readRecord(reader));

/** A container of one record as Avro's own writer makes it. */
async function written(schema: object, record: unknown, codec: 'null' | 'deflate' = 'null'): Promise<Buffer> {
  const type = avro.Type.forSchema(schema as avro.Schema, { wrapUnions: true });
  const encoder = new avro.streams.BlockEncoder(type, { codec });
  const chunks: Buffer[] = [];
  encoder.on('data', (chunk: Buffer) => chunks.push(chunk));
  encoder.end(record);
  await once(encoder, 'end');
  return Buffer.concat(chunks);
}

function one(): { bytes: Buffer; value: Record<string, unknown> } {
  const loop = new LogLoop();
  loop.tap.finished(finishedRequest());
  const bytes = Buffer.from(loop.take()[0]);
  const type = avro.Type.forSchema(INFERENCE_SCHEMA as avro.Schema, { wrapUnions: true });
  return { bytes, value: type.fromBuffer(bytes) as Record<string, unknown> };
}

test('a container with another order of fields, a field more and the last ones missing is read as ours', async () => {
  const { bytes, value } = one();
  const added = ['override', 'bucket', 'fallbacks', 'proposed', 'context'];
  const fields = INFERENCE_SCHEMA.fields.filter(({ name }) => !added.includes(name)).reverse();
  // Named types are given where they come first: features and predictions change places.
  const columns = INFERENCE_SCHEMA.fields.find(({ name }) => name === 'features')?.type;
  const schema = {
    ...INFERENCE_SCHEMA,
    doc: 'of another version',
    fields: [
      { name: 'region', type: 'string' },
      ...fields.map((field) =>
        field.name === 'predictions'
          ? { ...field, type: columns }
          : field.name === 'features'
            ? { ...field, type: { type: 'array', items: 'dev.switchyard.Column' } }
            : field,
      ),
    ],
  };
  for (const codec of ['null', 'deflate'] as const) {
    const [record] = read(await written(schema, { ...value, region: 'eu' }, codec));
    const expected = decodeRecord(bytes);
    assert.deepEqual(record, {
      ...expected,
      override: -1,
      bucket: -1,
      fallbacks: [],
      context: expected.context.slice(0, 0),
    });
  }
});

test('deflated containers of our schema are read', async () => {
  const { bytes, value } = one();
  assert.deepEqual(read(await written(INFERENCE_SCHEMA, value, 'deflate')), [decodeRecord(bytes)]);
});

test('what cannot be resolved is refused with what does not fit', async () => {
  const { value, bytes } = one();
  const other = { type: 'record', name: 'Order', fields: [{ name: 'id', type: 'string' }] };
  const refused = async (schema: object, record: unknown, message: RegExp) => {
    const container = await written(schema, record);
    assert.throws(() => read(container), { name: 'RangeError', message });
  };
  await refused(other, { id: 'a' }, /"Order"; read are dev\.switchyard\.Inference/);
  const fields = INFERENCE_SCHEMA.fields.filter(({ name }) => name !== 'status');
  await refused({ ...INFERENCE_SCHEMA, fields }, value, /cannot be read as this version's.*status/s);
  const ours = containerOf([{ u8: bytes, start: 0, end: bytes.length }], 'inference');
  const snappy = Buffer.from(ours.toString('latin1').replace('\x08null', '\x08zstd'), 'latin1');
  assert.throws(() => read(snappy), /the codec zstd is not read; null and deflate are/);
});

test('a resolved container that is cut is refused, wherever', async () => {
  const { value } = one();
  const container = await written({ ...INFERENCE_SCHEMA, doc: 'another' }, value);
  assert.equal(read(container).length, 1);
  for (let cut = 0; cut < container.length; cut++) {
    let records = 0;
    try {
      records = read(container.subarray(0, cut)).length;
    } catch (error) {
      assert.ok(error instanceof RangeError, `cut at ${cut}: ${error}`);
    }
    assert.equal(records, 0, `cut at ${cut}`);
  }
});
