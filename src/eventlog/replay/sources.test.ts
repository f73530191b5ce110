import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { eventLogSchema, type FilesSinkConfig } from '../../config/event-log-schema.ts';
import { AvroWriter } from '../encode/avro-writer.ts';
import { writeFeedback } from '../encode/feedback-encoder.ts';
import { writeRecord } from '../encode/record-writer.ts';
import type { FeedbackRecord, LogRecord } from '../record.ts';
import { NO_CUTS } from '../sinks/cuts.ts';
import { mayHold, type Sought } from '../sinks/partitions.ts';
import { FolderStore } from '../sinks/store.ts';
import { TableSink } from '../sinks/table.ts';
import { FEEDBACK, INFERENCE, runsOf, SpoolRecord } from '../spool/format.ts';
import { Spool } from '../spool/spool.ts';
import { chooseSource } from './choose.ts';
import { FolderFiles } from './folder-files.ts';
import { keptFile } from './kept-files.ts';
import { ReplaySource } from './source.ts';

const scratch = mkdtempSync(join(tmpdir(), 'replay-sources-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const START = Date.UTC(2025, 10, 30, 22);
const HOUR_MS = 3_600_000;
const ALL: Sought = { from: undefined, to: Number.POSITIVE_INFINITY, model: undefined, route: undefined };

/** Has something in every field, or in none that may be absent. */
function request(i: number): LogRecord {
  const decided = i % 2 === 0;
  return {
    id: `r"${i}`,
    time: START + i * (HOUR_MS / 2),
    route: decided ? 'shop/ä' : '',
    variant: 'b',
    assigned: 'a',
    shadow: i % 4 === 1,
    model: i % 3 === 0 ? 'ranker' : 'iris',
    version: '3',
    digest: 'sha256:aa',
    requestedModel: 'iris',
    tenant: 'default',
    protocol: 'grpc',
    requestId: `client ${i}`,
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    status: 'ok',
    latencyMs: 0.1 + i,
    ...(decided
      ? { timings: { queue: 0.25, computeInput: 0, computeInfer: 1.5, computeOutput: 0.1, batchSize: 4 } }
      : {}),
    sampleRate: 0.1,
    propensity: 1 / 3,
    pmf: decided ? [1 / 3, 2 / 3] : [],
    eligible: decided ? ['a', 'b'] : [],
    stateVersion: 9_007_199_254_740_991,
    snapshotVersion: 7,
    role: 'canary',
    analysed: decided,
    detour: 'fallback',
    entity: 'u\n1',
    features: [
      { name: 'x', datatype: 'FP32', shape: [1, 3], values: new Float32Array([0.1, Number.NaN, -1e-20]) },
      { name: 'n', datatype: 'INT64', shape: [2], values: [9_223_372_036_854_775_807n, -1n] },
      { name: 's', datatype: 'BYTES', shape: [1], values: ['"é"'] },
      { name: 'taken', datatype: 'FP64', shape: [1], values: [] },
    ],
    predictions: [{ name: 'y', datatype: 'BOOL', shape: [2], values: [true, false] }],
    ...(decided ? { payloadRef: 'ab/abcd', payloadSha256: 'abcd' } : {}),
    schemaVersion: 2,
    redactions: decided ? ['inputs.taken: mask'] : [],
    override: decided ? 1 : -1,
    bucket: decided ? 4711 : -1,
    fallbacks: decided ? [{ variant: 'a', cause: 'unavailable' }] : [],
    ...(decided ? { proposed: { variant: 'a', pmf: [0.5, 0.5] } } : {}),
    context: decided ? [0.5, 1] : [],
  };
}

function label(i: number): FeedbackRecord {
  const time = START + i * (HOUR_MS / 2);
  const id = `r"${i}`;
  if (i % 2 === 1)
    return { id, time, route: '', model: 'iris', rewards: { reward: 0.1, 'of "day"': 2 }, tenant: 'acme' };
  const label = '{"class":""}';
  return { id, time, route: 'shop/ä', model: 'ranker', rewards: {}, label, event: `e${i}`, tenant: '' };
}

function spooled(i: number): SpoolRecord {
  const out = new AvroWriter();
  if (i % 5 < 3) writeRecord(request(i), out);
  else writeFeedback(label(i), out);
  return new SpoolRecord(i % 5 < 3 ? INFERENCE : FEEDBACK, out.u8, 0, out.at);
}

const RECORDS = Array.from({ length: 20 }, (_, i) => spooled(i));
const at = (record: number) => ({ segment: 0, offset: 0, record });

let folders = 0;
async function written(sink: object, log: string): Promise<{ folder: string; config: FilesSinkConfig }> {
  const [config] = eventLogSchema.parse({ sinks: [{ name: 'f', kind: 'files', ...sink }] }).sinks as FilesSinkConfig[];
  const folder = join(scratch, `files-${folders++}`);
  const table = new TableSink({
    config,
    store: new FolderStore(folder, Number.POSITIVE_INFINITY),
    cuts: { ...NO_CUTS, log },
    replayed: '',
  });
  for (const from of [0, 8]) {
    const records = RECORDS.slice(from, from === 0 ? 8 : 20);
    await table.send({ records, runs: runsOf(records), from: at(from), next: at(from + records.length) });
    await table.tick(Date.now(), true);
  }
  return { folder, config };
}

const emptySpool = (): Spool =>
  new Spool({
    dir: join(scratch, `spool-${folders++}`),
    segmentBytes: 2 ** 20,
    maxBytes: 2 ** 26,
    whenFull: 'drop-new',
    fsync: 'never',
  });

async function sourceOf(folder: string, format: 'jsonl' | 'parquet', arrived = 20, log = 'aa'): Promise<ReplaySource> {
  const origin = { files: new FolderFiles(folder, format), arrived: () => arrived, log };
  const source = new ReplaySource(emptySpool(), origin);
  await source.open();
  return source;
}

async function read(source: ReplaySource, sought: Partial<Sought> = {}): Promise<string[]> {
  const bytes: string[] = [];
  for await (const page of source.pages({ ...ALL, ...sought }))
    for (const record of page) bytes.push(`${record.kind} ${Buffer.from(record.body).toString('hex')}`);
  return bytes.sort();
}

const expected = (which: (i: number) => boolean): string[] =>
  RECORDS.filter((_, i) => which(i))
    .map((record) => `${record.kind} ${Buffer.from(record.body).toString('hex')}`)
    .sort();

for (const format of ['jsonl', 'parquet'] as const)
  for (const partitionBy of [[], ['date', 'hour'], ['model', 'route']])
    test(`${format} by ${partitionBy.join(' and ') || 'nothing'}: records are what they were, byte by byte`, async () => {
      const { folder } = await written({ format, partitionBy }, 'aa');
      const source = await sourceOf(folder, format);
      assert.equal(await source.keptSince(), undefined);
      assert.deepEqual(
        await read(source),
        expected(() => true),
      );
      assert.deepEqual([source.unreadable, source.lost, source.problem], [0, 0, '']);
      const sought = { from: START + 2 * HOUR_MS, to: START + 7 * HOUR_MS, model: 'ranker', route: 'shop/ä' };
      const meant = (i: number) => {
        const { model, route } = i % 5 < 3 ? request(i) : label(i);
        return i >= 4 && i < 14 && model === 'ranker' && route === 'shop/ä';
      };
      assert.ok(expected(meant).length > 1);
      assert.deepEqual(await read(await sourceOf(folder, format), sought), expected(meant));
    });

test('fields of others in JSON lines are left out, and a line that is no record is counted', async () => {
  const { folder } = await written({}, 'aa');
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const lines = readFileSync(path, 'utf8').trim().split('\n');
    const wider = lines.map((line) => line.replace(/\}$/, ',"ours":{"id":"x","time":1},"note":null}'));
    writeFileSync(path, `${[...wider, '{"id":"x"}'].join('\n')}\n`);
  }
  const source = await sourceOf(folder, 'jsonl');
  assert.deepEqual(
    await read(source),
    expected(() => true),
  );
  assert.equal(source.unreadable, readdirSync(folder).length);
});

