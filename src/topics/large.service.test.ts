import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { KafkaMessage } from 'kafkajs';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { kafkaClients } from '../kafka/client.ts';
import { service } from '../testing/kafka-consumer.ts';
import { scriptRepository, until, x } from '../testing/script-models.ts';
import { seeded } from '../testing/seeded.ts';
import { ServerProcess } from '../testing/server-process.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-large-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** A model that answers with as many numbers as it is asked for, which gzip makes little of. */
const NUMBERS = `export const execute = ({ x }) => {
  const count = Math.max(...x.data);
  const data = Float32Array.from({ length: x.shape[0] * count }, Math.random);
  return { y: { datatype: 'FP32', shape: [x.shape[0], count], data } };
};
`;
/** About a float's JSON. */
const FLOAT_BYTES = 11;
const floats = (bytes: number) => Math.round(bytes / FLOAT_BYTES);

test('many large answers, one that no record takes, and a megabyte of poison: each is done once', {
  timeout: 600_000,
}, async (t) => {
  const prefix = `large-${randomUUID().slice(0, 8)}.`;
  const kafka = { brokers: [broker], topicPrefix: prefix, clientId: prefix };
  const clients = await kafkaClients(kafkaSchema.parse(kafka), pino({ level: 'silent' }));
  const admin = clients.admin();
  await admin.connect();
  t.after(() => admin.disconnect());
  const topics = ['asks', 'answers', 'asks.dead-letters'];
  await admin.createTopics({
    topics: topics.map((name) => ({ topic: clients.topic(name), numPartitions: 1 })),
    waitForLeaders: true,
  });
  const producer = clients.producer();
  await producer.connect();
  t.after(() => producer.disconnect());
  const random = seeded(8);
  const poison = (bytes: number) => `no JSON ${Array.from({ length: bytes / 8 }, () => random().toFixed(6)).join('')}`;
  const ask = (id: string, bytes: number) => JSON.stringify({ id, inputs: x(floats(bytes)) });
  const asks = Array.from({ length: 64 }, (_, i) => ask(`many-${i}`, 20_000));
  const values = [...asks, ask('one', 5_000_000), ...Array.from({ length: 10 }, () => poison(160_000)), ask('last', 1)];
  for (const value of values) await producer.send({ topic: clients.topic('asks'), messages: [{ value }] });

  const came = new Map<string, KafkaMessage[]>(topics.map((name) => [clients.topic(name), []]));
  const consumer = clients.consumer(`reader-${randomUUID()}`);
  await consumer.connect();
  t.after(() => consumer.disconnect());
  await consumer.subscribe({ topics: topics.slice(1).map((name) => clients.topic(name)), fromBeginning: true });
  await consumer.run({ eachMessage: async ({ topic, message }) => void came.get(topic)?.push(message) });

  // Each request by itself: they ask for different numbers.
  const config = 'parameters { key: "switchyard.preflight" value { string_value: "off" } }\n';
  const repository = scriptRepository(scratch, { numbers: { versions: { 1: NUMBERS }, config } });
  const pbtxt = join(repository, 'numbers/config.pbtxt');
  writeFileSync(
    pbtxt,
    `backend: "javascript"\nmax_batch_size: 0\ninput [{name: "x" data_type: TYPE_FP32 dims: [1, 1]}]\noutput [{name: "y" data_type: TYPE_FP32 dims: [1, -1]}]\n${config}`,
  );
  const file = join(scratch, 'switchyard.yaml');
  const settings = {
    models: { repositories: [repository] },
    threads: { gateways: 1, executors: 1 },
    kafka: { ...kafka, inference: [{ requests: 'asks', results: 'answers', model: 'numbers' }] },
  };
  writeFileSync(file, JSON.stringify(settings));
  const server = await ServerProcess.start(['--config', file, '--no-supervise']);
  t.after(() => server.stop());
  const answers = came.get(clients.topic('answers')) ?? [];
  const letters = came.get(clients.topic('asks.dead-letters')) ?? [];
  const ids = () => answers.map(({ value }) => (JSON.parse(String(value)) as { id: string }).id);
  await until('all that can be are answered', () => ids().includes('last') && letters.length >= 11);
  assert.deepEqual(ids(), [...asks.map((_, i) => `many-${i}`), 'last']);
  const told = letters.map(({ value, headers }) => [String(headers?.['switchyard-error']), String(value)]);
  const [large, ...others] = told.toSorted(([a], [b]) => b.localeCompare(a));
  assert.deepEqual(large, ['payload_too_large', values[64]]);
  assert.deepEqual(
    others.map(([code, value]) => [code, value]),
    values.slice(65, 75).map((value) => ['invalid_argument', value]),
  );
  const reasons = letters.map(({ headers }) => String(headers?.['switchyard-reason']));
  const answer = /^the answer has \d+ bytes, more than the topic answers takes; raise its max\.message\.bytes/;
  assert.equal(reasons.filter((reason) => answer.test(reason)).length, 1, reasons.join('\n'));
});
