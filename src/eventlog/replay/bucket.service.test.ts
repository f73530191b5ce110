import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import { eventLogSchema, type FilesSinkConfig } from '../../config/event-log-schema.ts';
import { s3Client } from '../../shared/s3-client.ts';
import { freshBucket } from '../../testing/artifact-storage.ts';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { BucketStore } from '../sinks/bucket-store.ts';
import { NO_CUTS } from '../sinks/cuts.ts';
import { TableSink } from '../sinks/table.ts';
import { INFERENCE, runsOf, SpoolRecord } from '../spool/format.ts';
import { Spool } from '../spool/spool.ts';
import { BucketFiles } from './bucket-files.ts';
import { ReplaySource } from './source.ts';

const scratch = mkdtempSync(join(tmpdir(), 'replay-bucket-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
const { bucket, endpoint, region, accessKeyId, secretAccessKey } = await freshBucket();

const START = Date.UTC(2025, 10, 30, 22);
const loop = new LogLoop();
/** Wide enough that the file of a round is read in several pieces. */
const inputs = [{ name: 'x', datatype: 'FP32', shape: [1, 2000], data: new Uint8Array(8000).fill(63) }] as never;
const RECORDS = Array.from({ length: 60 }, (_, i) => {
  const { request } = finishedRequest();
  loop.tap.finished(finishedRequest({ id: `r${i}`, time: START + i * 600_000, request: { ...request, inputs } }));
  const [body] = loop.take();
  return new SpoolRecord(INFERENCE, body, 0, body.length);
});
const at = (record: number) => ({ segment: 0, offset: 0, record });
const hex = (records: readonly SpoolRecord[]) => records.map(({ body }) => Buffer.from(body).toString('hex')).sort();

for (const format of ['jsonl', 'parquet'] as const)
  test(`${format}: a range comes back from a bucket as it was, whichever server wrote it`, {
    timeout: 120_000,
  }, async () => {
    const s3 = { bucket, prefix: `${format}/`, endpoint, region, accessKeyId, secretAccessKey, pathStyle: true };
    const [config] = eventLogSchema.parse({ sinks: [{ name: 'f', kind: 'files', format, s3, partitionBy: ['date'] }] })
      .sinks as FilesSinkConfig[];
    for (const [log, from] of [
      ['aaaaaaaa', 0],
      ['bbbbbbbb', 30],
    ] as const) {
      const cuts = { ...NO_CUTS, log };
      const sink = new TableSink({ config, store: new BucketStore(s3), cuts, replayed: '' });
      const records = RECORDS.slice(from, from + 30);
      await sink.send({ records, runs: runsOf(records), from: at(0), next: at(30) });
      await sink.tick(Date.now(), true);
      await sink.close();
    }
    const spool = new Spool({
      dir: join(scratch, format),
      segmentBytes: 2 ** 20,
      maxBytes: 2 ** 26,
      whenFull: 'drop-new',
      fsync: 'never',
    });
    const source = async (more: object = {}) => {
      const files = new BucketFiles({ ...s3, ...more }, format, 1);
      const own = new ReplaySource(spool, { files, arrived: () => 30, log: 'aaaaaaaa' });
      await own.open();
      return own;
    };
    const sought = { from: START + 10 * 600_000, to: START + 50 * 600_000, model: undefined, route: undefined };
    const read: SpoolRecord[] = [];
    const whole = await source();
    assert.equal(await whole.keptSince(), undefined);
    for await (const page of whole.pages(sought)) read.push(...page);
    assert.deepEqual(hex(read), hex(RECORDS.slice(10, 50)));
    await assert.rejects(source({ bucket: `${bucket}-not` }), {
      code: 'unavailable',
      message: new RegExp(`^s3://${bucket}-not/${format}/inference/ cannot be read: NoSuchBucket`),
    });
    // A lifecycle rule takes objects away while they are read.
    const files = new BucketFiles(s3, format, 1);
    const client = s3Client(s3);
    const late = new ReplaySource(spool, { files, arrived: () => 30, log: 'aaaaaaaa' });
    await late.open();
    for (const { key } of await files.list())
      if (key.includes('aaaaaaaa')) await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
    client.destroy();
    const left: SpoolRecord[] = [];
    for await (const page of late.pages(sought)) left.push(...page);
    assert.deepEqual(hex(left), hex(RECORDS.slice(30, 50)));
    assert.equal(late.unreadable, 0);
  });
