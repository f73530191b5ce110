import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import type { KafkaMessage } from 'kafkajs';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { type KafkaClients, kafkaClients } from '../kafka/client.ts';
import { document } from '../testing/features.ts';
import { scriptRepository, times, until } from '../testing/script-models.ts';
import { ServerProcess } from '../testing/server-process.ts';

/** A broker of this test's own, since it is killed and started again. */
const PORT = 19_492;
const KAFKA = '.ci/services/kafka.sh';
const broker = async (verb: string): Promise<string> =>
  (await promisify(execFile)(KAFKA, [verb, String(PORT)])).stdout.trim();
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-topics-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  await broker('stop');
  rmSync(scratch, { recursive: true, force: true });
});

const JOIN = '{entities: {driver_id: driver}, inputs: {x: [driver_stats:rate]}}';
const repository = scriptRepository(scratch, {
  joined: {
    versions: { 1: times(10) },
    config: `parameters { key: "switchyard.features" value { string_value: "${JOIN}" } }\n`,
  },
});
const DOCUMENTS = [
  document('Entity', 'driver', { joinKey: 'driver_id' }),
  document('FeatureView', 'driver_stats', {
    entities: ['driver'],
    features: [{ name: 'rate', type: 'float32', default: -1 }],
    source: { kafka: { topic: 'drivers' } },
  }),
];

function start(address: string): Promise<ServerProcess> {
  const file = join(scratch, 'switchyard.yaml');
  writeFileSync(join(scratch, 'features.yaml'), DOCUMENTS.map((each) => JSON.stringify(each)).join('\n---\n'));
  const settings = {
    models: { repositories: [repository] },
    features: { files: ['features.yaml'] },
    threads: { gateways: 1, executors: 1 },
    eventLog: { enabled: true },
    kafka: {
      brokers: [address],
      topicPrefix: 'test.',
      inference: [{ requests: 'asks', results: 'answers', model: 'joined', inFlight: 16 }],
      labels: 'labels',
    },
  };
  writeFileSync(file, JSON.stringify(settings));
  return ServerProcess.start(['--config', file, '--no-supervise']).then((server) => {
    running.add(server);
    return server;
  });
}

/** Everything that comes on a topic, from its beginning. */
async function collect(
  clients: KafkaClients,
  topic: string,
): Promise<{ messages: KafkaMessage[]; close(): Promise<void> }> {
  const consumer = clients.consumer(`test.${randomUUID()}`);
  const messages: KafkaMessage[] = [];
  await consumer.connect();
  await consumer.subscribe({ topic: clients.topic(topic), fromBeginning: true });
  await consumer.run({ eachMessage: async ({ message }) => void messages.push(message) });
  return { messages, close: () => consumer.disconnect() };
}

const ask = (driver: number, id: string) =>
  JSON.stringify({ id, inputs: [{ name: 'driver', shape: [1, 1], datatype: 'INT64', data: [driver] }] });

async function metric(server: ServerProcess, line: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  const found = text.split('\n').find((each) => each.startsWith(`${line} `));
  return Number(found?.split(' ')[1] ?? 0);
}

