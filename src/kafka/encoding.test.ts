import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32c } from '../shared/crc32c.ts';
import { encodeRecord, originalRecord, type PlainRecord } from './encoding.ts';
import { murmur2, partitionerOfKafka } from './partitioner.ts';

const load = createRequire(import.meta.url);
const original = originalRecord();

const part = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
);

test('a record is encoded as kafkajs does it, byte for byte', () => {
  const record = fc.record<PlainRecord>(
    {
      offsetDelta: fc.nat(),
      timestampDelta: fc.integer({ min: -(2 ** 45), max: 2 ** 45 }),
      key: fc.option(part),
      value: fc.option(part),
      headers: fc.dictionary(fc.string({ unit: 'binary', maxLength: 20 }), part, { maxKeys: 10 }),
    },
    { requiredKeys: ['value'] },
  );
  fc.assert(
    fc.property(record, (drawn) => {
      const mine = encodeRecord(drawn);
      assert.ok(mine !== undefined, 'plain parts are encoded here');
      assert.equal(mine.buffer.toString('hex'), original(drawn).buffer.toString('hex'));
    }),
  );
  assert.equal(encodeRecord({ value: 'v', headers: { several: ['a', 'b'] } }), undefined);
  assert.equal(encodeRecord({ value: 'v', timestampDelta: Number.NaN }), undefined);
});

test('checksums and partitions are those of kafkajs', () => {
  const checksum = load('kafkajs/src/protocol/recordBatch/crc32C') as (bytes: Buffer) => number;
  const hash = load('kafkajs/src/producer/partitioners/default/murmur2') as (bytes: Buffer) => number;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const buffer = Buffer.from(bytes);
      assert.equal(crc32c(buffer, 0, buffer.length), checksum(buffer));
      assert.equal(murmur2(buffer), hash(buffer));
    }),
  );
  const choose = partitionerOfKafka();
  const partitionMetadata = [0, 1, 2].map((partitionId) => ({ partitionId, leader: partitionId === 1 ? -1 : 7 }));
  const chosen = (message: object): number => choose({ topic: 't', partitionMetadata, message } as never);
  assert.equal(chosen({ partition: 2, key: 'a' }), 2);
  assert.equal(chosen({ key: 'ä' }), (hash(Buffer.from('ä')) & 0x7fffffff) % 3);
  const kept = { key: 'ä' } as { key: string; partition?: number };
  const before = chosen(kept);
  const more = [...partitionMetadata, ...[3, 4, 5, 6].map((partitionId) => ({ partitionId, leader: 7 }))];
  assert.equal(choose({ topic: 't', partitionMetadata: more, message: kept } as never), before, 'a message stays');
  const turns = [0, 1, 2, 3].map(() => chosen({ key: null }));
  assert.deepEqual(new Set(turns), new Set([0, 2]));
});
