import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { recordJson } from '../eventlog/encode/json.ts';
import { decodeRecord } from '../eventlog/encode/record-decoder.ts';
import { kafkaClients } from '../kafka/client.ts';
import { service } from '../testing/kafka-consumer.ts';
import { finishedRequest, LogLoop } from '../testing/log-records.ts';
import { until } from '../testing/script-models.ts';
import { ServerProcess } from '../testing/server-process.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-monitor-kill-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const KILLS = Number(process.env.SWITCHYARD_TEST_KILLS ?? 10);
const REFERENCE = 100;
const WINDOW = 200;
/** One topic keeps its order; of the other it is not known in which order its partitions are read. */
const PARTITIONS = { one: 1, many: 3 };
type Model = keyof typeof PARTITIONS;
const MODELS = Object.keys(PARTITIONS) as Model[];

const monitor = (model: Model) => ({
  ...{ apiVersion: 'switchyard/v1', kind: 'Monitor', metadata: { name: model } },
  spec: { model, reference: { records: REFERENCE }, window: { rows: WINDOW }, minRows: 100 },
});

interface Window {
  first_request: string;
  last_request: string;
  rows: number;
}

test('monitors that read topics count every record once, however often the server is killed', {
  timeout: 600_000,
}, async (t) => {
  const prefix = `kill-${randomUUID().slice(0, 8)}.`;
  const settings = { brokers: [broker], topicPrefix: prefix, clientId: prefix };
  const clients = await kafkaClients(kafkaSchema.parse(settings), pino({ level: 'silent' }));
  const admin = clients.admin();
  await admin.connect();
  t.after(() => admin.disconnect());
  const topics = MODELS.map((model) => ({
    topic: clients.topic(`${model}.inference`),
    numPartitions: PARTITIONS[model],
  }));
  await admin.createTopics({ topics, waitForLeaders: true });
  const producer = clients.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  t.after(() => producer.disconnect());

  const loop = new LogLoop();
  loop.tap.finished(finishedRequest());
  const like = decodeRecord(loop.take()[0]);
  const [column] = like.features;
  /** What was sent of each model: id and rows. A record lost and another one doubled must not make up for one another. */
  const sent: Record<Model, { id: string; rows: number }[]> = { one: [], many: [] };
  const send = async (model: Model, count: number, rowsOf: (i: number) => number, into?: number): Promise<void> => {
    const messages = Array.from({ length: count }, () => {
      const i = sent[model].length;
      const rows = rowsOf(i);
      const id = `${model}-${i}`;
      sent[model].push({ id, rows });
      const values = Array.from({ length: rows }, (_, row) => Math.sin(i + row));
      const features = [{ ...column, shape: [rows, 1], values }];
      return {
        value: recordJson({ ...like, id, model, time: Date.now(), features, predictions: [] }),
        partition: into ?? i % PARTITIONS[model],
      };
    });
    await producer.send({ topic: clients.topic(`${model}.inference`), messages });
  };

  for (const model of MODELS) writeFileSync(join(scratch, `${model}.yaml`), JSON.stringify(monitor(model)));
  const file = join(scratch, 'switchyard.yaml');
  const monitoring = { files: ['one.yaml', 'many.yaml'], source: 'kafka', sessionTimeout: '1500ms' };
  writeFileSync(file, JSON.stringify({ eventLog: { enabled: true, nice: 0 }, kafka: settings, monitoring }));
  const dataDir = join(scratch, 'data');
  const start = () => ServerProcess.start(['--config', file, '--no-supervise'], { dataDir });
  let server = await start();
  t.after(() => server.kill());
  const metrics = async (name: string): Promise<number[]> => {
    const text = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
    return text.split('\n').flatMap((line) => (line.startsWith(`${name}{`) ? [Number(line.split(' ')[1])] : []));
  };
  const groupId = `${prefix}.monitors`;
  const begun = async () => {
    const places = await admin.fetchOffsets({ groupId, topics: topics.map(({ topic }) => topic) });
    return places.every(({ partitions }) => partitions.every(({ offset }) => Number(offset) >= 0));
  };
  await until('its group has begun', begun);

  for (const model of MODELS) await send(model, REFERENCE, () => 1);
  const writing = new AbortController();
  const writer = (async () => {
    while (!writing.signal.aborted) {
      await send('one', 5, () => 1);
      await send('many', 6, (i) => 1 + ((i * 7919) % 13));
      await sleep(20);
    }
  })();
  for (let kill = 0; kill < KILLS; kill++) {
    // Every other one before it may have read anything.
    if (kill % 2 === 0)
      await until('it reads', async () => (await metrics('switchyard_eventlog_monitor_messages_total'))[0] > 0);
    await sleep(Math.random() * 1000);
    await server.kill();
    server = await start();
  }
  writing.abort();
  await writer;
  const lag = async (): Promise<number | undefined> => {
    const lags = await metrics('kafka_consumergroup_lag');
    return lags.length < topics.reduce((sum, { numPartitions }) => sum + numPartitions, 0)
      ? undefined
      : Math.max(...lags);
  };
  await until('all of it is read', async () => (await lag()) === 0);
  // The last window lacks one row, then none: had anything been lost or doubled, the last record would not close it.
  const total = (model: Model) => sent[model].reduce((sum, { rows }) => sum + rows, 0) - REFERENCE;
  for (const model of MODELS) {
    const lacking = WINDOW - (total(model) % WINDOW);
    const rows = lacking === 1 ? WINDOW : lacking - 1;
    for (const count of [rows, 1]) await send(model, 1, () => count, 0);
  }

  const windows = async (model: Model): Promise<Window[]> => {
    const url = `http://127.0.0.1:${server.ports.admin}/api/v1/monitors/${model}/windows?limit=1000`;
    const { windows: rows } = (await (await fetch(url)).json()) as { windows: Window[] };
    return rows
      .reverse()
      .map(({ first_request, last_request, rows: count }) => ({ first_request, last_request, rows: count }));
  };
  for (const model of MODELS) {
    const last = sent[model].at(-1)?.id;
    const ended = async () => (await windows(model)).length >= total(model) / WINDOW;
    await until(`the windows of ${model} have ended`, ended);
    const list = await windows(model);
    assert.deepEqual([list.length * WINDOW, list.at(-1)?.last_request], [total(model), last], model);
  }
  // Of each row of the topic that has an order, whose it is.
  const rows = sent.one.slice(REFERENCE).flatMap(({ id, rows: count }) => Array.from({ length: count }, () => id));
  const expected = Array.from({ length: rows.length / WINDOW }, (_, i) => ({
    first_request: rows[i * WINDOW],
    last_request: rows[(i + 1) * WINDOW - 1],
    rows: WINDOW,
  }));
  assert.deepEqual(await windows('one'), expected);
  t.diagnostic(`${KILLS} kills, ${sent.one.length + sent.many.length} records`);
});