test('files that arrived after the replay began are left to the spool; those of other servers are read', async () => {
  const { folder } = await written({ format: 'parquet', partitionBy: ['date'] }, 'aa');
  assert.deepEqual(
    await read(await sourceOf(folder, 'parquet', 8)),
    expected((i) => i < 8),
  );
  assert.deepEqual(
    await read(await sourceOf(folder, 'parquet', 8, 'bb')),
    expected(() => true),
  );
});

test('folders tell what need not be read', () => {
  const hour = { ...ALL, from: Date.UTC(2026, 10, 30, 7, 30), to: Date.UTC(2026, 10, 30, 8) };
  const holds = (key: string, sought: Partial<Sought> = {}) => mayHold(key, { ...hour, ...sought });
  assert.ok(holds('inference/date=2026-11-30/hour=07/inference-0-aa.jsonl'));
  assert.ok(!holds('inference/date=2026-11-30/hour=08/f'));
  assert.ok(!holds('inference/date=2026-11-30/hour=06/f'));
  assert.ok(holds('inference/date=2026-11-30/f'));
  assert.ok(!holds('inference/date=2026-11-29/f'));
  assert.ok(holds('inference/hour=03/f'), 'of which day?');
  assert.ok(holds('inference-0.jsonl'));
  assert.ok(holds('inference/model=a%2Fb/f', { model: 'a/b' }));
  assert.ok(!holds('inference/model=a%2Fb/route=r/f', { model: 'a/b', route: 's' }));
  assert.ok(!holds('inference/model=__HIVE_DEFAULT_PARTITION__/f', { model: 'a' }));
});

