import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { kafkaClients } from '../kafka/client.ts';
import { service } from '../testing/kafka-consumer.ts';
import { scriptRepository, sleeps, until, x } from '../testing/script-models.ts';
import { ServerProcess } from '../testing/server-process.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-stop-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const REQUESTS = 300;

test('a server that stops in the middle of a batch leaves the rest of it to the next one', {
  timeout: 600_000,
}, async (t) => {
  const prefix = `stop-${randomUUID().slice(0, 8)}.`;
  const settings = { brokers: [broker], topicPrefix: prefix, clientId: prefix };
  const clients = await kafkaClients(kafkaSchema.parse(settings), pino({ level: 'silent' }));
  const admin = clients.admin();
  await admin.connect();
  t.after(() => admin.disconnect());
  const topics = ['asks', 'answers'].map((name) => ({ topic: clients.topic(name), numPartitions: 1 }));
  await admin.createTopics({ topics, waitForLeaders: true });
  const producer = clients.producer();
  await producer.connect();
  t.after(() => producer.disconnect());
  const messages = Array.from({ length: REQUESTS }, (_, i) => ({
    value: JSON.stringify({ id: `r${i}`, inputs: x(i) }),
  }));
  await producer.send({ topic: clients.topic('asks'), messages: [...messages, { key: 'gone', value: null }] });

  const answered: string[] = [];
  const consumer = clients.consumer(`reader-${randomUUID()}`);
  await consumer.connect();
  t.after(() => consumer.disconnect());
  await consumer.subscribe({ topic: clients.topic('answers'), fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => void answered.push((JSON.parse(String(message.value)) as { id: string }).id),
  });

  const repository = scriptRepository(scratch, { slow: { versions: { 1: sleeps(20) } } });
  const file = join(scratch, 'switchyard.yaml');
  const inference = [{ requests: 'asks', results: 'answers', model: 'slow', inFlight: 4 }];
  const models = { repositories: [repository] };
  const threads = { gateways: 1, executors: 1 };
  writeFileSync(file, JSON.stringify({ models, threads, kafka: { ...settings, inference } }));
  const start = () => ServerProcess.start(['--config', file, '--no-supervise']);
  const first = await start();
  await until('some are answered', () => answered.length >= 20);
  await first.stop();
  const before = answered.length;
  assert.ok(before < REQUESTS, 'it has stopped in the middle');
  const second = await start();
  t.after(() => second.stop());
  await until('all are answered', () => new Set(answered).size === REQUESTS);
  const metrics = async () => (await fetch(`http://127.0.0.1:${second.ports.metrics}/metrics`)).text();
  const tombstone = 'switchyard_topic_requests_total{topic="asks",result="tombstone"} 1\n';
  await until('the record without a value is counted', async () => (await metrics()).includes(tombstone));
});
