import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { kafkaSchema } from '../../config/kafka-schema.ts';
import { type KafkaClients, kafkaClients } from '../../kafka/client.ts';
import { deadLetterTopic } from '../../kafka/dead-letters.ts';
import { document, featureSet } from '../../testing/features.ts';
import { service } from '../../testing/kafka-consumer.ts';
import { until } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';
import { FeatureTopics } from './topics.ts';
import { WindowTopics } from './window-topics.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-feature-topics-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

const TOPIC = 'scores';
const IDS = Array.from({ length: 12 }, (_, i) => i);
const START = Date.parse('2026-01-01T00:00:00Z');
const DAY = 24 * 3600 * 1000;

const view = (name: string) =>
  document('FeatureView', name, {
    entities: ['customer'],
    features: [{ name: 'score', type: 'float64' }],
    source: { kafka: { topic: TOPIC } },
  });

function start(name: string, topicPrefix: string): Promise<ServerProcess> {
  const documents = [document('Entity', 'customer', { joinKey: 'customer_id' }), view('scores')];
  writeFileSync(join(scratch, 'features.yaml'), documents.map((each) => JSON.stringify(each)).join('\n---\n'));
  const settings = {
    features: { files: ['features.yaml'] },
    threads: { gateways: 1, executors: 1 },
    kafka: { brokers: [broker], topicPrefix, clientId: topicPrefix },
  };
  const file = join(scratch, `${name}.yaml`);
  writeFileSync(file, JSON.stringify(settings));
  return ServerProcess.start(['--config', file, '--no-supervise'], { dataDir: join(scratch, name) }).then((server) => {
    running.add(server);
    return server;
  });
}

async function stop(server: ServerProcess): Promise<void> {
  await server.stop();
  running.delete(server);
}

async function post(url: string, body: object): Promise<Record<string, unknown>> {
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()) as Record<string, unknown>;
}

async function online(server: ServerProcess, of = 'scores'): Promise<unknown[]> {
  const body = { features: [`${of}:score`], entities: { customer_id: IDS } };
  const { results } = await post(server.url('/get-online-features'), body);
  return (results as { values: unknown[] }[])[1].values;
}

async function training(server: ServerProcess, at: number): Promise<unknown[]> {
  const entities = { customer_id: IDS, event_timestamp: IDS.map(() => at) };
  const { columns } = await post(`http://127.0.0.1:${server.ports.admin}/api/v1/features/historical`, {
    features: ['scores:score'],
    entities,
  });
  return (columns as { score: unknown[] }).score;
}

/** A row of each customer. */
async function send(clients: KafkaClients, time: number, score: (id: number) => number): Promise<void> {
  const producer = clients.producer();
  await producer.connect();
  await producer.send({
    topic: clients.topic(TOPIC),
    messages: IDS.map((id) => ({
      partition: id % 3,
      value: JSON.stringify({ customer_id: id, event_timestamp: time, score: score(id) }),
    })),
  });
  await producer.disconnect();
}

