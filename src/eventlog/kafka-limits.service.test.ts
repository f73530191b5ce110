import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { type KafkaClients, kafkaClients } from '../kafka/client.ts';
import { TopicFollower } from '../kafka/follower.ts';
import { logFigures, total, unaccounted } from '../testing/log-figures.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { seeded } from '../testing/seeded.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

/** Of its own: this one makes no topics. */
const PORT = 19_692;
const broker = async (verb: string): Promise<string> =>
  (
    await promisify(execFile)('.ci/services/kafka.sh', [verb, String(PORT)], {
      env: { ...process.env, KAFKA_AUTO_CREATE: 'false' },
    })
  ).stdout.trim();
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-kafka-limits-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  await broker('stop');
  rmSync(scratch, { recursive: true, force: true });
});

interface Received {
  topic: string;
  id: string;
  payloadRef?: string;
  features: { data: number[] | null }[];
}

async function start(address: string, prefix: string, sink: object): Promise<ServerProcess> {
  const root = scriptRepository(scratch, {
    scale: { versions: { 1: times(10) } },
    other: { versions: { 1: times(2) } },
  });
  const config = join(root, 'scale/config.pbtxt');
  // Wide enough for large payloads.
  writeFileSync(config, readFileSync(config, 'utf8').replace('max_batch_size: 8', 'max_batch_size: 1000000'));
  const file = join(scratch, `${randomUUID()}.yaml`);
  const settings = {
    kafka: { brokers: [address], topicPrefix: prefix },
    eventLog: {
      enabled: true,
      rule: { payloadLimitBytes: 524_288, redact: [{ field: 'outputs.*', action: 'drop' }] },
      sinks: [{ name: 'kafka', kind: 'kafka', batchRecords: 10, ...sink }],
    },
  };
  writeFileSync(file, JSON.stringify(settings));
  const server = await ServerProcess.start(['--config', file, '--model-repository', root]);
  running.add(server);
  return server;
}

async function makeTopics(clients: KafkaClients, ...names: string[]): Promise<void> {
  const admin = clients.admin();
  await admin.connect();
  await admin.createTopics({
    topics: names.map((name) => ({ topic: clients.topic(name), numPartitions: 1 })),
    waitForLeaders: true,
  });
  await admin.disconnect();
}

async function receive(clients: KafkaClients, names: string[]) {
  const received: Received[] = [];
  const consumer = clients.consumer(`limits-${randomUUID()}`);
  await consumer.connect();
  await consumer.subscribe({ topics: names.map(clients.topic), fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ topic, message }) => {
      received.push({ topic, ...(JSON.parse(String(message.value)) as Omit<Received, 'topic'>) });
    },
  });
  return { received, close: () => consumer.disconnect() };
}

