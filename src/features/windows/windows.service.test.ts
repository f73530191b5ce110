import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { kafkaSchema } from '../../config/kafka-schema.ts';
import { type KafkaClients, kafkaClients } from '../../kafka/client.ts';
import { service } from '../../testing/kafka-consumer.ts';
import { until } from '../../testing/script-models.ts';
import { seeded } from '../../testing/seeded.ts';
import { ServerProcess } from '../../testing/server-process.ts';
import { WINDOW_FEATURES, windowDocuments, windowView } from '../../testing/windows.ts';
import { RedisStore } from '../store/redis-store.ts';
import { eventOfObject } from './events.ts';
import { windowsAt } from './replay.ts';
import type { WindowEvent } from './state.ts';

const redisUrl = service('SWITCHYARD_TEST_REDIS_URL', '.ci/services/redis.sh');
const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-windows-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

const DAY = 24 * 3600 * 1000;
/** Long windows, so that values do not move while the test looks at them, whatever the hour. */
const DAILY = {
  lateness: '7d',
  features: WINDOW_FEATURES.map((feature) => {
    const { aggregate, ...rest } = feature as { aggregate: object };
    return { ...rest, aggregate: { ...aggregate, window: '30d', slide: '1d' } };
  }),
};
const CARDS = ['a', 'b', 'c', 'd'];

function rowsOf(count: number, seed: number): Record<string, unknown>[] {
  const random = seeded(seed);
  const midnight = Math.floor(Date.now() / DAY) * DAY;
  return Array.from({ length: count }, () => ({
    card: CARDS[Math.floor(random() * CARDS.length)],
    event_timestamp: midnight - 1 - Math.floor(random() * 5 * DAY),
    amount: random() < 0.1 ? null : (random() - 0.5) * 10 ** Math.floor(random() * 12),
    whole: Math.floor(random() * 1000),
    shop: random() < 0.2 ? null : `shop ${Math.floor(random() * 3)}`,
  }));
}

test('two writers of one Redis lose no event and take none twice', { timeout: 600_000 }, async () => {
  const view = windowView(DAILY);
  const stores = [new RedisStore(redisUrl, 5000), new RedisStore(redisUrl, 5000)];
  after(() => {
    for (const store of stores) store.close();
  });
  const tenant = `windows ${randomUUID()}`;
  const fields = view.names.map((_, i) => i);
  const lookups = [{ view, fields, keys: CARDS }];
  await until('Redis answers', () =>
    Promise.all(stores.map((store) => store.read(tenant, lookups))).then(
      () => true,
      () => false,
    ),
  );
  const now = Date.now();
  const partitions = [0, 1].map((partition) =>
    rowsOf(400, partition).map((row, offset): WindowEvent => {
      const event = eventOfObject(view, row, now, now);
      return { ...event, origin: { source: `events/${partition}`, offset } };
    }),
  );
  // Batches of the second partition come again, as after a crash, and from both writers at once.
  const batches = (events: WindowEvent[]) => [0, 100, 200, 300].map((from) => events.slice(from, from + 100));
  const write = async (store: RedisStore, events: WindowEvent[], again: boolean): Promise<void> => {
    for (const batch of batches(events)) {
      await store.ingest(tenant, view, batch);
      if (again) await store.ingest(tenant, view, batch.slice(40));
    }
  };
  await Promise.all([
    write(stores[0], partitions[0], false),
    write(stores[1], partitions[1], true),
    write(stores[0], partitions[1], false),
  ]);
  const found = (await stores[0].read(tenant, lookups))[0].map((each) => each?.values ?? null);
  const wanted = windowsAt(
    view.windows,
    partitions.flat(),
    CARDS,
    CARDS.map(() => now),
    fields,
  );
  assert.deepEqual(found, wanted);
  assert.equal(
    found.reduce((sum, values) => sum + Number(values?.[0]), 0),
    800,
    'events in all windows',
  );
});

interface Gateway {
  name: string;
  kept: boolean;
}

function start({ name, kept }: Gateway, view: string, topicPrefix: string): Promise<ServerProcess> {
  const file = join(scratch, `${name}.yaml`);
  const [entity, document] = windowDocuments({ ...DAILY, source: { kafka: { topic: 'payments' } } });
  const documents = [entity, { ...document, metadata: { name: view } }];
  writeFileSync(join(scratch, 'features.yaml'), documents.map((each) => JSON.stringify(each)).join('\n---\n'));
  const settings = {
    features: { files: ['features.yaml'], ...(kept ? { redisUrl, timeoutMs: 5000 } : {}) },
    threads: { gateways: 1, executors: 1 },
    kafka: { brokers: [broker], topicPrefix, clientId: topicPrefix },
  };
  writeFileSync(file, JSON.stringify(settings));
  return ServerProcess.start(['--config', file, '--no-supervise']).then((server) => {
    running.add(server);
    return server;
  });
}

