import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import { pino } from 'pino';
import { datasetsSchema } from '../../config/datasets-schema.ts';
import { kafkaSchema } from '../../config/kafka-schema.ts';
import { AvroWriter } from '../../eventlog/encode/avro-writer.ts';
import { containerOf } from '../../eventlog/encode/container.ts';
import { writeFeedback } from '../../eventlog/encode/feedback-encoder.ts';
import { recordJson } from '../../eventlog/encode/json.ts';
import { MESSAGES } from '../../eventlog/encode/message-reader.ts';
import { decodeRecord } from '../../eventlog/encode/record-decoder.ts';
import type { FeedbackRecord } from '../../eventlog/record.ts';
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
  // The sink's names, so that it is known where labels lie that name no model.
  const topics = { inference: `${prefix}iris.inference`, feedback: `${prefix}iris.feedback` };
  const unmatched = `${prefix}unmatched.feedback`;
  const admin = clients.admin();
  await admin.connect();
  t.after(async () => {
    await admin.deleteTopics({ topics: Object.values(topics) }).catch(() => {});
    await admin.deleteTopics({ topics: [unmatched] }).catch(() => {});
    await admin.disconnect();
  });
  const made = Object.values(topics).map((topic) => ({ topic, numPartitions: 2 }));
  await admin.createTopics({ topics: made, waitForLeaders: true });
  const loop = new LogLoop();
  const ids = ['json', 'avro', 'block-1', 'block-2'];
  for (const id of ids) loop.tap.finished(finishedRequest({ id }));
  const records = loop.take();
  const { model, features } = decodeRecord(records[0]);
  const told = ids.map((id, i) => ({
    id,
    time: 1000 + i,
    route: '',
    model,
    rewards: { clicks: i },
    label: String(i),
    tenant: '',
  }));
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
  // Delivered twice, and sent once more by a replay, with what it alone has.
  loop.tap.finished(finishedRequest({ id: 'replayed' }));
  const [replayed] = loop.take();
  const again = [json, recordJson(decodeRecord(replayed))];
  const headers = { 'content-type': 'application/json' };
  await producer.send({
    topic: topics.inference,
    messages: [
      { value: again[0], headers },
      { value: again[1], headers: { ...headers, ce_replayed: '0123abcd' } },
    ],
  });
  const label = recordJson({ ...told[0], id: 'json', time: 9000, label: '99' });
  await producer.send({
    topic: topics.feedback,
    messages: [{ value: label, headers: { ...headers, ce_replayed: '0123abcd' } }],
  });
  const rejects: Reject[] = [];
  const spec = { kind: 'log', model, labelled: true, topics } as const;
  const source = await connectors.open(spec, { rejects: { add: (reject: Reject) => void rejects.push(reject) } });
  const { columns } = await collect(source);
  const column = (name: string) => columns[source.schema.fields.findIndex((field) => field.name === name)];
  const byId = new Map(column('id').map((id, i) => [id, [column('label')[i], column('reward.clicks')[i]]]));
  assert.deepEqual(byId, new Map(ids.map((id, i) => [id, [i, i]])));
  assert.equal(column('id').length, ids.length, 'each once');
  const all = await collect(await connectors.open({ ...spec, labelled: false }, { rejects: { add: () => {} } }));
  assert.equal(all.rows, ids.length);
  assert.ok(
    source.schema.fields.some(({ name }) => name.startsWith(features[0].name)),
    'inputs are columns',
  );
  const places = rejects.map(({ source: place }) => place?.replace(/\/\d+$/, '')).sort();
  const [{ feedback, inference }] = [topics];
  assert.deepEqual(places, [feedback, feedback, inference, inference]);
  await assert.rejects(connectors.open(spec, {}), /no record of the event log/);
  // So far nobody had told anything without naming the model.
  await admin.createTopics({ topics: [{ topic: unmatched, numPartitions: 2 }], waitForLeaders: true });
  const nameless: FeedbackRecord[] = [
    { ...told[3], model: '', time: 5000, label: '33', rewards: {} },
    { ...told[3], model: '', time: 500, label: '44', rewards: {} },
    { ...told[3], id: 'of another model', model: '', rewards: { views: 1 } },
  ];
  await producer.send({
    topic: unmatched,
    messages: nameless.map((record) => ({ key: record.id, value: recordJson(record), headers })),
  });
  const joined = await connectors.open(spec, { rejects: { add: () => {} } });
  const rows = await collect(joined);
  const names = joined.schema.fields.map(({ name }) => name);
  const labels = new Map(
    rows.columns[names.indexOf('id')].map((id, i) => [id, rows.columns[names.indexOf('label')][i]]),
  );
  assert.deepEqual(labels, new Map(ids.map((id, i) => [id, i === 3 ? 33 : i])));
  assert.deepEqual(
    names.filter((name) => name.startsWith('reward.')),
    ['reward.clicks'],
  );
});