test('no record is too large, and a topic that is not there holds no other up', { timeout: 600_000 }, async (t) => {
  const address = await broker('start');
  const prefix = `limits-${randomUUID().slice(0, 8)}.`;
  const clients = await kafkaClients(
    kafkaSchema.parse({ brokers: [address], topicPrefix: prefix }),
    pino({ level: 'silent' }),
  );
  await makeTopics(clients, 'scale.inference');
  const { received, close } = await receive(clients, ['scale.inference']);
  t.after(close);
  const server = await start(address, prefix, { compression: 'none' });
  const random = seeded(8);
  // As JSON each of the first fits into a message, but no two of them do; the last one does not by itself.
  const sizes = [60_000, 60_000, 60_000, 130_000];
  for (const size of sizes) {
    const data = Array.from({ length: size }, () => Math.fround(random() - 0.5));
    const answer = await infer(server, 'scale', [{ name: 'x', shape: [size, 1], datatype: 'FP32', data }]);
    assert.equal(answer.status, 200);
  }
  await until('all have arrived', () => received.length >= sizes.length);
  assert.deepEqual(
    received.map(({ features: [{ data }], payloadRef }) => data?.length ?? payloadRef?.slice(0, 7)),
    [60_000, 60_000, 60_000, 'sha256:'],
  );
  const [, hex] = (received[3].payloadRef as string).split(':');
  const kept = join(server.dataDir, 'eventlog/payloads/sha256', hex.slice(0, 2), hex);
  assert.ok(existsSync(kept), 'the payload is kept');
  assert.equal(readFileSync(kept).subarray(0, 3).toString(), 'Obj');

  // Its topic is not there, and the broker makes none.
  for (let i = 0; i < 5; i++) {
    assert.equal((await infer(server, 'other', x(i))).status, 200);
    assert.equal((await infer(server, 'scale', x(i))).status, 200);
  }
  await until('the other records go on', () => received.length >= sizes.length + 5);
  const told = () => server.log.filter(({ msg }) => String(msg).startsWith('a topic is not there'));
  assert.deepEqual(
    told().map(({ topic }) => topic),
    [`${prefix}other.inference`],
  );
  const figures = await logFigures(server);
  assert.ok(total(figures, 'sink_backlog_records') >= 5, 'what waits is counted');
  assert.deepEqual(new Set(Object.values(unaccounted(figures))), new Set([0]));

  await makeTopics(clients, 'other.inference');
  const late = await receive(clients, ['other.inference']);
  t.after(late.close);
  await until('they arrive when it has been made', () => late.received.length >= 5);
  await until('nothing waits', async () => total(await logFigures(server), 'sink_backlog_records') === 0);
  const end = await logFigures(server);
  assert.equal(total(end, 'sink_refused_total'), 0);
  assert.equal(total(end, 'sink_lost_total'), 0);
  assert.deepEqual(new Set(Object.values(unaccounted(end))), new Set([0]));
  assert.equal(new Set(received.map(({ id }) => id)).size, sizes.length + 5);
  assert.equal(told().length, 1, 'told once');
});

test('a topic that is not there keeps a follower from no other, and is read when it has been made', {
  timeout: 600_000,
}, async (t) => {
  const address = await broker('start');
  const id = randomUUID().slice(0, 8);
  const kafka = kafkaSchema.parse({ brokers: [address], clientId: id, topicPrefix: `follow-${id}.` });
  const told: { topics: string[] }[] = [];
  const write = (line: string) => {
    if (line.includes('Kafka has no topic')) told.push(JSON.parse(line));
  };
  const log = pino({ level: 'warn' }, { write });
  const clients = await kafkaClients(kafka, pino({ level: 'silent' }));
  const seen: string[] = [];
  const follower = new TopicFollower({
    kafka,
    group: 'rewards',
    log,
    trouble: 'rewards cannot be read',
    async take({ topic, messages }) {
      for (const { value } of messages) seen.push(`${topic} ${value}`);
    },
  });
  t.after(() => follower.close());
  const producer = clients.producer();
  t.after(() => producer.disconnect());
  await producer.connect();
  const send = (topic: string, value: string) => producer.send({ topic: clients.topic(topic), messages: [{ value }] });
  const reads = (record: string) => until(`${record} is read`, async () => seen.includes(record));
  follower.follow(['first', 'second', 'third']);
  await until('all are told to be missing', async () => told.length === 1);
  await makeTopics(clients, 'second');
  await send('second', 'a');
  await reads('second a');
  assert.match(follower.problem, /Kafka has no topic "first", "third", or does not show it/);
  await makeTopics(clients, 'first');
  await send('first', 'b');
  await reads('first b');
  await send('second', 'c');
  await reads('second c');
  assert.match(follower.problem, /Kafka has no topic "third"/);
  assert.deepEqual(
    told.map(({ topics }) => topics),
    [['first', 'second', 'third']],
    'each is told once',
  );
  // One that is deleted holds the others up as little.
  const admin = clients.admin();
  await admin.connect();
  await admin.deleteTopics({ topics: [clients.topic('first')] });
  await admin.disconnect();
  await until('it is missed', async () => follower.problem.includes('"first", "third"'));
  await send('second', 'd');
  await reads('second d');
});
