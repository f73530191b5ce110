import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { kafkaSchema } from '../../config/kafka-schema.ts';
import { kafkaClients } from '../../kafka/client.ts';
import { scriptRepository, times, until, x } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';

/** Of its own: this one is killed and started again. */
const PORT = 19_392;
const KAFKA = '.ci/services/kafka.sh';
const broker = async (verb: string): Promise<string> =>
  (await promisify(execFile)(KAFKA, [verb, String(PORT)])).stdout.trim();
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-rewards-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  await broker('stop');
  rmSync(scratch, { recursive: true, force: true });
});

const ROUTES = `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {one: {model: m, version: "1"}, two: {model: m, version: "2"}}
  strategy:
    bandit:
      policy: thompsonBeta
      arms: [one, two]
      floor: 0.3
      refresh: 1s
      reward: {wait: 30s, aggregate: sum, topic: rewards}
---
apiVersion: switchyard/v1
kind: Route
metadata: {name: e}
spec:
  match: [{model: m, headers: {x-experiment: "yes"}}]
  variants: {one: {model: m, version: "1"}, two: {model: m, version: "2"}}
  strategy:
    experiment:
      split: {one: 50, two: 50}
      primary: {metric: reward}
      reward: {wait: 30s, topic: conversions}
`;

interface Status {
  reward_topics: { connected: boolean; events: Record<string, Record<string, number>> };
}

async function admin<T>(server: ServerProcess, path: string): Promise<T> {
  return (await (await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1${path}`)).json()) as T;
}

async function decide(server: ServerProcess, headers: Record<string, string> = {}): Promise<string> {
  const request = { method: 'POST', headers, body: JSON.stringify({ inputs: x(1) }) };
  const response = await fetch(server.url('/v2/models/m/infer'), request);
  await response.arrayBuffer();
  assert.equal(response.status, 200);
  return response.headers.get('x-switchyard-id') ?? '';
}

const events = async (server: ServerProcess, topic: string): Promise<Record<string, number>> =>
  (await admin<Status>(server, '/routes-status')).reward_topics.events[topic] ?? {};

test('rewards come from topics, through wrong records and a broker that is killed', { timeout: 600_000 }, async (t) => {
  const address = await broker('start');
  const root = scriptRepository(scratch, {
    m: { versions: { 1: times(1), 2: times(2) }, config: 'version_policy: { all: {} }\n' },
  });
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(join(scratch, 'routes.yaml'), ROUTES.split('---\n').reverse().join('---\n'));
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml]}\nkafka: {brokers: ["${address}"], topicPrefix: "test."}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  const clients = await kafkaClients(
    kafkaSchema.parse({ brokers: [address], topicPrefix: 'test.' }),
    pino({ level: 'silent' }),
  );
  const admins = clients.admin();
  await admins.connect();
  await admins.createTopics({
    topics: ['rewards', 'conversions'].map((name) => ({ topic: clients.topic(name), numPartitions: 3 })),
    waitForLeaders: true,
  });
  await admins.disconnect();
  const producer = clients.producer();
  t.after(() => producer.disconnect());
  await producer.connect();
  const send = (topic: string, ...values: (string | null)[]) =>
    producer.send({ topic: clients.topic(topic), messages: values.map((value) => ({ value })) });

  let server = await ServerProcess.start(['--config', config, '--no-supervise']);
  running.add(server);
  await until(
    'the group has formed',
    async () => (await admin<Status>(server, '/routes-status')).reward_topics.connected,
  );
  const ids = await Promise.all(Array.from({ length: 6 }, () => decide(server)));
  const good = ids.map((id) => JSON.stringify({ id, reward: 0.25 }));
  const wrong = ['{"id"', '', null, '{"id": 5}', '7', `{"id": "${ids[0]}", "reward": "much"}`];
  const useless = [`{"id": "${ids[0]}", "reward": 2}`, '{"id": "nobody", "reward": 1}'];
  // The same event twice adds up once; two events of one decision add up.
  const named = JSON.stringify({ id: ids[1], reward: 0.5, event: 'e' });
  await send('rewards', ...wrong, ...good, ...useless, named, named);
  const expected = {
    accepted: 7,
    notJson: 1,
    empty: 1,
    tombstone: 1,
    malformed: 2,
    notANumber: 1,
    outOfRange: 1,
    unknown: 1,
    duplicate: 1,
  };
  await until('all records are counted', async () => {
    const counted = await events(server, 'rewards');
    return Object.values(counted).reduce((sum, n) => sum + n, 0) === 16;
  });
  assert.deepEqual(await events(server, 'rewards'), expected);
  const converted = await decide(server, { 'x-experiment': 'yes' });
  await send('conversions', JSON.stringify([{ id: converted, reward: 1 }]));
  await until("an experiment's reward", async () => (await events(server, 'conversions')).accepted === 1);

  await broker('kill');
  assert.ok(await decide(server));
  await broker('start');
  const later = await decide(server);
  await send('rewards', JSON.stringify({ id: later, reward: 1 }));
  await until('the consumer is back', async () => (await events(server, 'rewards')).accepted === 8);

  interface View {
    bandit?: { arms: { rewards: number; mean: number }[] };
    experiment?: { arms: { rewards: number; reward_mean: number }[] };
  }
  await until('the bandit has learnt what waited long enough', async () => {
    const { bandit } = await admin<View>(server, '/routes/m');
    return (bandit?.arms ?? []).reduce((sum, arm) => sum + arm.rewards, 0) >= 8;
  });
  const { bandit } = await admin<View>(server, '/routes/m');
  const total = (bandit?.arms ?? []).reduce((sum, { rewards, mean }) => sum + rewards * (mean ?? 0), 0);
  assert.ok(Math.abs(total - (6 * 0.25 + 0.5 + 1)) < 1e-9, `learnt ${total}`);
  await until('so has the experiment', async () => {
    const { experiment } = await admin<View>(server, '/routes/e');
    return (experiment?.arms ?? []).reduce((sum, arm) => sum + arm.rewards, 0) === 1;
  });

  // What was written while nobody read is read by the next one of the group, and nothing before it again.
  await server.stop();
  running.delete(server);
  await send('rewards', '{"id": "written meanwhile", "reward": 1}');
  server = await ServerProcess.start(['--config', config, '--no-supervise']);
  running.add(server);
  await until('the record that waited', async () => (await events(server, 'rewards')).unknown === 1);
  assert.deepEqual(await events(server, 'rewards'), { unknown: 1 });
  const metrics = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  assert.match(metrics, /switchyard_reward_topic_events_total\{topic="rewards",result="unknown"\} 1\n/);
});
