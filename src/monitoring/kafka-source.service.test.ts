import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import type { Message } from 'kafkajs';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { monitoringSchema } from '../config/monitoring-schema.ts';
import { containerOf } from '../eventlog/encode/container.ts';
import { recordJson } from '../eventlog/encode/json.ts';
import { MESSAGES } from '../eventlog/encode/message-reader.ts';
import { decodeRecord } from '../eventlog/encode/record-decoder.ts';
import { kafkaClients } from '../kafka/client.ts';
import { service } from '../testing/kafka-consumer.ts';
import { finishedRequest, LogLoop } from '../testing/log-records.ts';
import { until } from '../testing/script-models.ts';
import { monitorSchema } from './document.ts';
import { KafkaSource } from './kafka-source.ts';
import { MonitorStream } from './stream.ts';
import type { Reference } from './types.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');

test('monitors read every form of the topics, and a wrong message costs no other', { timeout: 600_000 }, async (t) => {
  const topicPrefix = `monitors-${randomUUID().slice(0, 8)}.`;
  const log = pino({ level: 'silent' });
  const config = kafkaSchema.parse({ brokers: [broker], topicPrefix, clientId: topicPrefix });
  const loop = new LogLoop();
  const finish = (id: string): Uint8Array => {
    loop.tap.finished(finishedRequest({ id }));
    return loop.take()[0];
  };
  const { model } = decodeRecord(finish('first'));
  const references: Reference[] = [];
  const stream = new MonitorStream((event) => {
    if (event.kind === 'reference') references.push(event.reference);
  });
  const { spec } = monitorSchema.parse({
    apiVersion: 'switchyard/v1',
    kind: 'Monitor',
    metadata: { name: 'm' },
    spec: { model, reference: { records: 1000 } },
  });
  stream.set([{ name: 'm', spec, generation: 0, references: [] }]);
  const source = new KafkaSource(config, monitoringSchema.parse({}), stream, MESSAGES, log);
  t.after(() => source.close());
  const clients = await kafkaClients(config, log);
  const admin = clients.admin();
  t.after(() => admin.disconnect());
  await admin.connect();
  const topic = clients.topic(`${model}.inference`);
  source.follow([{ model }]);
  const producer = clients.producer();
  await producer.connect();
  t.after(() => producer.disconnect());
  let count = 0;
  const next = (): Uint8Array => finish(`r${count++}`);
  const json = (bytes: Uint8Array): Message => ({ value: recordJson(decodeRecord(bytes)) });
  const avro = (bytes: Uint8Array): Message => ({
    value: Buffer.concat([Buffer.alloc(5), bytes]),
    headers: { 'content-type': 'application/avro' },
  });
  const block = (list: Uint8Array[]): Message => ({
    value: containerOf(
      list.map((u8) => ({ u8, start: 0, end: u8.length })),
      'inference',
    ),
    headers: { 'switchyard-records': String(list.length) },
  });
  const noShape = (): Message => ({ value: String(json(next()).value).replace(/"shape":\[[\d,]*\],/g, '') });
  const send = (...messages: Message[]) => producer.send({ topic, messages });
  // Whoever writes makes the topics, with as many partitions as it likes.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const made = { topic, numPartitions: 2 };
  assert.equal(await admin.createTopics({ topics: [made], waitForLeaders: true }), true, 'it was not there');
  // It reads the topic when it has found it, from its beginning.
  await until('it reads', async () => {
    await send({ value: 'no JSON' });
    return source.counts.unreadable > 0;
  });
  const before = source.counts.unreadable;
  const wrong = [noShape(), { value: 'no JSON' }, { ...avro(next()), value: Buffer.alloc(9) }];
  for (let i = 0; i < 5; i++) {
    // One comes twice, as of a sink that got no answer, and one from a replay.
    const twice = json(next());
    const replayed = { ...json(next()), headers: { ce_replayed: '0123abcd' } };
    await send(
      ...[twice, twice, replayed],
      ...Array.from({ length: 47 }, () => json(next())),
      ...wrong,
      { value: null },
      ...Array.from({ length: 50 }, () => avro(next())),
      block(Array.from({ length: 101 }, next)),
    );
  }
  await until('what is wrong is counted', () => source.counts.unreadable >= before + 5 * wrong.length);
  await until('all are read', () => source.counts.read >= 5 * (2 + 47 + 50 + 1));
  assert.equal(source.counts.read, 5 * (2 + 47 + 50 + 1));
  assert.deepEqual([source.counts.tombstone, source.counts.replayed], [5, 5]);
  assert.equal(references.length, 0, 'five rows are missing: each record counts once');
  await send(...Array.from({ length: 5 }, () => json(next())));
  await until('the reference is frozen from all of them', () => references.length === 1);
  assert.equal(references[0].slices[''].rows, 1000);

  // Made anew it begins at zero, which has been read of the one before.
  await admin.deleteTopics({ topics: [topic] });
  await until('it is gone', async () => !(await admin.listTopics()).includes(topic));
  await admin.createTopics({ topics: [{ topic, numPartitions: 2 }], waitForLeaders: true });
  const { read } = source.counts;
  await send(...Array.from({ length: 4 }, () => json(next())));
  await until('the new ones are read', () => source.counts.read >= read + 4);
});

