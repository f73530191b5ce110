import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { pino } from 'pino';
import { datasetsSchema } from '../../config/datasets-schema.ts';
import { type BucketConfig, eventLogSchema, type FilesSinkConfig } from '../../config/event-log-schema.ts';
import { collect } from '../../datasets/batch.ts';
import { Connectors } from '../../datasets/connectors/connectors.ts';
import { s3Client } from '../../shared/s3-client.ts';
import { freshBucket } from '../../testing/artifact-storage.ts';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { until } from '../../testing/script-models.ts';
import { beginCounting } from '../counts.ts';
import { AvroWriter } from '../encode/avro-writer.ts';
import { writeFeedback } from '../encode/feedback-encoder.ts';
import { MESSAGES } from '../encode/message-reader.ts';
import { CursorFile } from '../spool/cursor.ts';
import { FEEDBACK, HEADER_BYTES, INFERENCE, sealRecord } from '../spool/format.ts';
import { Spool } from '../spool/spool.ts';
import { BucketStore } from './bucket-store.ts';
import { CutFile } from './cuts.ts';
import { SinkRunner } from './runner.ts';
import { TableSink } from './table.ts';

const { bucket, endpoint, region, accessKeyId, secretAccessKey } = await freshBucket();
const access = { bucket, endpoint, region, accessKeyId, secretAccessKey, pathStyle: true };
const client = s3Client(access);
const dir = mkdtempSync(join(tmpdir(), 'table-bucket-'));
after(() => {
  client.destroy();
  rmSync(dir, { recursive: true, force: true });
});

async function keys(prefix: string): Promise<string[]> {
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }));
  return Contents.map(({ Key = '' }) => Key);
}

const DAY = Date.UTC(2026, 10, 29, 23);
const loop = new LogLoop();
/** Every third one is a label, and each hour has forty. */
function sealed(number: number): Uint8Array {
  const id = `r${number}`;
  const time = DAY + Math.floor(number / 40) * 3_600_000;
  const out = new AvroWriter();
  out.at = HEADER_BYTES;
  if (number % 3 === 2) {
    out.byte(FEEDBACK);
    writeFeedback({ id, time, route: '', model: 'iris', rewards: { reward: 1 }, event: `e${number}`, tenant: '' }, out);
  } else {
    out.byte(INFERENCE);
    loop.tap.finished(finishedRequest({ id, time }));
    const [body] = loop.take();
    out.raw(body, 0, body.length);
  }
  sealRecord(out.u8, 0, out.at);
  return out.u8.slice(0, out.at);
}

/** A spool, and a sink's runner on it that can be left as a crash leaves it. */
class Process {
  readonly spool: Spool;
  readonly counts = new Float64Array(3);
  readonly runner: SinkRunner;
  readonly sink: TableSink;

  constructor(config: FilesSinkConfig, name: string, s3: BucketConfig) {
    this.spool = new Spool({
      dir: join(dir, name),
      segmentBytes: 2 ** 20,
      maxBytes: 2 ** 26,
      whenFull: 'drop-new',
      fsync: 'never',
    });
    const cursor = new CursorFile(join(dir, `${name}.cursor`));
    const cuts = new CutFile(join(dir, `${name}.cuts`), () => cursor.load()?.position.record ?? 0, false);
    this.sink = new TableSink({ config, store: new BucketStore(s3), cuts, replayed: '' });
    const spooled = beginCounting(new SharedArrayBuffer(48), [], this.spool)[0];
    const log = pino({ level: 'silent' });
    const parts = { spool: this.spool, cursor, arriving: () => 0, counts: this.counts, spooled, log };
    this.runner = new SinkRunner(name, 'files', this.sink, parts);
    this.runner.start();
  }

  append(from: number, to: number): void {
    for (let i = from; i < to; i++) assert.ok(this.spool.append(sealed(i), 1));
    this.runner.notify();
  }

  async sent(count: number): Promise<void> {
    await until(`${count} records arrived`, async () => this.runner.figures().sent === count);
  }

  /** What is left is what the disk has. */
  async leave(): Promise<void> {
    await this.runner.stop(0);
    this.spool.close();
  }
}

