import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import type { KafkaMessage } from 'kafkajs';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { kafkaClients } from '../kafka/client.ts';
import { service } from '../testing/kafka-consumer.ts';
import { scriptRepository, times, until } from '../testing/script-models.ts';
import { ServerProcess } from '../testing/server-process.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const registryUrl = new URL(service('SWITCHYARD_TEST_SCHEMA_REGISTRY_URL', '.ci/services/schema-registry.sh'));
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-avro-'));

/** The way to the registry, which can be cut. */
const way = { open: false, sockets: new Set<Socket>() };
const proxy = createServer((socket) => {
  if (!way.open) return socket.destroy();
  const beyond = connect(Number(registryUrl.port), registryUrl.hostname);
  for (const each of [socket, beyond]) {
    way.sockets.add(each);
    each.on('error', () => {}).on('close', () => way.sockets.delete(each));
  }
  socket.pipe(beyond).pipe(socket);
});
await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
let server: ServerProcess | undefined;
after(async () => {
  await server?.stop();
  for (const socket of way.sockets) socket.destroy();
  proxy.close();
  rmSync(scratch, { recursive: true, force: true });
});

const SCHEMA = {
  type: 'record',
  name: `Order${randomUUID().slice(0, 8)}`,
  fields: [
    { name: 'order', type: 'string' },
    { name: 'amount', type: ['null', 'double'] },
  ],
};

test('Avro requests wait for a registry that is away, and poison is set aside', { timeout: 600_000 }, async (t) => {
  const prefix = `avro-${randomUUID().slice(0, 8)}.`;
  const clients = await kafkaClients(
    kafkaSchema.parse({ brokers: [broker], topicPrefix: prefix }),
    pino({ level: 'silent' }),
  );
  const admin = clients.admin();
  await admin.connect();
  const topics = ['asks', 'answers', 'asks.dead-letters'];
  await admin.createTopics({
    topics: topics.map((name) => ({ topic: clients.topic(name), numPartitions: 1 })),
    waitForLeaders: true,
  });
  await admin.disconnect();
  const consumer = clients.consumer(randomUUID());
  const came = new Map<string, KafkaMessage[]>(topics.map((name) => [clients.topic(name), []]));
  await consumer.connect();
  await consumer.subscribe({ topics: topics.slice(1).map((name) => clients.topic(name)), fromBeginning: true });
  await consumer.run({ eachMessage: async ({ topic, message }) => void came.get(topic)?.push(message) });
  const producer = clients.producer();
  await producer.connect();
  t.after(() => Promise.all([producer.disconnect(), consumer.disconnect()]));

  const { port } = proxy.address() as AddressInfo;
  const avro = {
    schemaRegistry: `http://127.0.0.1:${port}${registryUrl.pathname}`,
    id: 'order',
    inputs: { x: { fields: ['amount'], datatype: 'FP32' } },
    answers: 'avro',
  };
  const file = join(scratch, 'switchyard.yaml');
  const settings = {
    models: { repositories: [scriptRepository(scratch, { scale: { versions: { 1: times(10) } } })] },
    threads: { gateways: 1, executors: 1 },
    kafka: {
      brokers: [broker],
      topicPrefix: prefix,
      clientId: prefix,
      inference: [{ requests: 'asks', results: 'answers', model: 'scale', avro }],
    },
  };
  writeFileSync(file, JSON.stringify(settings));
  const started = await ServerProcess.start(['--config', file, '--no-supervise']);
  server = started;

  const registry = new SchemaRegistry({ host: registryUrl.href });
  const { id } = await registry.register(
    { type: SchemaType.AVRO, schema: JSON.stringify(SCHEMA) },
    { subject: `${clients.topic('asks')}-value` },
  );
  const orders = await Promise.all(
    [1, 2.5, 4].map((amount, i) => registry.encode(id, { order: `order ${i}`, amount })),
  );
  const unknown = Buffer.from(orders[0]);
  unknown.writeInt32BE(2_000_000_000, 1);
  const json = { id: 'plain', inputs: [{ name: 'x', shape: [1, 1], datatype: 'FP32', data: [7] }] };
  const values = [...orders, unknown, orders[0].subarray(0, 7), Buffer.from([0, 0]), Buffer.from(JSON.stringify(json))];
  await producer.send({ topic: clients.topic('asks'), messages: values.map((value, i) => ({ key: `k${i}`, value })) });

  const metric = async (result: string): Promise<number> => {
    const text = await (await fetch(`http://127.0.0.1:${started.ports.metrics}/metrics`)).text();
    const line = `switchyard_topic_requests_total{topic="asks",result="${result}"} `;
    return Number(
      text
        .split('\n')
        .find((each) => each.startsWith(line))
        ?.slice(line.length) ?? 0,
    );
  };
  await until('requests wait', async () => (await metric('retried')) > 0);
  assert.deepEqual([await metric('answered'), await metric('dead_letter')], [0, 0], 'nothing is lost or set aside');
  way.open = true;
  const answers = came.get(clients.topic('answers')) as KafkaMessage[];
  const letters = came.get(clients.topic('asks.dead-letters')) as KafkaMessage[];
  await until('all are answered or set aside', () => answers.length >= 4 && letters.length >= 3);
  const decoded = await Promise.all(answers.map(({ value }) => registry.decode(value as Buffer)));
  assert.deepEqual(
    decoded.map(({ id: order, model, outputs: [{ name, shape, doubles }] }) => ({
      order,
      model,
      name,
      shape,
      doubles,
    })),
    [10, 25, 40, 70].map((value, i) => ({
      order: ['order 0', 'order 1', 'order 2', 'plain'][i],
      model: 'scale',
      name: 'y',
      shape: [1, 1],
      doubles: [value],
    })),
  );
  assert.deepEqual(
    letters.map(({ key, value, headers }) => [
      String(key),
      Buffer.compare(value as Buffer, values[Number(String(key).slice(1))]),
      String(headers?.['switchyard-error']),
    ]),
    ['k3', 'k4', 'k5'].map((key) => [key, 0, 'invalid_argument']),
  );
  const reasons = letters.map(({ headers }) => String(headers?.['switchyard-reason']));
  assert.match(reasons[0], /the schema registry has no schema 2000000000/);
  assert.match(reasons[1], /does not fit its schema/);
  assert.match(reasons[2], /has 2 bytes, and its frame alone 5/);
});