const LABEL = {
  type: 'record',
  name: 'Outcome',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'label', type: ['null', 'string', 'double'], default: null },
    { name: 'rewards', type: ['null', { type: 'map', values: 'double' }], default: null },
    { name: 'model', type: ['null', 'string'], default: null },
    { name: 'seen_by', type: 'string', default: '' },
  ],
} as const;

test('labels that others write as Avro of their own, with a schema registry, join the requests', {
  timeout: 240_000,
}, async (t) => {
  const schemaRegistry = service('SWITCHYARD_TEST_SCHEMA_REGISTRY_URL', '.ci/services/schema-registry.sh');
  const clients = await kafkaClients(
    kafkaSchema.parse({ brokers: [broker], schemaRegistry }),
    pino({ level: 'silent' }),
  );
  const connectors = (own: typeof clients) =>
    new Connectors({
      config: datasetsSchema.parse({}),
      logFolders: {},
      messages: MESSAGES,
      kafka: async () => own,
    });
  const prefix = `t${randomUUID()}.`;
  const topics = { inference: `${prefix}churn.inference`, feedback: `${prefix}outcomes` };
  const admin = clients.admin();
  await admin.connect();
  t.after(async () => {
    await admin.deleteTopics({ topics: Object.values(topics) }).catch(() => {});
    await admin.disconnect();
  });
  await admin.createTopics({
    topics: Object.values(topics).map((topic) => ({ topic, numPartitions: 1 })),
    waitForLeaders: true,
  });
  const loop = new LogLoop();
  const ids = ['a', 'b', 'c', 'd'];
  for (const id of ids) loop.tap.finished(finishedRequest({ id }));
  const requests = loop.take().map((bytes) => decodeRecord(bytes));
  const { model } = requests[0];
  const registry = new SchemaRegistry({ host: schemaRegistry });
  const type = SchemaType.AVRO;
  const schema = JSON.stringify(LABEL);
  const { id: schemaId } = await registry.register({ type, schema }, { subject: `${topics.feedback}-value` });
  const written = (event: object) => registry.encode(schemaId, { label: null, rewards: null, model: null, ...event });
  const values = await Promise.all([
    written({ id: 'a', label: 'stayed', seen_by: 'crm' }),
    written({ id: 'b', label: 'left', model: model }),
    written({ id: 'c', rewards: { clicks: 2 }, label: 'stayed' }),
    // By the route's name, and poison: a frame alone, a schema that nobody knows, a record that ends early, no event.
    written({ id: 'd', label: 'left', model: 'front' }),
    Buffer.from([0, 1]),
    Buffer.from([0, 0x7f, 0xff, 0xff, 0xff, 2, 0x61]),
    (await written({ id: 'a', label: 'cut off' })).subarray(0, 9),
    written({ id: 'd' }),
  ]);
  const producer = clients.producer();
  t.after(() => producer.disconnect());
  await producer.connect();
  await producer.send({
    topic: topics.inference,
    messages: requests.map((record) => ({
      value: recordJson(record),
      headers: { 'content-type': 'application/json' },
    })),
  });
  await producer.send({ topic: topics.feedback, messages: values.map((value) => ({ value })) });
  const rejects: Reject[] = [];
  const spec = { kind: 'log', model, labelled: true, topics } as const;
  const read = { rejects: { add: (one: Reject) => void rejects.push(one) } };
  const source = await connectors(clients).open(spec, read);
  const { columns } = await collect(source);
  const column = (name: string) => columns[source.schema.fields.findIndex((field) => field.name === name)];
  const rows = column('id').map((id, i) => [id, column('label')[i], column('reward.clicks')[i]]);
  assert.deepEqual(rows.sort(), [
    ['a', 'stayed', null],
    ['b', 'left', null],
    ['c', 'stayed', 2],
    ['d', 'left', null],
  ]);
  const problems = rejects.map(({ reason }) => reason).sort();
  assert.equal(problems.length, 4, problems.join('\n'));
  for (const part of [
    '2 bytes, and its frame alone 5',
    'has no schema',
    'does not fit its schema',
    'event 0 needs an id',
  ])
    assert.ok(
      problems.some((problem) => problem.startsWith('no events: ') && problem.includes(part)),
      `${part}: ${problems}`,
    );
  // A registry that is away ends the reading: what is left out of a training set would not be missed.
  const away = kafkaSchema.parse({ brokers: [broker], schemaRegistry: 'http://127.0.0.1:9' });
  const others = connectors(await kafkaClients(away, pino({ level: 'silent' })));
  await assert.rejects(async () => collect(await others.open(spec, {})), {
    code: 'unavailable',
    message: /the schema registry cannot be used/,
  });
});
