import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { consumeIds, service } from '../testing/kafka-consumer.ts';
import { until } from '../testing/script-models.ts';
import { kafkaClients } from './client.ts';
import { COMPRESSION } from './compression/pack.ts';
import { TopicFollower } from './follower.ts';

const PRODUCE = fileURLToPath(new URL('../../.ci/clients/kafka/produce.py', import.meta.url));

test('what is produced is consumed, under the prefix, and nothing is printed', { timeout: 600_000 }, async (t) => {
  const { SWITCHYARD_TEST_KAFKA_URL: broker } = process.env;
  assert.ok(broker, 'SWITCHYARD_TEST_KAFKA_URL names a broker; see .ci/services/kafka.sh');
  const printed: string[] = [];
  for (const name of ['log', 'warn', 'error'] as const)
    t.mock.method(console, name, (...parts: unknown[]) => void printed.push(parts.join(' ')));
  const config = kafkaSchema.parse({ brokers: [broker], topicPrefix: `t${randomUUID()}.` });
  const kafka = await kafkaClients(config, pino({ level: 'silent' }));
  const admin = kafka.admin();
  t.after(() => admin.disconnect());
  await admin.connect();
  const topic = kafka.topic('numbers');
  assert.equal(topic, `${config.topicPrefix}numbers`);
  await admin.createTopics({ topics: [{ topic, numPartitions: 2 }], waitForLeaders: true });
  const producer = kafka.producer({ idempotent: true });
  t.after(() => producer.disconnect());
  await producer.connect();
  await producer.send({
    topic,
    messages: [
      { key: 'a', value: '1' },
      { key: 'b', value: '2' },
    ],
  });
  const consumer = kafka.consumer(randomUUID());
  const seen: string[] = [];
  t.after(() => consumer.disconnect());
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({ eachMessage: async ({ message }) => void seen.push(String(message.value)) });
  await until('both were consumed', async () => seen.length === 2);
  assert.deepEqual(seen.sort(), ['1', '2']);
  await admin.deleteTopics({ topics: [topic] });
  assert.deepEqual(printed, []);
});

test('batches that librdkafka has packed are read, whichever way', { timeout: 600_000 }, async (t) => {
  const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
  const python = service('SWITCHYARD_TEST_KAFKA_PYTHON', '.ci/clients/kafka/setup.sh');
  const kafka = kafkaSchema.parse({
    brokers: [broker],
    clientId: `c${randomUUID()}`,
    topicPrefix: `t${randomUUID()}.`,
  });
  const log = pino({ level: 'silent' });
  const seen = new Map<string, string[]>();
  const follower = new TopicFollower({
    kafka,
    group: 'packed',
    log,
    trouble: 'packed records cannot be read',
    async take({ topic, messages }) {
      seen.set(topic, [...(seen.get(topic) ?? []), ...messages.map(({ value }) => String(value))]);
    },
  });
  t.after(() => follower.close());
  const ways = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
  const admin = (await kafkaClients(kafka, log)).admin();
  await admin.connect();
  await admin.createTopics({
    topics: ways.map((topic) => ({ topic: kafka.topicPrefix + topic, numPartitions: 1 })),
    waitForLeaders: true,
  });
  await admin.disconnect();
  const lines = Array.from({ length: 500 }, (_, i) =>
    JSON.stringify({ i, words: 'the same words, again and again, ä' }),
  );
  for (const way of ways) {
    const written = promisify(execFile)(python, [PRODUCE, broker, kafka.topicPrefix + way, way]);
    written.child.stdin?.end(lines.map((line) => `${line}\n`).join(''));
    await written;
  }
  follower.follow(ways);
  const all = async () => ways.every((way) => (seen.get(way)?.length ?? 0) >= lines.length);
  await until('all are read', all);
  for (const way of ways) assert.deepEqual(seen.get(way), lines, way);
});

test('batches are packed in every way that librdkafka unpacks', { timeout: 600_000 }, async (t) => {
  const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
  const kafka = kafkaSchema.parse({ brokers: [broker], topicPrefix: `p${randomUUID()}.` });
  const clients = await kafkaClients(kafka, pino({ level: 'silent' }));
  const producer = clients.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  t.after(() => producer.disconnect());
  // More than the blocks of any of them.
  const ids = Array.from({ length: 3000 }, (_, i) => `${i}-${randomUUID()}`);
  const messages = () =>
    ids.map((id) => ({ key: 'k', value: JSON.stringify({ id, words: 'again and again, ä' }), headers: { id } }));
  for (const [name, compression] of Object.entries(COMPRESSION)) {
    const topic = clients.topic(name);
    await producer.send({ topic, compression, messages: messages() });
    assert.deepEqual(await consumeIds(broker, [topic]), ids, name);
  }
});