test('rows of a topic are served by every server and after every start, and are there for training', {
  timeout: 600_000,
}, async () => {
  const prefix = `feature-topics-${randomUUID().slice(0, 8)}.`;
  const clients = await kafkaClients(
    kafkaSchema.parse({ brokers: [broker], topicPrefix: prefix }),
    pino({ level: 'silent' }),
  );
  const admin = clients.admin();
  await admin.connect();
  await admin.createTopics({
    topics: [TOPIC, `${TOPIC}.dead-letters`].map((name) => ({ topic: clients.topic(name), numPartitions: 3 })),
    waitForLeaders: true,
  });
  await admin.disconnect();
  await send(clients, START, (id) => id);
  await send(clients, START + DAY, (id) => id + 0.5);
  const [old, fresh] = [IDS.map((id) => id), IDS.map((id) => id + 0.5)];
  const serves = (server: ServerProcess, wanted: readonly number[], of?: string) =>
    until('all rows are served', async () => JSON.stringify(await online(server, of)) === JSON.stringify(wanted));

  const first = await start('first', prefix);
  await serves(first, fresh);
  const second = await start('second', prefix);
  await serves(second, fresh);
  await send(clients, START + 2 * DAY, (id) => 100 - id);
  const newest = IDS.map((id) => 100 - id);
  await serves(first, newest);
  await serves(second, newest);

  await stop(first);
  const again = await start('first', prefix);
  await serves(again, newest);

  assert.deepEqual(await training(again, START + 3600_000), old);
  assert.deepEqual(await training(again, START + DAY + 3600_000), fresh);
  const results = await post(`http://127.0.0.1:${again.ports.admin}/api/v1/features/materialize`, {
    views: ['scores'],
    from: new Date(START).toISOString(),
    until: new Date(START + 3 * DAY).toISOString(),
  });
  const [{ rows, kept, rejected }] = results.views as { rows: number; kept: number; rejected: number }[];
  assert.deepEqual({ rows, kept, rejected }, { rows: 36, kept: 12, rejected: 0 });

  // Records without a value delete, in whichever way their key is written; what comes late does not bring back.
  const producer = clients.producer();
  await producer.connect();
  const at = Date.now();
  const gone = (key: string, partition: number) => ({ key, value: null, partition, timestamp: String(at) });
  await producer.send({
    topic: clients.topic(TOPIC),
    messages: [gone('0', 0), gone('{"customer_id": 1}', 1), gone('[2]', 2), gone('nobody', 0)],
  });
  await send(clients, START + 3600_000, () => 7);
  await producer.disconnect();
  const left = newest.map((score, id) => (id < 3 ? null : score));
  const metrics = async () => (await fetch(`http://127.0.0.1:${again.ports.metrics}/metrics`)).text();
  const counted = (result: string, count: number) =>
    until(`${count} ${result}`, async () =>
      (await metrics()).includes(`feature_topic_records_total{view="scores",result="${result}"} ${count}\n`),
    );
  await counted('tombstone', 3);
  await counted('dead_letter', 1);
  for (const server of [second, again])
    await until('deleted ones are gone', async () => JSON.stringify(await online(server)) === JSON.stringify(left));
  assert.deepEqual(await training(again, at - 1000), newest, 'they were there before');
  assert.deepEqual(await training(again, at + 1000), left);

  // A view that comes later reads what the topic has held since the beginning, too.
  await post(`http://127.0.0.1:${again.ports.admin}/api/v1/features`, { documents: [view('late_scores')] });
  const late = async () => JSON.stringify(await online(again, 'late_scores')) === JSON.stringify(left);
  await until('the later view has what is left', late);
});

test('poison is set aside once, however often its batch comes again', { timeout: 600_000 }, async (t) => {
  const prefix = `poison-${randomUUID().slice(0, 8)}.`;
  const log = pino({ level: 'silent' });
  const kafka = kafkaSchema.parse({ brokers: [broker], topicPrefix: prefix, clientId: prefix });
  const clients = await kafkaClients(kafka, log);
  const letters = deadLetterTopic(TOPIC);
  const windowed = document('FeatureView', 'counts', {
    entities: ['customer'],
    features: [{ name: 'events', type: 'int64', aggregate: { of: 'count', window: '1h' } }],
    source: { kafka: { topic: 'events' } },
  });
  const set = featureSet([document('Entity', 'customer', { joinKey: 'customer_id' }), view('scores'), windowed]);
  const names = [TOPIC, 'events', letters, deadLetterTopic('events')];
  const admin = clients.admin();
  await admin.connect();
  await admin.createTopics({
    topics: names.map((name) => ({ topic: clients.topic(name), numPartitions: 1 })),
    waitForLeaders: true,
  });
  t.after(() => admin.disconnect());
  let [puts, ingests] = [0, 0];
  // The store is away for the first two.
  const parts = { kafka, log, counts: new Map(), kept: true, set: () => set };
  const away = new Error('the online store is away');
  const rows = new FeatureTopics({
    ...parts,
    put: async (_tenant, _view, { length }) => (++puts <= 2 ? Promise.reject(away) : length),
  });
  const windows = new WindowTopics({
    ...parts,
    ingest: async (_tenant, _view, { length }) =>
      ++ingests <= 2 ? Promise.reject(away) : { kept: length, late: 0, duplicate: 0 },
  });
  t.after(() => Promise.all([rows.close(), windows.close()]));
  const producer = clients.producer();
  await producer.connect();
  const now = Date.now();
  const good = JSON.stringify({ customer_id: 1, event_timestamp: now, score: 1 });
  for (const topic of [TOPIC, 'events'])
    await producer.send({ topic: clients.topic(topic), messages: [{ value: 'poison' }, { value: good }] });
  await producer.disconnect();
  rows.follow();
  windows.follow();
  const kept = (name: string) => parts.counts.get(name)?.get('kept') === 1;
  await until('both were kept in the end', async () => kept('scores') && kept('counts'));
  for (const topic of [letters, deadLetterTopic('events')]) {
    const [{ high }] = await admin.fetchTopicOffsets(clients.topic(topic));
    assert.equal(high, '1', topic);
  }
});
