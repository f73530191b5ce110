import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { pino } from 'pino';
import { kafkaSchema } from '../../config/kafka-schema.ts';
import { kafkaClients } from '../../kafka/client.ts';
import { service } from '../../testing/kafka-consumer.ts';
import { collect, type Schema, sourceOf } from '../batch.ts';
import { readTopic, writeTopic } from './kafka.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const SCHEMA: Schema = {
  fields: [
    { name: 'id', type: 'integer' },
    { name: 'text', type: 'string' },
  ],
};

test('rows of kilobytes go to one partition, and one that the topic does not take is named', {
  timeout: 600_000,
}, async (t) => {
  const clients = await kafkaClients(kafkaSchema.parse({ brokers: [broker] }), pino({ level: 'silent' }));
  const topic = `rows-${randomUUID()}`;
  const admin = clients.admin();
  await admin.connect();
  t.after(async () => {
    await admin.deleteTopics({ topics: [topic] });
    await admin.disconnect();
  });
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true });
  const ids = Array.from({ length: 2500 }, (_, i) => i);
  // Noise, of which nothing is packed away.
  const noise = (bytes: number) => randomBytes(bytes / 2).toString('hex');
  const rows = { rows: ids.length, columns: [ids, ids.map(() => noise(3000))] };
  assert.equal(await writeTopic(clients, topic, 'id', sourceOf(SCHEMA, rows)), ids.length);
  const source = await readTopic(clients, { topic }, {});
  const { columns } = await collect(source);
  const column = (name: string) => columns[source.schema.fields.findIndex((field) => field.name === name)];
  assert.deepEqual([column('id'), column('text')], rows.columns);

  const texts = ids.map((i) => (i === 1700 ? noise(3_000_000) : 'short'));
  const large = sourceOf(SCHEMA, { rows: ids.length, columns: [ids, texts] });
  await assert.rejects(writeTopic(clients, topic, 'id', large), {
    code: 'payload_too_large',
    message: `row 1700 has 3000021 bytes of JSON, more than the topic "${topic}" takes; raise its max.message.bytes, or leave columns out`,
  });
});
