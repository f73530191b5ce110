import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { KafkaMessage } from 'kafkajs';
import { pino } from 'pino';
import { kafkaSchema } from '../../config/kafka-schema.ts';
import { kafkaClients } from '../../kafka/client.ts';
import { cli } from '../../testing/cli.ts';
import { service } from '../../testing/kafka-consumer.ts';
import { scriptRepository, times, until, x } from '../../testing/script-models.ts';
import { infer, ServerProcess } from '../../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-kafka-replay-'));
let server: ServerProcess | undefined;
after(async () => {
  await server?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const REQUESTS = 30;

/** Its headers as texts, without the mark. */
function shown({ key, value, headers = {} }: KafkaMessage): unknown {
  const texts = Object.entries(headers).map(([name, bytes]) => [name, String(bytes)]);
  return [String(key), String(value), texts.filter(([name]) => name !== 'ce_replayed').sort()];
}

test('what Parquet files keep comes to a topic again as it came first, marked with ce_replayed', {
  timeout: 300_000,
}, async (t) => {
  const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
  const kafka = { brokers: [broker], topicPrefix: `t${randomUUID()}.` };
  const sinks = [
    { name: 'kafka', kind: 'kafka' },
    { name: 'rows', kind: 'files', format: 'parquet', rotateAfter: '200ms' },
  ];
  const file = join(scratch, 'switchyard.yaml');
  writeFileSync(file, JSON.stringify({ kafka, eventLog: { enabled: true, rule: { entity: { input: 'x' } }, sinks } }));
  const root = scriptRepository(scratch, { scale: { versions: { 1: times(10) } } });
  server = await ServerProcess.start(['--config', file, '--model-repository', root]);
  const admin = ['--admin', `http://127.0.0.1:${server.ports.admin}`];
  const begun = new Date().toISOString();
  for (let i = 0; i < REQUESTS; i++) assert.equal((await infer(server, 'scale', x(i))).status, 200);
  const label = { id: 'some-id', model: 'scale', reward: 1, label: { class: 'b' } };
  await fetch(server.url('/switchyard/v1/feedback'), { method: 'POST', body: JSON.stringify(label) });
  await until(
    'both sinks have everything',
    async () => {
      const { out } = await cli(['log', 'status', ...admin, '-o', 'json']);
      return (JSON.parse(out) as { sinks: { sent: number }[] }).sinks.every(({ sent }) => sent === REQUESTS + 1);
    },
    120_000,
  );
  const range = ['--sink', 'kafka', '--source', 'rows', '--from', begun, '--model', 'scale'];
  const { out, err } = await cli(['log', 'replay', ...range, ...admin, '-o', 'json']);
  const row = JSON.parse(out) as { mark: string; source: string; sent: number };
  assert.deepEqual([row.source, row.sent], ['rows', REQUESTS + 1], err);

  const clients = await kafkaClients(kafkaSchema.parse(kafka), pino({ level: 'silent' }));
  const consumer = clients.consumer(`replay-${randomUUID()}`);
  t.after(() => consumer.disconnect());
  const came: KafkaMessage[] = [];
  await consumer.connect();
  await consumer.subscribe({
    topics: ['scale.inference', 'scale.feedback'].map(clients.topic),
    fromBeginning: true,
  });
  await consumer.run({ eachMessage: async ({ message }) => void came.push(message) });
  await until('all came', async () => came.length >= 2 * (REQUESTS + 1), 120_000);
  const marks = (message: KafkaMessage): string => String(message.headers?.ce_replayed ?? '');
  const live = came.filter((message) => marks(message) === '');
  const again = came.filter((message) => marks(message) === row.mark);
  assert.deepEqual([live.length, again.length], [REQUESTS + 1, REQUESTS + 1]);
  const sorted = (messages: KafkaMessage[]) => messages.map((each) => JSON.stringify(shown(each))).sort();
  assert.deepEqual(sorted(again), sorted(live));
});