test('Parquet that is truncated is named and counted, and the rest is read', async () => {
  const { folder } = await written({ format: 'parquet' }, 'aa');
  const [first] = readdirSync(folder).sort().reverse();
  const path = join(folder, first);
  const whole = readFileSync(path);
  for (const bytes of [whole.subarray(0, whole.length - 20), Buffer.alloc(0), whole.fill(0x55, 10, 200)]) {
    writeFileSync(path, bytes);
    const source = await sourceOf(folder, 'parquet');
    const left = await read(source);
    assert.ok(left.length >= 8 && left.length < 20, String(left.length));
    assert.equal(source.unreadable, 1);
    assert.match(source.problem, new RegExp(`${first} is not readable as Parquet: `));
  }
});

test('a name tells kind, place and log; what a replay wrote is none', () => {
  const facts = { size: 1, writtenAt: 2 };
  assert.deepEqual(keptFile({ key: 'p/inference/date=x/inference-00012-9f.parquet', ...facts }, 'parquet'), {
    ...facts,
    key: 'p/inference/date=x/inference-00012-9f.parquet',
    kind: 'inference',
    first: 12,
    log: '9f',
  });
  assert.equal(keptFile({ key: 'feedback-7.jsonl', ...facts }, 'jsonl')?.log, '');
  for (const key of [
    'replay-abc-inference-0.jsonl',
    'feedback-7.parquet',
    'inference-x.jsonl',
    '.inference-7.jsonl.next',
  ])
    assert.equal(keptFile({ key, ...facts }, 'jsonl'), undefined, key);
});

test('the source is the one that is asked for, or best read; what loses fields is refused', () => {
  const s3 = { bucket: 'logs' };
  const { sinks } = eventLogSchema.parse({
    sinks: [
      { name: 'capture', kind: 'files', format: 'sagemaker' },
      { name: 'hook', kind: 'webhook', url: 'http://example.com' },
      { name: 'bucket', kind: 'files', s3 },
      { name: 'rows', kind: 'files', format: 'parquet' },
      { name: 'lines', kind: 'files' },
    ],
  });
  const chosen = (target: string, asked?: string) => chooseSource(sinks, target, asked)?.name;
  assert.equal(chosen('hook'), 'lines');
  assert.equal(chosen('lines'), 'rows');
  assert.equal(chosen('hook', 'bucket'), 'bucket');
  assert.equal(chooseSource(sinks.slice(0, 3), 'hook', undefined)?.name, 'bucket');
  assert.equal(chooseSource(sinks.slice(0, 2), 'hook', undefined), undefined);
  assert.equal(chooseSource(sinks.slice(4), 'lines', undefined)?.name, 'lines', 'there is no other');
  assert.throws(() => chosen('hook', 'capture'), {
    code: 'failed_precondition',
    message:
      'source: the sink "capture" writes the format sagemaker, which has neither route and version nor the reasons of a decision, so that no record can be made of it; name one of kind files with format jsonl or parquet (there are bucket, rows, lines), or leave it out',
  });
  assert.throws(() => chosen('lines', 'hook'), /"hook" is of kind webhook, which is only written to; name one/);
  assert.throws(() => chosen('lines', 'none'), { code: 'not_found', message: /can be read are bucket, rows, lines/ });
});
