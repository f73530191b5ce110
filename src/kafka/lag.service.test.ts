import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { service } from '../testing/kafka-consumer.ts';
import { until } from '../testing/script-models.ts';
import { kafkaClients } from './client.ts';
import { TopicFollower } from './follower.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');

test('a group that does not get on is seen to fall behind, and to have caught up', { timeout: 600_000 }, async (t) => {
  const name = `lag-${randomUUID().slice(0, 8)}`;
  const kafka = kafkaSchema.parse({ brokers: [broker], clientId: name, topicPrefix: `${name}.` });
  const log = pino({ level: 'silent' });
  const clients = await kafkaClients(kafka, log);
  const admin = clients.admin();
  await admin.connect();
  t.after(() => admin.disconnect());
  const topic = clients.topic('t');
  await admin.createTopics({ topics: [{ topic, numPartitions: 2 }], waitForLeaders: true });
  const producer = clients.producer();
  await producer.connect();
  t.after(() => producer.disconnect());
  const send = (partition: number, count: number) =>
    producer.send({ topic, messages: Array.from({ length: count }, () => ({ partition, value: 'x' })) });
  let open = (): void => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const follower = new TopicFollower({ kafka, group: 'g', log, trouble: 'no records', take: () => gate });
  t.after(() => follower.close());
  follower.follow(['t']);
  const lags = () =>
    follower
      .lags()
      .sort((a, b) => a.partition - b.partition)
      .map(({ group, topic: of, partition, records }) => [group, of, partition, records]);
  const are = (first: number, second: number) => {
    const group = `${name}.g`;
    const wanted = JSON.stringify([
      [group, topic, 0, first],
      [group, topic, 1, second],
    ]);
    return until(`lags are ${first} and ${second}`, () => JSON.stringify(lags()) === wanted);
  };
  await are(0, 0);
  await send(0, 10);
  await are(10, 0);
  // Nothing of either is taken meanwhile.
  await send(0, 5);
  await send(1, 3);
  await are(15, 3);
  open();
  await are(0, 0);
  await follower.close();
  assert.deepEqual(follower.lags(), [], 'it reads no partition any more');
});
