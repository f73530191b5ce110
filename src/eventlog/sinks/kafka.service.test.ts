import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import kafkajs, { type ITopicConfig } from 'kafkajs';
import { pino } from 'pino';
import { eventLogSchema, type KafkaSinkConfig } from '../../config/event-log-schema.ts';
import { kafkaSchema } from '../../config/kafka-schema.ts';
import { kafkaClients } from '../../kafka/client.ts';
import type { ServingModel } from '../../pipeline/types.ts';
import { finishedRequest, IRIS_TABLE, LogLoop } from '../../testing/log-records.ts';
import { fp32 } from '../../testing/loopback.ts';
import { until } from '../../testing/script-models.ts';
import { INFERENCE, SpoolRecord } from '../spool/format.ts';
import { KafkaSink } from './kafka.ts';
import type { Batch } from './sink.ts';

/** Of its own: this one knows access control lists. */
const PORT = 19_892;
const broker = async (verb: string): Promise<string> =>
  (
    await promisify(execFile)('.ci/services/kafka.sh', [verb, String(PORT)], {
      env: { ...process.env, KAFKA_ACLS: 'true' },
    })
  ).stdout.trim();
after(() => broker('stop'));

const HOUR = 3_600_000;
const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

/** A request's record. `floats`: of its input, which no packing makes smaller. */
interface Wanted {
  id: string;
  model: string;
  time?: number;
  floats?: number;
}

/** Batches as the runner makes them, one behind the other. */
function batches(): (...wanted: readonly Wanted[]) => Batch {
  let record = 0;
  return (...wanted) => {
    const iris = IRIS_TABLE.models.get('iris') as ServingModel;
    const models = new Map(wanted.map(({ model: name }) => [name, { ...iris, name }]));
    const loop = new LogLoop({}, { table: { generation: 1, models } });
    for (const { id, model, time = Date.now(), floats = 1 } of wanted) {
      const base = finishedRequest({ id, time });
      const noise = new Int32Array(randomBytes(4 * floats).buffer.slice(0, 4 * floats));
      const inputs = [
        fp32(
          'x',
          [1, floats],
          Array.from(noise, (value) => value / 2 ** 31),
        ),
      ];
      loop.tap.finished({
        ...base,
        request: { ...base.request, model, inputs },
        response: { ...(base.response as NonNullable<typeof base.response>), model },
      });
    }
    const records = loop.take().map((body) => new SpoolRecord(INFERENCE, body, 0, body.length));
    const from = { segment: 0, offset: 0, record };
    record += records.length;
    return { runs: [], records, from, next: { ...from, record } };
  };
}

async function start(settings: object, topics: readonly ITopicConfig[]) {
  const prefix = `sink-${randomUUID().slice(0, 8)}.`;
  const kafka = kafkaSchema.parse({ brokers: [await broker('start')], topicPrefix: prefix });
  const clients = await kafkaClients(kafka, pino({ level: 'silent' }));
  const admin = clients.admin();
  await admin.connect();
  await admin.createTopics({
    topics: topics.map((each) => ({ ...each, topic: clients.topic(each.topic) })),
    waitForLeaders: true,
  });
  const told: { topic: string; reason?: string }[] = [];
  const sink = new KafkaSink(
    eventLogSchema.parse({ sinks: [{ name: 'kafka', kind: 'kafka', ...settings }] }).sinks?.[0] as KafkaSinkConfig,
    clients,
    () => ({ ref: 'sha256:ff', sha256: 'ff' }),
    { error: (fields: object) => void told.push(fields as { topic: string }) },
  );
  const came: { topic: string; id: string; time: string; timestamp: number }[] = [];
  const listening: (() => Promise<void>)[] = [];
  const listen = async (...names: readonly string[]): Promise<void> => {
    const consumer = clients.consumer(randomUUID());
    listening.push(() => consumer.disconnect());
    await consumer.connect();
    await consumer.subscribe({ topics: names.map(clients.topic), fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ topic, message: { headers, timestamp } }) =>
        void came.push({
          topic: topic.slice(prefix.length),
          id: String(headers?.ce_id),
          time: String(headers?.ce_time),
          timestamp: Number(timestamp),
        }),
    });
  };
  const ids = (topic: string) => came.filter((one) => one.topic === topic).map(({ id }) => id);
  const close = async () => {
    await Promise.all(listening.map((end) => end()));
    await admin.disconnect();
    await sink.close();
  };
  return { clients, admin, sink, told, came, ids, listen, close };
}

test('records of another time than the topic allows go with the time of sending', { timeout: 600_000 }, async (t) => {
  const configEntries = ['before', 'after'].map((side) => ({
    name: `message.timestamp.${side}.max.ms`,
    value: String(HOUR),
  }));
  const { sink, came, ids, told, listen, close } = await start({}, [
    { topic: 'skewed.inference', numPartitions: 1, configEntries },
    { topic: 'iris.inference', numPartitions: 1 },
  ]);
  t.after(close);
  await listen('skewed.inference', 'iris.inference');
  const batch = batches();
  const now = Date.now();
  const [old, ahead] = [now - 30 * HOUR, now + 30 * HOUR];
  const skewed = batch(
    { id: 'a', model: 'skewed', time: old },
    { id: 'b', model: 'iris', time: old },
    { id: 'c', model: 'skewed', time: ahead },
    { id: 'd', model: 'skewed', time: now },
  );
  assert.deepEqual(await sink.send(skewed), { settled: true, refused: 0 });
  assert.deepEqual(await sink.send(batch({ id: 'e', model: 'skewed' })), { settled: true, refused: 0 });
  await until('all have arrived', () => ids('skewed.inference').length === 4 && ids('iris.inference').includes('b'));
  assert.deepEqual(ids('skewed.inference'), ['a', 'c', 'd', 'e']);
  const first = came.find(({ id }) => id === 'a');
  assert.equal(first?.time, new Date(old).toISOString(), 'ce_time keeps its own');
  assert.ok((first?.timestamp ?? 0) >= now);
  assert.deepEqual(told, []);
});

