import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import fc from 'fast-check';
import kafkajs from 'kafkajs';
import { crc32c } from '../shared/crc32c.ts';
import { registerCodecs } from './compression/codecs.ts';
import { byPartition, encodeProduce, type ProduceRequest } from './encoding.ts';
import { murmur2, partitionerOfKafka } from './partitioner.ts';

const { CompressionCodecs, CompressionTypes } = kafkajs;
const load = createRequire(import.meta.url);
const original = load('kafkajs/src/protocol/requests/produce/v3/request') as (request: ProduceRequest) => {
  encode(): Promise<{ buffer: Buffer }>;
};

const part = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
);
const message = fc.record(
  {
    key: fc.option(part),
    value: fc.option(part),
    headers: fc.dictionary(fc.string({ unit: 'binary', maxLength: 20 }), part, { maxKeys: 10 }),
    timestamp: fc.integer({ min: 1, max: 2 ** 42 }).map(String),
  },
  { requiredKeys: ['value', 'timestamp'] },
);
const partitions = fc.array(
  fc.record({
    partition: fc.nat(1000),
    firstSequence: fc.nat(),
    messages: fc.array(message, { minLength: 1, maxLength: 20 }),
  }),
  { maxLength: 3 },
);
const requests: fc.Arbitrary<ProduceRequest> = fc.record({
  acks: fc.constantFrom(-1, 1),
  timeout: fc.nat(),
  producerId: fc.bigInt({ min: -1n, max: 2n ** 60n }),
  producerEpoch: fc.nat(30_000),
  compression: fc.constant(0),
  topicData: fc.array(fc.record({ topic: fc.string({ maxLength: 30 }), partitions }), { maxLength: 3 }),
});

test('a request is encoded as kafkajs does it, byte for byte', async () => {
  await fc.assert(
    fc.asyncProperty(requests, async (request) => {
      const mine = await encodeProduce(request);
      assert.ok(mine !== undefined, 'plain parts are encoded here');
      const theirs = await original(request).encode();
      assert.equal(mine.buffer.toString('hex'), theirs.buffer.toString('hex'));
      assert.equal(mine.size(), theirs.buffer.length);
    }),
  );
});

test('compressed, it holds the same records', async () => {
  registerCodecs({ CompressionCodecs, CompressionTypes });
  await fc.assert(
    fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 20 }), async (messages) => {
      const of = async (compression: number): Promise<Buffer> => {
        const topicData = [{ topic: 't', partitions: [{ partition: 0, firstSequence: 0, messages }] }];
        const { buffer } = (await encodeProduce({ acks: -1, timeout: 1, compression, topicData }))!;
        // Behind the request's head and what says topic and partition.
        return buffer.subarray(12 + 7 + 8);
      };
      const plain = await of(0);
      const codecs = [
        CompressionTypes.GZIP,
        CompressionTypes.Snappy,
        CompressionTypes.LZ4,
        CompressionTypes.ZSTD,
      ] as const;
      for (const codec of codecs) {
        const packed = await of(codec);
        assert.equal(packed.readUInt32BE(17), crc32c(packed, 21, packed.length), 'the checksum is that of the whole');
        assert.equal(packed.readInt16BE(21), codec);
        assert.equal(packed.readInt32BE(8), packed.length - 12);
        assert.equal(packed.subarray(23, 61).toString('hex'), plain.subarray(23, 61).toString('hex'));
        const { decompress } = CompressionCodecs[codec]() as { decompress(b: Buffer): Promise<Buffer> };
        assert.equal((await decompress(packed.subarray(61))).toString('hex'), plain.subarray(61).toString('hex'));
      }
    }),
  );
});

test('what is not plain is left to kafkajs', async () => {
  const asked = (drawn: object, more: object = {}): Promise<unknown> => {
    const topicData = [{ topic: 't', partitions: [{ partition: 0, messages: [drawn] }] }];
    return encodeProduce({ acks: -1, timeout: 1, topicData, ...more });
  };
  assert.equal(await asked({ value: 'v', headers: { several: ['a', 'b'] } }), undefined);
  assert.equal(await asked({ value: 'v', timestamp: 'never' }), undefined);
  assert.equal(await asked({ value: 'v' }, { transactionalId: 'mine' }), undefined);
  assert.equal(await asked({ value: 'v' }, { compression: 5 }), undefined);
  assert.notEqual(await asked({ value: 'v' }), undefined);
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

test('messages are grouped as kafkajs does it', () => {
  const theirs = load('kafkajs/src/producer/groupMessagesPerPartition') as typeof byPartition<string>;
  fc.assert(
    fc.property(fc.array(fc.string(), { maxLength: 50 }), fc.nat(5), (messages, partitions) => {
      const partitioner = ({ message }: { message: string }): number => message.length % partitions;
      const of = { topic: 't', partitionMetadata: Array.from({ length: partitions }), messages, partitioner };
      assert.deepEqual(byPartition(of), theirs(of));
    }),
  );
});