const configOf = (format: string, s3: BucketConfig): FilesSinkConfig =>
  eventLogSchema.parse({
    sinks: [{ name: 'lake', kind: 'files', format, s3, partitionBy: ['date', 'hour', 'model'], rotateAfter: '300ms' }],
  }).sinks[0] as FilesSinkConfig;

const connectors = new Connectors({
  config: datasetsSchema.parse({ connections: { lake: { kind: 's3', ...access } } }),
  logFolders: {},
  messages: MESSAGES,
  kafka: () => Promise.reject(new Error('there is no Kafka')),
});

for (const format of ['jsonl', 'parquet'])
  test(`${format}: after a crash between upload and cursor every record is in the bucket once, in its partition`, {
    timeout: 600_000,
  }, async () => {
    const prefix = `${format}/`;
    const s3 = { ...access, prefix };
    const config = configOf(format, s3);
    const cursor = join(dir, `${format}.cursor`);
    const first = new Process(config, format, s3);
    copyFileSync(cursor, `${cursor}.before`);
    first.append(0, 50);
    await first.sent(50);
    const before = await keys(prefix);
    assert.ok(before.length >= 4, before.join());
    await first.leave();
    // The process was killed before the cursor was saved.
    copyFileSync(`${cursor}.before`, cursor);
    const second = new Process(config, format, s3);
    second.append(50, 120);
    await second.sent(120);
    await second.leave();
    const after = await keys(prefix);
    assert.deepEqual(
      before.filter((key) => !after.includes(key)),
      [],
      'the same records have the same names',
    );
    const shape =
      /^\w+\/(inference|feedback)\/date=2026-11-(29|30)\/hour=\d\d\/model=iris\/\1-\d{15}-[0-9a-f]{8}\.\w+$/;
    for (const key of after) assert.match(key, shape);
    // The dataset importer reads the table, and the partitions are columns.
    const ids: unknown[] = [];
    for (const kind of ['inference', 'feedback']) {
      const source = await connectors.open(
        { kind: 's3', connection: 'lake', key: `${prefix}${kind}/`, partitions: true },
        {},
      );
      const at = (name: string): number => source.schema.fields.findIndex((field) => field.name === name);
      const { rows, columns } = await collect(source);
      for (let row = 0; row < rows; row++) {
        ids.push(columns[at('id')][row]);
        const iso = new Date(columns[at('time')][row] as number).toISOString();
        assert.equal(columns[at('date')][row], iso.slice(0, 10));
        assert.equal(columns[at('hour')][row], Number(iso.slice(11, 13)));
        assert.equal(columns[at('model')][row], 'iris');
      }
    }
    const wanted = Array.from({ length: 120 }, (_, i) => `r${i}`);
    assert.deepEqual(ids.sort(), wanted.sort());
  });

test('a bucket that is away or not there: the log goes on, and all of it arrives afterwards', {
  timeout: 600_000,
}, async () => {
  const prefix = 'away/';
  const s3 = { ...access, prefix };
  const config = configOf('jsonl', s3);
  const away = new Process(config, 'away', { ...s3, endpoint: 'http://127.0.0.1:9' });
  away.append(0, 30);
  await until('it failed twice', async () => away.runner.figures().errors >= 2);
  away.append(30, 40);
  const figures = away.runner.figures();
  assert.match(
    figures.lastError,
    /^s3:\/\/test-[\w-]+\/away\/(inference|feedback)\/\S+ cannot be written: .*ECONNREFUSED/,
  );
  assert.deepEqual([figures.sent, figures.refused, figures.lost, figures.backlog], [0, 0, 0, 40]);
  await away.leave();
  const wrong = new Process(config, 'away', { ...s3, bucket: `${bucket}-none` });
  await until('it failed', async () => wrong.runner.figures().errors >= 1);
  assert.match(wrong.runner.figures().lastError, /NoSuchBucket/);
  await wrong.leave();
  const back = new Process(config, 'away', s3);
  await back.sent(40);
  const { recovered, sent, backlog } = back.runner.figures();
  assert.deepEqual([recovered, sent, backlog], [40, 40, 0]);
  await back.leave();
  const source = await connectors.open({ kind: 's3', connection: 'lake', key: `${prefix}inference/` }, {});
  assert.equal((await collect(source)).rows, 27);
});
