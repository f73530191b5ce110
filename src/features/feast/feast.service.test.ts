import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { kafkaSchema } from '../../config/kafka-schema.ts';
import { kafkaClients } from '../../kafka/client.ts';
import { document } from '../../testing/features.ts';
import { service } from '../../testing/kafka-consumer.ts';
import { until } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-feast-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

const FEATURES = Array.from({ length: 10 }, (_, i) => `f${i}`);
const DOCUMENTS = [
  document('Entity', 'driver', { joinKey: 'driver_id' }),
  document('FeatureView', 'driver_stats', {
    entities: ['driver'],
    ttl: '1d',
    features: FEATURES.map((name) => ({ name, type: 'float32' })),
    source: { kafka: { topic: 'drivers' } },
  }),
];
const DRIVERS = 20;

test('a Feast project that reads our topic serves what we serve, and writes and reads here', {
  timeout: 600_000,
}, async (t) => {
  const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
  const redis = service('SWITCHYARD_TEST_REDIS_URL', '.ci/services/redis.sh');
  const python = service('SWITCHYARD_TEST_FEAST_PYTHON', '.ci/clients/feast/setup.sh');
  const prefix = `t${randomUUID()}.`;
  const file = join(scratch, 'switchyard.yaml');
  writeFileSync(join(scratch, 'features.yaml'), DOCUMENTS.map((each) => JSON.stringify(each)).join('\n---\n'));
  const settings = {
    features: { files: ['features.yaml'], redisUrl: redis },
    kafka: { brokers: [broker], topicPrefix: prefix },
    threads: { gateways: 1, executors: 1 },
  };
  writeFileSync(file, JSON.stringify(settings));
  const clients = await kafkaClients(kafkaSchema.parse(settings.kafka), pino({ level: 'silent' }));
  const producer = clients.producer();
  t.after(() => producer.disconnect());
  await producer.connect();
  const now = Date.now();
  const row = (driver: number, age: number): string =>
    JSON.stringify({
      driver_id: driver,
      event_timestamp: new Date(now - age).toISOString(),
      ...Object.fromEntries(FEATURES.map((name, i) => [name, driver / 3 + i + (age === 0 ? 0.1 : 0)])),
    });
  // Each driver twice, the newer row first for half of them.
  const values = Array.from({ length: DRIVERS }, (_, i) =>
    i % 2 === 0 ? [row(i, 0), row(i, 5000)] : [row(i, 5000), row(i, 0)],
  ).flat();
  await producer.send({ topic: clients.topic('drivers'), messages: values.map((value) => ({ value })) });
  const server = await ServerProcess.start(['--config', file, '--no-supervise']);
  running.add(server);
  await until('all drivers are online', async () => {
    const body = {
      features: ['driver_stats:f0'],
      entities: { driver_id: Array.from({ length: DRIVERS }, (_, i) => i) },
    };
    const response = await fetch(server.url('/get-online-features'), { method: 'POST', body: JSON.stringify(body) });
    const { results } = (await response.json()) as { results: { values: (number | null)[] }[] };
    return results[1].values.every((value, i) => value === Math.fround(i / 3 + 0.1));
  });
  const args = [
    '.ci/clients/feast/project.py',
    'compare',
    join(scratch, 'feast'),
    server.url(''),
    broker,
    clients.topic('drivers'),
    String(values.length),
  ];
  const { stdout } = await promisify(execFile)(python, args, { maxBuffer: 64 * 1024 * 1024 });
  const answer = JSON.parse(stdout.trim().split('\n').at(-1) as string) as Record<
    'own' | 'remote',
    Record<string, unknown[]>
  > & {
    written: Record<'own' | 'remote', Record<string, unknown[]>>;
  };
  assert.equal(answer.own.f0.length, DRIVERS + 1);
  assert.deepEqual(answer.remote, answer.own);
  assert.deepEqual(answer.written.own.f1, [777.125]);
  assert.deepEqual(answer.written.remote, answer.written.own);
});
