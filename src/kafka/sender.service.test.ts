import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { service } from '../testing/kafka-consumer.ts';
import { until } from '../testing/script-models.ts';
import { kafkaClients } from './client.ts';
import { COMPRESSION } from './compression/pack.ts';
import { TopicWriter } from './dead-letters.ts';
import { Sender } from './sender.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const LIMIT = 20_000;

/** A topic of two partitions that takes few bytes at a time, and what comes on it. */
async function smallTopic() {
  const clients = await kafkaClients(
    kafkaSchema.parse({ brokers: [broker], topicPrefix: `s${randomUUID()}.` }),
    pino({ level: 'silent' }),
  );
  const topic = clients.topic('small');
  const admin = clients.admin();
  await admin.connect();
  const configEntries = [{ name: 'max.message.bytes', value: String(LIMIT) }];
  await admin.createTopics({ topics: [{ topic, numPartitions: 2, configEntries }], waitForLeaders: true });
  await admin.disconnect();
  const consumer = clients.consumer(randomUUID());
  const came: { partition: number; key: string; value: string | undefined; headers: Record<string, string> }[] = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ partition, message: { key, value, headers = {} } }) => {
      const texts = Object.entries(headers).map(([name, text]) => [name, String(text)]);
      came.push({ partition, key: String(key), value: value?.toString(), headers: Object.fromEntries(texts) });
    },
  });
  return { clients, topic, came, close: () => consumer.disconnect() };
}

/** Characters that gzip makes little of. */
const noise = (bytes: number) =>
  randomBytes(Math.ceil((bytes * 3) / 4))
    .toString('base64')
    .slice(0, bytes);

test('what is too large for a topic goes one by one, and one that is so by itself keeps no other back', {
  timeout: 600_000,
}, async (t) => {
  const { clients, topic, came, close } = await smallTopic();
  t.after(close);
  const sender = new Sender(() => clients.producer({ idempotent: true, maxInFlightRequests: 1 }));
  t.after(() => sender.close());
  // What the first partition has arrives with the request that the second one refuses.
  const sizes = [1000, 12_000, 1000, 60_000, 12_000, 1000, 12_000];
  const messages = sizes.map((size, i) => ({ key: `m${i}`, value: noise(size), partition: size === 1000 ? 0 : 1 }));
  assert.deepEqual(await sender.sendAll(topic, messages, COMPRESSION.none), [3]);
  assert.deepEqual(await sender.sendAll(topic, [{ key: 'last', value: 'x', partition: 0 }], COMPRESSION.none), []);
  assert.deepEqual(await sender.sendAll(topic, [], COMPRESSION.none), []);
  const keys = (partition: number) => new Set(came.filter((one) => one.partition === partition).map(({ key }) => key));
  await until('all have arrived', () => keys(0).has('last') && keys(1).size === 3);
  assert.deepEqual([...keys(0)], ['m0', 'm2', 'm5', 'last']);
  assert.deepEqual([...keys(1)], ['m1', 'm4', 'm6']);
});

test('many messages are several requests, and a large one fits when it is packed', { timeout: 600_000 }, async (t) => {
  const clients = await kafkaClients(
    kafkaSchema.parse({ brokers: [broker], topicPrefix: `s${randomUUID()}.` }),
    pino({ level: 'silent' }),
  );
  const sender = new Sender(() => clients.producer({ idempotent: true, maxInFlightRequests: 1 }));
  t.after(() => sender.close());
  const many = Array.from({ length: 80 }, (_, i) => ({ key: 'k', value: `${i} ${noise(30_000)}` }));
  const large = { key: 'k', value: 'again '.repeat(500_000) };
  const sent = [...many, large, { key: 'k', value: noise(1_500_000) }, { key: 'k', value: 'last' }];
  assert.deepEqual(await sender.sendAll(clients.topic('many'), sent, COMPRESSION.none), [81]);
});

test('a dead letter that its topic does not take goes without its value, or without all that it came with', {
  timeout: 600_000,
}, async (t) => {
  const { clients, came, close } = await smallTopic();
  t.after(close);
  const writer = new TopicWriter();
  t.after(() => writer.close());
  const letter = (key: string, value: string, headers = {}) => ({
    message: { key: Buffer.from(key), value: Buffer.from(value), headers, offset: '7', timestamp: '1', attributes: 0 },
    code: 'invalid_argument',
    reason: `${key} is wrong`,
  });
  const letters = [
    letter('small', 'poison', { from: 'here' }),
    letter('large', noise(60_000), { from: 'there' }),
    letter('odd', 'poison', { noise: noise(60_000) }),
  ];
  await writer.setAside(clients, 'asks', 1, letters, 'small');
  await until('all have arrived', () => came.length === 3);
  const found = (reason: string) => came.find(({ headers }) => headers['switchyard-reason'] === reason);
  const own = {
    'switchyard-error': 'invalid_argument',
    'switchyard-topic': 'asks',
    'switchyard-partition': '1',
    'switchyard-offset': '7',
  };
  const [small, large, odd] = ['small is wrong', 'large is wrong', 'odd is wrong'].map((reason) => {
    const { partition: _, headers = {}, ...rest } = found(reason) ?? {};
    return { ...rest, headers: { ...headers } };
  });
  const why = (text: string) => ({ 'switchyard-reason': text });
  assert.deepEqual(small, {
    key: 'small',
    value: 'poison',
    headers: { from: 'here', ...own, ...why('small is wrong') },
  });
  assert.deepEqual(large, {
    key: 'large',
    value: undefined,
    headers: { from: 'there', ...own, ...why('large is wrong'), 'switchyard-value-bytes': '60000' },
  });
  assert.deepEqual(odd, {
    key: 'null',
    value: undefined,
    headers: { ...own, ...why('odd is wrong'), 'switchyard-value-bytes': '6' },
  });
});
