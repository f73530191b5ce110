import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { KafkaMessage } from 'kafkajs';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { kafkaClients } from '../kafka/client.ts';
import { service } from '../testing/kafka-consumer.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { ServerProcess } from '../testing/server-process.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const registry = service('SWITCHYARD_TEST_SCHEMA_REGISTRY_URL', '.ci/services/schema-registry.sh');
const python = service('SWITCHYARD_TEST_KAFKA_PYTHON', '.ci/clients/kafka/setup.sh');
const PRODUCE = fileURLToPath(new URL('../../.ci/clients/kafka/produce_avro.py', import.meta.url));
/** As a producer would declare it that has no use for all of it. */
const EVENT = {
  ...{ type: 'record', name: 'Event' },
  fields: [
    { name: 'id', type: 'string' },
    { name: 'reward', type: ['null', 'double'], default: null },
    { name: 'label', type: ['null', 'string', 'double'], default: null },
    { name: 'model', type: ['null', 'string'], default: null },
  ],
};
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-feedback-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

const ROUTE = `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {one: {model: m, version: "1"}, two: {model: m, version: "2"}}
  strategy: {bandit: {policy: thompsonBeta, arms: [one, two], floor: 0.3, reward: {wait: 60s, topic: rewards}}}
`;
const prefix = `feedback-${randomUUID().slice(0, 8)}.`;
const dataDir = join(scratch, 'data');
async function sendAvro(topic: string, ...events: object[]): Promise<void> {
  const written = promisify(execFile)(python, [PRODUCE, broker, registry, prefix + topic, JSON.stringify(EVENT)]);
  written.child.stdin?.end(events.map((event) => `${JSON.stringify(event)}\n`).join(''));
  await written;
}

/** A spool with no room to speak of, and nobody who takes records out of it. */
const FULL = {
  enabled: true,
  spool: { maxBytes: 1 << 20, segmentBytes: 1 << 20, whenFull: 'drop-new' },
  sinks: [{ name: 'files', kind: 'webhook', url: 'http://127.0.0.1:1/' }],
};

async function start(name: string, eventLog: object): Promise<ServerProcess> {
  const root = scriptRepository(scratch, {
    m: { versions: { 1: times(1), 2: times(2) }, config: 'version_policy: { all: {} }\n' },
  });
  writeFileSync(join(scratch, 'routes.yaml'), ROUTE);
  const file = join(scratch, `${name}.yaml`);
  const settings = {
    models: { repositories: [root] },
    routes: { files: ['routes.yaml'] },
    eventLog,
    kafka: { brokers: [broker], topicPrefix: prefix, clientId: prefix, labels: 'labels', schemaRegistry: registry },
    threads: { gateways: 1, executors: 1 },
  };
  writeFileSync(file, JSON.stringify(settings));
  const server = await ServerProcess.start(['--config', file, '--no-supervise'], { dataDir });
  running.add(server);
  return server;
}

interface Feedback {
  results: { result: string }[];
}

async function tell(server: ServerProcess, events: readonly object[]): Promise<Feedback> {
  const body = JSON.stringify({ events });
  const response = await fetch(server.url('/switchyard/v1/feedback'), { method: 'POST', body });
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()) as Feedback;
}

async function metric(server: ServerProcess, line: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  const found = text.split('\n').find((each) => each.startsWith(`${line} `));
  return Number(found?.split(' ')[1] ?? 0);
}

interface Logged {
  id: string;
  label: string | null;
  rewards: Record<string, number>;
}

function logged(): Logged[] {
  const folder = join(dataDir, 'eventlog/files/files');
  if (!existsSync(folder)) return [];
  return (
    readdirSync(folder)
      .filter((name) => name.startsWith('feedback-'))
      // The last line may be being written.
      .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1))
      .map((line) => JSON.parse(line) as Logged)
  );
}

