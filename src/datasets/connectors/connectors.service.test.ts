import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, test } from 'node:test';
import pg from 'pg';
import { pino } from 'pino';
import { datasetsSchema } from '../../config/datasets-schema.ts';
import { kafkaSchema } from '../../config/kafka-schema.ts';
import { MESSAGES } from '../../eventlog/encode/message-reader.ts';
import { kafkaClients } from '../../kafka/client.ts';
import { freshBucket } from '../../testing/artifact-storage.ts';
import { service } from '../../testing/kafka-consumer.ts';
import { type Batch, collect, type Schema, sourceOf } from '../batch.ts';
import type { Progress, Reject } from '../reading.ts';
import { Connectors } from './connectors.ts';
import type { SourceSpec, TargetSpec } from './spec.ts';

const url = service('SWITCHYARD_TEST_SOURCE_POSTGRES_URL', '.ci/services/postgres.sh');
const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const { bucket, endpoint, region, accessKeyId, secretAccessKey } = await freshBucket();
const prefix = `t${randomUUID()}.`;
const kafka = kafkaSchema.parse({ brokers: [broker] });
const logger = pino({ level: 'silent' });
const connectors = new Connectors({
  config: datasetsSchema.parse({
    connections: {
      db: { kind: 'postgres', url },
      hurried: { kind: 'postgres', url, statementSeconds: 0.2 },
      away: { kind: 'postgres', url: 'postgres://nobody@127.0.0.1:1/x' },
      lake: { kind: 's3', bucket, endpoint, region, accessKeyId, secretAccessKey, pathStyle: true },
      stranger: { kind: 's3', bucket, endpoint, region, accessKeyId, secretAccessKey: 'wrong', pathStyle: true },
    },
  }),
  logFolders: {},
  messages: MESSAGES,
  kafka: () => kafkaClients(kafka, logger),
});

const SCHEMA: Schema = {
  fields: [
    { name: 'id', type: 'integer' },
    { name: 'amount', type: 'number' },
    { name: 'Country name', type: 'string' },
    { name: 'at', type: 'timestamp' },
    { name: 'ok', type: 'boolean' },
    { name: 'raw', type: 'binary' },
    { name: 'vector', type: 'numbers' },
  ],
};
const ROWS = 10_000;
const BATCH: Batch = {
  rows: ROWS,
  columns: [
    Array.from({ length: ROWS }, (_, i) => (i === 0 ? 2n ** 62n + 1n : i)),
    Array.from({ length: ROWS }, (_, i) => (i % 10 === 0 ? null : i / 3)),
    Array.from({ length: ROWS }, (_, i) => (i % 2 === 0 ? "O'Higgins, Ä" : '')),
    Array.from({ length: ROWS }, (_, i) => 1_700_000_000_000 + i),
    Array.from({ length: ROWS }, (_, i) => (i % 3 === 0 ? null : i % 2 === 0)),
    Array.from({ length: ROWS }, (_, i) => new Uint8Array([i & 255, 0])),
    Array.from({ length: ROWS }, (_, i) => [i, 0.5]),
  ],
};

const rows = sourceOf(SCHEMA, BATCH);
const tables: string[] = [];
after(async () => {
  const client = new pg.Client(url);
  await client.connect();
  for (const table of tables) await client.query(`DROP TABLE IF EXISTS ${table}`);
  await client.end();
});

const write = (target: TargetSpec) => connectors.write(target, rows);
const open = (spec: SourceSpec, options = {}) => connectors.open(spec, options);

test('PostgreSQL: rows come back as they were written, and queries can only read', { timeout: 600_000 }, async () => {
  const table = `datasets_${randomUUID().replaceAll('-', '')}`;
  tables.push(table);
  const target = { kind: 'postgres', connection: 'db', table } as const;
  await write(target);
  const source = await open({ kind: 'postgres', connection: 'db', query: `SELECT * FROM ${table} ORDER BY at;` });
  assert.deepEqual(source.schema, SCHEMA);
  assert.deepEqual(await collect(source), BATCH);
  await assert.rejects(write(target), { code: 'conflict' });
  const ask = async (query: string, connection = 'db') => collect(await open({ kind: 'postgres', connection, query }));
  await assert.rejects(ask('SELECT nothing'), /PostgreSQL refuses the query: column "nothing" does not exist/);
  await assert.rejects(ask(`SELECT 1; DROP TABLE ${table}`), /PostgreSQL refuses the query/);
  await assert.rejects(ask(`WITH x AS (DELETE FROM ${table} RETURNING 1) SELECT * FROM x`), {
    code: 'invalid_argument',
  });
  await assert.rejects(ask('SELECT pg_sleep(60)', 'hurried'), { code: 'deadline_exceeded' });
  await assert.rejects(ask('SELECT 1', 'away'), { code: 'unavailable' });
  assert.equal((await ask(`SELECT count(*) AS n FROM ${table}`)).columns[0][0], ROWS);
  const early = await open({ kind: 'postgres', connection: 'db', query: `SELECT * FROM ${table}` });
  for await (const _ of early.batches()) break;
});

