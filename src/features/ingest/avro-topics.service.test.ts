import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import avro from 'avsc';
import { pino } from 'pino';
import { kafkaSchema } from '../../config/kafka-schema.ts';
import { readTopic } from '../../datasets/connectors/kafka.ts';
import type { Reject } from '../../datasets/reading.ts';
import { kafkaClients } from '../../kafka/client.ts';
import { deadLetterTopic } from '../../kafka/dead-letters.ts';
import { document, featureSet } from '../../testing/features.ts';
import { service } from '../../testing/kafka-consumer.ts';
import { framed, PlainSchemaRegistry } from '../../testing/schema-registry.ts';
import { until } from '../../testing/script-models.ts';
import type { Row } from '../store/online-store.ts';
import { FeatureTopics } from './topics.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');

const TOPIC = 'scores';
const SCHEMA = {
  type: 'record',
  name: 'Score',
  fields: [
    { name: 'customer_id', type: 'long' },
    { name: 'event_timestamp', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: 'score', type: ['null', 'double'] },
  ],
};
const wire = avro.Type.forSchema(SCHEMA as avro.Schema, { logicalTypes: {} });
const START = Date.parse('2026-01-01T00:00:00Z');

test('rows that are Avro wait for a registry that is away, and are features and datasets then', {
  timeout: 600_000,
}, async (t) => {
  const registry = await PlainSchemaRegistry.open({ 7: SCHEMA });
  registry.status = 503;
  t.after(() => registry.close());
  const prefix = `avro-rows-${randomUUID().slice(0, 8)}.`;
  const log = pino({ level: 'silent' });
  const settings = { brokers: [broker], topicPrefix: prefix, clientId: prefix, schemaRegistry: registry.url() };
  const kafka = kafkaSchema.parse(settings);
  const clients = await kafkaClients(kafka, log);
  const admin = clients.admin();
  await admin.connect();
  t.after(() => admin.disconnect());
  const letters = clients.topic(deadLetterTopic(TOPIC));
  const topics = [clients.topic(TOPIC), letters].map((topic) => ({ topic, numPartitions: 1 }));
  await admin.createTopics({ topics, waitForLeaders: true });
  const row = (id: number, score: number | null): Buffer =>
    framed(7, wire.toBuffer({ customer_id: id, event_timestamp: START + id, score }));
  const producer = clients.producer();
  await producer.connect();
  const messages = [
    { value: row(1, 0.5) },
    { value: framed(8, Buffer.alloc(3)) },
    { value: JSON.stringify({ customer_id: 2, event_timestamp: START + 2, score: 1.5 }) },
    { value: row(3, null) },
  ];
  await producer.send({ topic: clients.topic(TOPIC), messages });
  await producer.disconnect();

  const spec = {
    entities: ['customer'],
    features: [{ name: 'score', type: 'float64' }],
    source: { kafka: { topic: TOPIC } },
  };
  const set = featureSet([
    document('Entity', 'customer', { joinKey: 'customer_id' }),
    document('FeatureView', 'scores', spec),
  ]);
  const came: Row[] = [];
  const counts = new Map<string, Map<string, number>>();
  const rows = new FeatureTopics({
    ...{ kafka, log, counts, kept: true },
    set: () => set,
    put: async (_tenant, _view, list) => {
      came.push(...list);
      return list.length;
    },
  });
  t.after(() => rows.close());
  rows.follow();
  await until('the registry is asked', () => registry.asked.length >= 2);
  await sleep(500);
  const setAside = async () => (await admin.fetchTopicOffsets(letters))[0].high;
  assert.deepEqual([came.length, await setAside()], [0, '0'], 'nothing is lost and nothing set aside meanwhile');
  const importing = { topic: clients.topic(TOPIC) };
  await assert.rejects(readTopic(clients, importing, {}), { code: 'unavailable' });

  registry.status = 200;
  await until('all rows are there', () => came.length === 3);
  assert.deepEqual(
    came.map(({ key, time, values }) => [key, time, values]),
    [
      ['1', START + 1, [0.5]],
      ['2', START + 2, [1.5]],
      ['3', START + 3, [null]],
    ],
  );
  await until('the one of an unknown schema is set aside', async () => (await setAside()) === '1');

  const rejects: Reject[] = [];
  const source = await readTopic(clients, importing, { rejects: { add: (reject) => rejects.push(reject) } });
  const types = Object.fromEntries(source.schema.fields.map(({ name, type }) => [name, type]));
  assert.deepEqual([types.customer_id, types.score], ['integer', 'number']);
  let read = 0;
  for await (const batch of source.batches()) read += batch.rows;
  assert.equal(read, 3);
  assert.equal(rejects.length, 1);
  assert.match(rejects[0].reason, /no schema 8/);
});