test('what comes while no monitor reads is read later, also where nothing had come before', {
  timeout: 600_000,
}, async (t) => {
  const topicPrefix = `monitors-${randomUUID().slice(0, 8)}.`;
  const log = pino({ level: 'silent' });
  const config = kafkaSchema.parse({ brokers: [broker], topicPrefix, clientId: topicPrefix });
  const clients = await kafkaClients(config, log);
  const admin = clients.admin();
  t.after(() => admin.disconnect());
  await admin.connect();
  const topics = ['m.inference', 'm.feedback'].map((name) => ({ topic: clients.topic(name), numPartitions: 2 }));
  await admin.createTopics({ topics, waitForLeaders: true });
  const producer = clients.producer();
  await producer.connect();
  t.after(() => producer.disconnect());
  const [, { topic }] = topics;
  const send = (id: string) =>
    producer.send({ topic, messages: [{ partition: 1, value: JSON.stringify({ id, time: 1, rewards: {} }) }] });
  const open = (): KafkaSource => {
    const source = new KafkaSource(config, monitoringSchema.parse({}), new MonitorStream(() => {}), MESSAGES, log);
    source.follow([{ model: 'm' }]);
    return source;
  };
  await send('before all');
  const first = open();
  const groupId = `${config.clientId}.monitors`;
  await until('it has a place in each partition', async () => {
    const places = await admin.fetchOffsets({ groupId, topics: topics.map((one) => one.topic) });
    return places.every(({ partitions }) => partitions.every(({ offset }) => Number(offset) >= 0));
  });
  await first.close();
  assert.equal(first.counts.read, 0, 'it begins with what comes');
  await send('meanwhile');
  const second = open();
  t.after(() => second.close());
  await until('that is read', () => second.counts.read === 1);
});

test('labels join by id, whether their client named the route or nothing', { timeout: 600_000 }, async (t) => {
  const topicPrefix = `monitors-${randomUUID().slice(0, 8)}.`;
  const log = pino({ level: 'silent' });
  const config = kafkaSchema.parse({ brokers: [broker], topicPrefix, clientId: topicPrefix });
  const clients = await kafkaClients(config, log);
  const admin = clients.admin();
  t.after(() => admin.disconnect());
  await admin.connect();
  const names = ['iris.inference', 'iris.feedback', 'front_door.feedback', 'unmatched.feedback'];
  const topics = names.map((name) => ({ topic: clients.topic(name), numPartitions: 1 }));
  await admin.createTopics({ topics, waitForLeaders: true });
  const { spec } = monitorSchema.parse({
    apiVersion: 'switchyard/v1',
    kind: 'Monitor',
    metadata: { name: 'm' },
    spec: {
      model: 'iris',
      reference: { records: 1000 },
      quality: { prediction: 'outputs.y', metrics: [{ metric: 'mae', max: 1 }] },
    },
  });
  let labels = 0;
  const stream = new MonitorStream((event) => {
    if (event.kind === 'labels') labels = event.labels.total;
  });
  stream.set([{ name: 'm', spec, generation: 0, references: [] }]);
  const source = new KafkaSource(config, monitoringSchema.parse({}), stream, MESSAGES, log);
  t.after(() => source.close());
  source.follow([{ ...spec, route: 'front door' }]);
  const groupId = `${config.clientId}.monitors`;
  await until('it has a place in each topic', async () => {
    const places = await admin.fetchOffsets({ groupId, topics: topics.map(({ topic }) => topic) });
    return places.every(({ partitions }) => partitions.every(({ offset }) => Number(offset) >= 0));
  });
  const loop = new LogLoop();
  const ids = ['by-model', 'by-route', 'by-nothing'];
  for (const id of ids) loop.tap.finished(finishedRequest({ id }));
  const producer = clients.producer();
  await producer.connect();
  t.after(() => producer.disconnect());
  const send = (name: string, values: string[]) =>
    producer.send({ topic: clients.topic(name), messages: values.map((value) => ({ value })) });
  await send(
    names[0],
    loop.take().map((bytes) => recordJson(decodeRecord(bytes))),
  );
  const models = ['iris', 'front door', ''];
  for (const [i, id] of ids.entries())
    await send(names[i + 1], [JSON.stringify({ id, time: 1, model: models[i], rewards: {}, label: '0.25' })]);
  await until('all labels are joined', () => {
    stream.tick(Date.now());
    return labels === 3;
  });
});
