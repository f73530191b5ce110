import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { until } from '../testing/script-models.ts';
import { kafkaClients } from './client.ts';

test('what is produced is consumed, under the prefix, and nothing is printed', { timeout: 90_000 }, async (t) => {
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
  await until('both were consumed', async () => seen.length === 2, 30_000);
  assert.deepEqual(seen.sort(), ['1', '2']);
  await admin.deleteTopics({ topics: [topic] });
  assert.deepEqual(printed, []);
});