async function online(server: ServerProcess, view: string): Promise<unknown[][]> {
  const features = DAILY.features.map((feature) => `${view}:${(feature as unknown as { name: string }).name}`);
  const body = JSON.stringify({ features, entities: { card: CARDS } });
  const response = await fetch(server.url('/get-online-features'), { method: 'POST', body });
  assert.equal(response.status, 200, await response.clone().text());
  const { results } = (await response.json()) as { results: { values: unknown[] }[] };
  return results.slice(1).map(({ values }) => values);
}

/** How many events are in the windows of all entities. */
async function counted(server: ServerProcess, view: string): Promise<number> {
  const [counts] = await online(server, view);
  return counts.reduce((sum: number, count) => sum + Number(count), 0);
}

async function training(server: ServerProcess, view: string): Promise<unknown[][]> {
  const features = DAILY.features.map((feature) => `${view}:${(feature as unknown as { name: string }).name}`);
  const body = JSON.stringify({ features, entities: { card: CARDS, event_timestamp: CARDS.map(() => Date.now()) } });
  const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/features/historical`, {
    method: 'POST',
    body,
  });
  assert.equal(response.status, 200, await response.clone().text());
  const { columns } = (await response.json()) as { columns: Record<string, unknown[]> };
  return features.map((feature) => columns[feature.slice(view.length + 1)]);
}

async function send(clients: KafkaClients, rows: readonly object[]): Promise<void> {
  const producer = clients.producer();
  await producer.connect();
  for (let from = 0; from < rows.length; from += 50)
    await producer.send({
      topic: clients.topic('payments'),
      messages: rows.slice(from, from + 50).map((row) => ({ value: JSON.stringify(row) })),
    });
  await producer.disconnect();
}

test('windows of a topic are those of training, after a killed gateway and without Redis after every start', {
  timeout: 600_000,
}, async () => {
  const id = randomUUID().slice(0, 8);
  const view = `payments_${id}`;
  const prefix = `windows-${id}.`;
  const clients = await kafkaClients(
    kafkaSchema.parse({ brokers: [broker], topicPrefix: prefix }),
    pino({ level: 'silent' }),
  );
  const admin = clients.admin();
  await admin.connect();
  await admin.createTopics({
    topics: ['payments', 'payments.dead-letters'].map((name) => ({ topic: clients.topic(name), numPartitions: 3 })),
    waitForLeaders: true,
  });
  await admin.disconnect();

  const first = await start({ name: 'first', kept: true }, view, prefix);
  const second = await start({ name: 'second', kept: true }, view, prefix);
  // Poison beside what is late and what is ahead: told apart in the metrics, and in no window.
  const odd = [
    { card: 'a' },
    { ...rowsOf(1, 9)[0], event_timestamp: Date.now() - 8 * DAY },
    { ...rowsOf(1, 9)[0], event_timestamp: Date.now() + DAY },
  ];
  await send(clients, [...odd, ...rowsOf(600, 1)]);
  await until('some are counted', async () => (await counted(second, view)) > 0);
  await first.kill();
  running.delete(first);
  await send(clients, rowsOf(600, 2));
  await until('all are counted', async () => (await counted(second, view)) >= 1200, 240_000);
  const known = await training(second, view);
  assert.deepEqual(await online(second, view), known);
  assert.equal(await counted(second, view), 1200, 'none counts twice');

  const third = await start({ name: 'third', kept: false }, view, prefix);
  await until('memory has read the topic', async () => (await counted(third, view)) >= 1200, 240_000);
  assert.deepEqual(await online(third, view), known);
  const metrics = await (await fetch(`http://127.0.0.1:${third.ports.metrics}/metrics`)).text();
  for (const [result, count] of Object.entries({ kept: 1200, late: 1, ahead: 1, dead_letter: 1 }))
    assert.ok(
      metrics.includes(`switchyard_feature_topic_records_total{view="${view}",result="${result}"} ${count}\n`),
      `${result}: ${count} in ${metrics
        .split('\n')
        .filter((line) => line.includes('feature_topic'))
        .join('; ')}`,
    );
});