test('S3: every format is written and read, and errors say what is wrong', { timeout: 600_000 }, async () => {
  for (const format of ['csv', 'jsonl', 'parquet', 'arrow'] as const) {
    const key = `folder/rows.${format}`;
    await write({ kind: 's3', connection: 'lake', key });
    const types = Object.fromEntries(SCHEMA.fields.map(({ name, type }) => [name, type]));
    const seen: Progress[] = [];
    const source = await open(
      { kind: 's3', connection: 'lake', key, types },
      { onProgress: (progress: Progress) => void seen.push(progress) },
    );
    assert.deepEqual(await collect(source), BATCH, format);
    assert.equal(seen.at(-1)?.rows, ROWS);
  }
  const read = async (key: string | string[], connection = 'lake') => open({ kind: 's3', connection, key });
  // Several objects.
  const few = (id: number) => sourceOf({ fields: [{ name: 'id', type: 'integer' }] }, { rows: 1, columns: [[id]] });
  const ids = Array.from({ length: 12 }, (_, i) => i);
  for (const id of ids)
    await connectors.write({ kind: 's3', connection: 'lake', key: `days/${String(id).padStart(4, '0')}.csv` }, few(id));
  assert.deepEqual((await collect(await read('days/'))).columns, [ids]);
  assert.deepEqual((await collect(await read(['days/0007.csv', 'days/000[5-8].csv']))).columns, [[7, 5, 6, 8]]);
  await assert.rejects(read('days/*.parquet'), { code: 'not_found' });
  await assert.rejects(read(['days/0001.csv', 'none.csv']), { code: 'not_found' });
  await assert.rejects(read('none.csv'), { code: 'not_found' });
  await assert.rejects(read('folder/rows.csv', 'stranger'), { code: 'permission_denied' });
});

test('Kafka: what is in a topic is read, up to where it was; other values are rejected', {
  timeout: 600_000,
}, async (t) => {
  const clients = await kafkaClients(kafka, logger);
  const topic = `${prefix}rows`;
  const admin = clients.admin();
  await admin.connect();
  t.after(async () => {
    await admin.deleteTopics({ topics: [topic] }).catch(() => {});
    await admin.disconnect();
  });
  await assert.rejects(open({ kind: 'kafka', topic: `${prefix}none` }), { code: 'not_found' });
  await admin.createTopics({ topics: [{ topic, numPartitions: 3 }], waitForLeaders: true });
  await assert.rejects(open({ kind: 'kafka', topic }), /there is no row/);
  await write({ kind: 'kafka', topic, key: 'id' });
  const producer = clients.producer();
  await producer.connect();
  await producer.send({ topic, messages: [{ value: 'poison' }, { value: null }] });
  await producer.disconnect();
  const rejects: Reject[] = [];
  const types = Object.fromEntries(SCHEMA.fields.map(({ name, type }) => [name, type]));
  const source = await open(
    { kind: 'kafka', topic, types },
    { rejects: { add: (reject: Reject) => void rejects.push(reject) } },
  );
  const { rows: count, columns } = await collect(source);
  assert.equal(count, ROWS);
  assert.equal(rejects.length, 2);
  const at = source.schema.fields.findIndex(({ name }) => name === 'at');
  assert.deepEqual(new Set(columns[at]), new Set(BATCH.columns[3]));
  const key = source.schema.fields.findIndex(({ name }) => name === 'kafka_key');
  const id = source.schema.fields.findIndex(({ name }) => name === 'id');
  assert.deepEqual(columns[key].map(String), columns[id].map(String));
  const some = await open({ kind: 'kafka', topic, types, maxRecords: 7 }, { rejects: { add: () => {} } });
  assert.ok((await collect(some)).rows <= 7, 'maxRecords bounds what is read');
  const later = open({ kind: 'kafka', topic, from: Date.now() + 3_600_000 });
  await assert.rejects(later, /there is no row/);
});
