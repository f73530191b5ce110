import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { pino } from 'pino';
import { datasetsSchema } from '../../config/datasets-schema.ts';
import { kafkaSchema } from '../../config/kafka-schema.ts';
import { AvroWriter } from '../../eventlog/encode/avro-writer.ts';
import { containerOf } from '../../eventlog/encode/container.ts';
import { writeFeedback } from '../../eventlog/encode/feedback-encoder.ts';
import { recordJson } from '../../eventlog/encode/json.ts';
import { MESSAGES } from '../../eventlog/encode/message-reader.ts';
import { decodeRecord } from '../../eventlog/encode/record-decoder.ts';
import { kafkaClients } from '../../kafka/client.ts';
import { service } from '../../testing/kafka-consumer.ts';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { collect } from '../batch.ts';
import type { Reject } from '../reading.ts';
import { Connectors } from './connectors.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');

test("the event log's topics become one training set, whether JSON, Avro or blocks", {
  timeout: 600_000,
}, async (t) => {
  const kafka = kafkaSchema.parse({ brokers: [broker] });
  const logger = pino({ level: 'silent' });
  const clients = await kafkaClients(kafka, logger);
  const connectors = new Connectors({
    config: datasetsSchema.parse({}),
    logFolders: {},
    messages: MESSAGES,
    kafka: async () => clients,
  });
  const prefix = `t${randomUUID()}.`;
  const topics = { inference: `${prefix}churn.inference`, feedback: `${prefix}churn.feedback` };
  const admin = clients.admin();
  await admin.connect();
  t.after(async () => {
    await admin.deleteTopics({ topics: Object.values(topics) }).catch(() => {});
    await admin.disconnect();
  });
  const made = Object.values(topics).map((topic) => ({ topic, numPartitions: 2 }));
  await admin.createTopics({ topics: made, waitForLeaders: true });
  const loop = new LogLoop();
  const ids = ['json', 'avro', 'block-1', 'block-2'];
  for (const id of ids) loop.tap.finished(finishedRequest({ id }));
  const records = loop.take();
  const { model, features } = decodeRecord(records[0]);
  const told = ids.map((id, i) => ({ id, time: 1000 + i, route: '', model, rewards: { clicks: i }, label: String(i) }));
  const encoded = told.map((record) => {
    const out = new AvroWriter();
    writeFeedback(record, out);
    return out.u8.slice(0, out.at);
  });
  const avro = { 'content-type': 'application/avro' };
  const messagesOf = (bodies: Uint8Array[], json: string, kind: 'inference' | 'feedback') => [
    { value: json, headers: { 'content-type': 'application/json' } },
    { value: Buffer.concat([Buffer.alloc(5), bodies[1]]), headers: avro },
    {
      value: Buffer.from(
        containerOf(
          bodies.slice(2).map((u8) => ({ u8, start: 0, end: u8.length })),
          kind,
        ),
      ),
      headers: { 'switchyard-records': '2' },
    },
    { value: 'none of these' },
    { value: 'neither', headers: avro },
  ];
  const producer = clients.producer();
  t.after(() => producer.disconnect());
  await producer.connect();
  const json = recordJson(decodeRecord(records[0]));
  await producer.send({ topic: topics.inference, messages: messagesOf(records, json, 'inference') });
  await producer.send({ topic: topics.feedback, messages: messagesOf(encoded, recordJson(told[0]), 'feedback') });
  const rejects: Reject[] = [];
  const spec = { kind: 'log', model, labelled: true, topics } as const;
  const source = await connectors.open(spec, { rejects: { add: (reject: Reject) => void rejects.push(reject) } });
  const { columns } = await collect(source);
  const column = (name: string) => columns[source.schema.fields.findIndex((field) => field.name === name)];
  const byId = new Map(column('id').map((id, i) => [id, [column('label')[i], column('reward.clicks')[i]]]));
  assert.deepEqual(byId, new Map(ids.map((id, i) => [id, [i, i]])));
  assert.ok(
    source.schema.fields.some(({ name }) => name.startsWith(features[0].name)),
    'inputs are columns',
  );
  const places = rejects.map(({ source: place }) => place?.replace(/\/\d+$/, '')).sort();
  const [{ feedback, inference }] = [topics];
  assert.deepEqual(places, [feedback, feedback, inference, inference]);
  await assert.rejects(connectors.open(spec, {}), /no record of the event log/);
});