test('feedback of topics is logged or comes again, and what is wrong is set aside', { timeout: 600_000 }, async (t) => {
  const clients = await kafkaClients(
    kafkaSchema.parse({ brokers: [broker], topicPrefix: prefix }),
    pino({ level: 'silent' }),
  );
  const admin = clients.admin();
  await admin.connect();
  await admin.createTopics({
    topics: ['labels', 'rewards', 'labels.dead-letters', 'rewards.dead-letters'].map((name) => ({
      topic: clients.topic(name),
      numPartitions: 1,
    })),
    waitForLeaders: true,
  });
  t.after(() => admin.disconnect());
  const producer = clients.producer();
  await producer.connect();
  t.after(() => producer.disconnect());
  const send = (topic: string, ...values: string[]) =>
    producer.send({ topic: clients.topic(topic), messages: values.map((value) => ({ value })) });
  const letters: KafkaMessage[] = [];
  const consumer = clients.consumer(`letters-${randomUUID()}`);
  await consumer.connect();
  t.after(() => consumer.disconnect());
  await consumer.subscribe({
    topics: ['labels.dead-letters', 'rewards.dead-letters'].map((name) => clients.topic(name)),
    fromBeginning: true,
  });
  await consumer.run({ eachMessage: async ({ message }) => void letters.push(message) });

  const full = await start('full', FULL);
  // Each label is nearly as large as one may be: the spool is full after some.
  const large = 'x'.repeat(60_000);
  let told: Feedback | undefined;
  for (let i = 0; i < 100 && told?.results[0].result !== 'notKept'; i++)
    told = await tell(full, [{ id: `large ${i}`, label: large }]);
  assert.deepEqual(
    told?.results.map(({ result }) => result),
    ['notKept'],
  );
  const label = JSON.stringify({ id: 'labelled', label: large, model: 'm' });
  await send('labels', label);
  await until('the log refuses the label of the topic', async () => {
    const dropped = await metric(full, 'switchyard_eventlog_dropped_total{reason="disk"}');
    return dropped >= 2;
  });
  await full.kill();
  running.delete(full);

  const server = await start('roomy', { enabled: true, sinks: [{ name: 'files', kind: 'files' }] });
  await until('the label is logged', () => logged().some(({ id }) => id === 'labelled'));
  assert.equal(logged().find(({ id }) => id === 'labelled')?.label, JSON.stringify(large));

  const wrong = ['{"id": 5}', '[{"id": "good", "label": 1}, {"label": 2}]', 'no JSON'];
  await send('labels', ...wrong);
  await until('wrong labels are set aside', () => letters.length === 3);
  assert.deepEqual(letters.map(({ value }) => String(value)).sort(), [...wrong].sort());
  assert.ok(
    letters.some(({ headers }) => String(headers?.['switchyard-reason']).startsWith('event 1: ')),
    'the reason names the event',
  );
  await until('the good one beside a wrong one is logged', () => logged().some(({ id }) => id === 'good'));
  assert.equal(await metric(server, 'switchyard_topic_labels_total{result="dead_letter"}'), 3);

  letters.length = 0;
  const body = JSON.stringify({ inputs: x(1) });
  const response = await fetch(server.url('/v2/models/m/infer'), { method: 'POST', body });
  await response.arrayBuffer();
  const id = response.headers.get('x-switchyard-id') as string;
  await send('rewards', `{"id": "${id}", "reward": 0.5}`, '{"id": 5}', `{"id": "${id}", "reward": 7}`);
  await until('wrong rewards are set aside', () => letters.length === 2);
  await until('the reward is logged', () => logged().some((event) => event.id === id));
  assert.equal(logged().find((event) => event.id === id)?.rewards.reward, 0.5);
  assert.equal(await metric(server, 'switchyard_reward_topic_events_total{topic="rewards",result="accepted"}'), 1);

  // The same as Avro; one of a schema that the registry does not have; and records without a value.
  letters.length = 0;
  const asked = await fetch(server.url('/v2/models/m/infer'), { method: 'POST', body });
  await asked.arrayBuffer();
  const other = asked.headers.get('x-switchyard-id') as string;
  await sendAvro('rewards', { id: other, reward: 0.25, label: null, model: 'm' });
  await sendAvro('labels', { id: 'of-avro', reward: null, label: 'b', model: 'm' });
  for (const topic of ['labels', 'rewards']) {
    const strange = { value: Buffer.from([0, 0x7f, 0xff, 0xff, 0xff, 1]) };
    await producer.send({ topic: clients.topic(topic), messages: [strange, { key: 'gone', value: null }] });
  }
  await until('wrong ones are set aside', () => letters.length === 2);
  const reasons = letters.map(({ headers }) => String(headers?.['switchyard-reason']));
  assert.equal(reasons.filter((reason) => reason.includes(`no schema ${0x7fffffff}`)).length, 2, reasons.join('\n'));
  await until('both are logged', () => ['of-avro', other].every((one) => logged().some((event) => event.id === one)));
  assert.equal(logged().find((event) => event.id === 'of-avro')?.label, '"b"');
  assert.deepEqual({ ...logged().find((event) => event.id === other)?.rewards }, { reward: 0.25 });
  assert.equal(await metric(server, 'switchyard_reward_topic_events_total{topic="rewards",result="accepted"}'), 2);
  const tombstones = async () =>
    (await metric(server, 'switchyard_topic_labels_total{result="tombstone"}')) +
    (await metric(server, 'switchyard_reward_topic_events_total{topic="rewards",result="tombstone"}'));
  await until('tombstones are counted', async () => (await tombstones()) === 2);
  const lag = `kafka_consumergroup_lag{consumergroup="${prefix}.labels",topic="${prefix}labels",partition="0"}`;
  const text = async () => (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  await until('nothing is left', async () => (await text()).includes(`${lag} 0\n`));
});