test('a topic of several partitions that refuses a part of a request gets the rest', {
  timeout: 600_000,
}, async (t) => {
  const limit = { name: 'max.message.bytes', value: '30000' };
  const { sink, ids, listen, close } = await start({ compression: 'none' }, [
    { topic: 'iris.inference', numPartitions: 2, configEntries: [limit] },
  ]);
  t.after(close);
  await listen('iris.inference');
  const batch = batches();
  // By their keys on both partitions; of those that are small several, so that their sequence numbers go on.
  const small = Array.from({ length: 12 }, (_, i) => ({ id: `small-${i}`, model: 'iris' }));
  const large = [0, 1].map((i) => ({ id: `large-${i}`, model: 'iris', floats: 5000 }));
  const taken = await sink.send(batch(...small.slice(0, 6), large[0], ...small.slice(6), large[1]));
  assert.deepEqual(taken, { settled: true, refused: 0 });
  assert.deepEqual(await sink.send(batch({ id: 'last', model: 'iris' })), { settled: true, refused: 0 });
  await until('all have arrived', () => new Set(ids('iris.inference')).size === 15);
});

test('a topic that this user may not write to holds no other up, and gets what it has missed', {
  timeout: 600_000,
}, async (t) => {
  const names = ['free', 'unwritten', 'unseen'];
  const { clients, admin, sink, told, ids, listen, close } = await start(
    {},
    names.map((name) => ({ topic: `${name}.inference`, numPartitions: 1 })),
  );
  t.after(close);
  await listen('free.inference');
  const denied = [
    { name: 'unwritten', operation: AclOperationTypes.WRITE },
    { name: 'unseen', operation: AclOperationTypes.ALL },
  ].map(({ name, operation }) => ({
    ...{ resourceType: AclResourceTypes.TOPIC, resourceName: clients.topic(`${name}.inference`) },
    ...{ resourcePatternType: ResourcePatternTypes.LITERAL, permissionType: AclPermissionTypes.DENY },
    ...{ principal: 'User:ANONYMOUS', host: '*', operation },
  }));
  await admin.createAcls({ acl: denied });
  const batch = batches();
  const all = (i: number) => names.map((model) => ({ id: `${model}-${i}`, model }));
  const sent = [batch(...all(0)), batch(...all(1))];
  for (const each of sent) assert.deepEqual(await sink.send(each), { settled: false, refused: 0 });
  assert.equal(sink.waits, true);
  await until('the free one goes on', () => ids('free.inference').includes('free-1'));
  const reason = 'this user may not write to it; allow it in an ACL';
  const expected = ['unwritten', 'unseen'].map((name) => ({
    sink: 'kafka',
    topic: clients.topic(`${name}.inference`),
    reason,
  }));
  assert.deepEqual(told, expected);

  await admin.deleteAcls({ filters: denied });
  await listen('unwritten.inference', 'unseen.inference');
  assert.equal((await sink.tick(0)).again, undefined);
  assert.equal((await sink.tick(HOUR)).again, true);
  assert.equal((await sink.send(sent[0])).settled, true);
  assert.equal((await sink.send(sent[1])).settled, true);
  await until('they have all', () => ids('unwritten.inference').length >= 2 && ids('unseen.inference').length >= 2);
  for (const name of ['unwritten', 'unseen']) assert.deepEqual(ids(`${name}.inference`), [`${name}-0`, `${name}-1`]);
  const own = ids('free.inference');
  await sink.send(batch({ id: 'last', model: 'free' }));
  await until('it goes on', () => ids('free.inference').includes('last'));
  assert.deepEqual(ids('free.inference'), [...own, 'last'], 'nothing came twice when the others were read again');
});

test('a compacted topic that takes no blocks says so, and what it missed waits', { timeout: 600_000 }, async (t) => {
  const { sink, told, ids, listen, close } = await start({ layout: 'block' }, [
    {
      topic: 'compacted.inference',
      numPartitions: 1,
      configEntries: [{ name: 'cleanup.policy', value: 'compact' }],
    },
    { topic: 'iris.inference', numPartitions: 1 },
  ]);
  t.after(close);
  await listen('iris.inference');
  const batch = batches();
  const both = batch({ id: 'a', model: 'compacted' }, { id: 'b', model: 'iris' });
  assert.deepEqual(await sink.send(both), { settled: false, refused: 0 });
  await until('the other goes on', () => ids('iris.inference').includes('b'));
  assert.match(told[0].reason ?? '', /a compacted topic takes none without a key, as blocks are/);
  assert.equal(told.length, 1);
});