test('features, requests and labels come from topics, through a killed broker and moving partitions', {
  timeout: 600_000,
}, async (t) => {
  const address = await broker('start');
  const clients = await kafkaClients(
    kafkaSchema.parse({ brokers: [address], topicPrefix: 'test.' }),
    pino({ level: 'silent' }),
  );
  const admin = clients.admin();
  await admin.connect();
  const topics = ['drivers', 'drivers.dead-letters', 'asks', 'asks.dead-letters', 'answers', 'labels'];
  await admin.createTopics({
    topics: topics.map((name) => ({ topic: clients.topic(name), numPartitions: 3 })),
    waitForLeaders: true,
  });
  await admin.disconnect();
  const producer = clients.producer();
  await producer.connect();
  const send = (topic: string, messages: { key?: string; value: string | null }[]) =>
    producer.send({ topic: clients.topic(topic), messages });
  const answers = await collect(clients, 'answers');
  const letters = await collect(clients, 'asks.dead-letters');
  const poisoned = await collect(clients, 'drivers.dead-letters');
  t.after(() => Promise.all([producer.disconnect(), answers.close(), letters.close(), poisoned.close()]));

  const server = await start(address);
  const now = Date.now();
  const row = (driver: number, time: number, rate: unknown) => ({
    key: String(driver),
    value: JSON.stringify({ driver_id: driver, event_timestamp: time, rate }),
  });
  await send('drivers', [
    row(1, now, 0.5),
    row(2, now, 0.25),
    row(1, now - 5, 9),
    row(3, now, 'fast'),
    { value: 'no JSON' },
    { value: null },
  ]);
  await until(
    'rows are online',
    async () =>
      (await metric(server, 'switchyard_feature_topic_records_total{view="driver_stats",result="kept"}')) === 2,
  );
  await until('poison is set aside', async () => poisoned.messages.length === 3);
  const reason = (message: KafkaMessage, name: string) => String(message.headers?.[name]);
  assert.deepEqual(
    poisoned.messages.map((message) => reason(message, 'switchyard-reason').replace(/:? .*/, '')).sort(),
    ['rate', 'the', 'the'],
  );
  assert.deepEqual(
    new Set(poisoned.messages.map((message) => reason(message, 'switchyard-topic'))),
    new Set(['drivers']),
  );

  // In order by key, each key its own partition's; poison between.
  const asks = Array.from({ length: 60 }, (_, i) => ({ key: `k${i % 3}`, value: ask(1 + (i % 3), `first-${i}`) }));
  await send('asks', [
    ...asks.slice(0, 30),
    { key: 'k1', value: '{"inputs": ' },
    { key: 'k2', value: '{"inputs": []}' },
    { value: '' },
    ...asks.slice(30),
  ]);
  const ids = () => answers.messages.map((message) => (JSON.parse(String(message.value)) as { id: string }).id);
  await until('all are answered', async () => new Set(ids()).size === 60);
  await until('poison is set aside', async () => letters.messages.length === 3);
  for (const key of ['k0', 'k1', 'k2']) {
    const own = answers.messages.filter((message) => String(message.key) === key);
    const numbers = own.map((message) => Number((JSON.parse(String(message.value)) as { id: string }).id.slice(6)));
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => a - b),
      `the order of ${key}`,
    );
  }
  const values = new Map(
    answers.messages.map(({ value }) => {
      const { id, outputs } = JSON.parse(String(value)) as { id: string; outputs: { data: number[] }[] };
      return [id, outputs[0].data[0]];
    }),
  );
  assert.deepEqual(
    [0, 1, 2].map((i) => values.get(`first-${i}`)),
    [5, 2.5, -10],
  );
  assert.ok(
    letters.messages.every((message) => reason(message, 'switchyard-error') === 'invalid_argument'),
    'codes of dead letters',
  );

  await broker('kill');
  await broker('start');
  const again = Array.from({ length: 30 }, (_, i) => ({ key: `k${i % 3}`, value: ask(1, `again-${i}`) }));
  await until('the producer is back', () =>
    send('asks', again).then(
      () => true,
      () => false,
    ),
  );
  await until(
    'all are answered after the broker came back',
    async () => ids().filter((id) => id.startsWith('again')).length >= 30,
  );

  // A second server takes partitions over, then the first one goes.
  const other = await start(address);
  const moved = Array.from({ length: 60 }, (_, i) => ({ key: `k${i % 3}`, value: ask(2, `moved-${i}`) }));
  await send('asks', moved.slice(0, 30));
  await server.stop();
  running.delete(server);
  await send('asks', moved.slice(30));
  await until(
    'all are answered by whoever is there',
    async () => new Set(ids().filter((id) => id.startsWith('moved'))).size === 60,
  );

  await send('labels', [
    { value: JSON.stringify({ id: 'some-id', label: 'good', model: 'joined' }) },
    { value: 'no JSON' },
  ]);
  await until(
    'the label is taken',
    async () => (await metric(other, 'switchyard_topic_labels_total{result="taken"}')) === 1,
  );
  await until(
    'the other record is set aside',
    async () => (await metric(other, 'switchyard_topic_labels_total{result="dead_letter"}')) === 1,
  );
});
