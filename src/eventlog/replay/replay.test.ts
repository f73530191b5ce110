import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { FinishedRequest } from '../../pipeline/routed/record.ts';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { fp32 } from '../../testing/loopback.ts';
import { until } from '../../testing/script-models.ts';
import { AvroWriter } from '../encode/avro-writer.ts';
import { writeFeedback } from '../encode/feedback-encoder.ts';
import { recordJson } from '../encode/json.ts';
import { readRecordJson } from '../encode/json-reader.ts';
import { decodeRecord } from '../encode/record-decoder.ts';
import { writeRecord } from '../encode/record-writer.ts';
import { placeOf } from '../sinks/partitions.ts';
import { type Batch, NOTHING, type Sink } from '../sinks/sink.ts';
import { FEEDBACK, HEADER_BYTES, INFERENCE, sealRecord } from '../spool/format.ts';
import { Spool } from '../spool/spool.ts';
import { FolderFiles } from './folder-files.ts';
import { markOf } from './replay.ts';
import { Replays } from './replays.ts';
import type { ReplayOrigin } from './source.ts';

const scratch = mkdtempSync(join(tmpdir(), 'replay-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const loop = new LogLoop();
function encoded(overrides: Partial<FinishedRequest>): Uint8Array {
  loop.tap.finished(finishedRequest(overrides));
  return loop.take()[0];
}

test('a record that was read as JSON is encoded as it was before', () => {
  const wide = {
    name: 'n',
    datatype: 'INT64',
    shape: [3],
    data: new Uint8Array(BigInt64Array.of(1n, -(2n ** 62n), 7n).buffer),
  };
  const flags = { name: 'b', datatype: 'BOOL', shape: [2], data: new Uint8Array([1, 0]) };
  const doubles = { name: 'd', datatype: 'FP64', shape: [1], data: new Uint8Array(Float64Array.of(0.1).buffer) };
  const texts = { name: 's', datatype: 'BYTES', shape: [1], data: new Uint8Array([2, 0, 0, 0, 0xc3, 0xa9]) };
  const inputs = [fp32('x', [1, 3], [0.1, Number.NaN, -1e-20]), wide, flags, doubles, texts] as never;
  const { request } = finishedRequest();
  for (const overrides of [
    {},
    { request: { ...request, inputs } },
    { status: 'unavailable', response: undefined },
  ] as never[]) {
    const bytes = encoded(overrides);
    const json = recordJson(decodeRecord(bytes));
    const out = new AvroWriter();
    writeRecord(readRecordJson(json), out);
    assert.equal(recordJson(decodeRecord(out.u8, 0, out.at)), json);
    assert.deepEqual(Buffer.from(out.u8.subarray(0, out.at)), Buffer.from(bytes));
  }
});

const START = Date.UTC(2026, 10, 30);

let spools = 0;
/** A spool of as many records, one a second, every third one a label. */
function spoolOf(count: number): Spool {
  const dir = join(scratch, `spool-${spools++}`);
  const spool = new Spool({ dir, segmentBytes: 2 ** 20, maxBytes: 2 ** 26, whenFull: 'drop-new', fsync: 'never' });
  for (let i = 0; i < count; i++) {
    const out = new AvroWriter();
    out.at = HEADER_BYTES;
    const time = START + i * 1000;
    if (i % 3 === 2) {
      out.byte(FEEDBACK);
      writeFeedback({ id: `r${i}`, time, route: '', model: 'other', rewards: { reward: 1 }, tenant: '' }, out);
    } else {
      out.byte(INFERENCE);
      const body = encoded({ id: `r${i}`, time });
      out.raw(body, 0, body.length);
    }
    sealRecord(out.u8, 0, out.at);
    assert.ok(spool.append(out.u8.slice(0, out.at), 1));
  }
  return spool;
}

/** Settles every second batch, and is away where told. */
class Held implements Sink {
  readonly maxRecords = 2;
  readonly arrived: number[] = [];
  away = 0;
  closed = false;
  private held: Batch[] = [];

  restore(): void {}
  async send(batch: Batch) {
    if (this.away-- > 0) {
      this.held = [];
      throw new Error('away');
    }
    this.held.push(batch);
    if (this.held.length < 2) return NOTHING;
    this.take();
    return { settled: true, refused: 0 };
  }
  async tick(_: number, force: boolean) {
    if (!force || this.held.length === 0) return NOTHING;
    this.take();
    return { settled: true, refused: 0 };
  }
  note(): undefined {}
  async close() {
    this.closed = true;
  }
  private take(): void {
    for (const { records } of this.held)
      for (const record of records) this.arrived.push(((placeOf(record)?.time ?? 0) - START) / 1000);
    this.held = [];
  }
}

function replaysOf(spool: Spool, sink: Sink, files?: ReplayOrigin): Replays {
  const origin = async () => (files === undefined ? undefined : { name: 't', ...files });
  return new Replays({ spool, sinks: ['s', 't'], origin, open: async () => sink });
}

const wish = { sink: 's', from: undefined, to: START + 1e9, model: undefined, route: undefined, rate: 1e6 };

test('records of the range and model go through the sink; what failed comes again, none twice', async () => {
  const sink = new Held();
  sink.away = 2;
  const replays = replaysOf(spoolOf(20), sink);
  const { id, mark } = await replays.start({ ...wish, from: START + 3000, to: START + 15_000, model: 'iris' });
  await assert.rejects(replays.start(wish), { code: 'conflict' });
  await until('it ends', () => replays.get(id).status !== 'running');
  const view = replays.get(id);
  assert.deepEqual([view.status, view.sent, view.errors, view.last_error], ['succeeded', 8, 2, 'away']);
  assert.deepEqual(sink.arrived, [3, 4, 6, 7, 9, 10, 12, 13]);
  assert.ok(sink.closed);
  assert.equal(mark, markOf({ ...wish, from: START + 3000, to: START + 15_000, model: 'iris' }));
  assert.notEqual(mark, markOf(wish));
  await assert.rejects(replays.start({ ...wish, sink: 'none' }), /there is no sink "none"; eventLog\.sinks has s, t/);
  assert.throws(() => replays.get('none'), { code: 'not_found' });
});

test('a replay that cannot get on ends when it is cancelled', async () => {
  const sink = new Held();
  sink.away = Number.POSITIVE_INFINITY;
  const replays = replaysOf(spoolOf(3), sink);
  const { id } = await replays.start(wish);
  await until('it fails', () => replays.get(id).errors > 0);
  assert.ok(replays.released, 'the spool is still needed');
  const view = await replays.cancel(id);
  assert.deepEqual([view.status, view.sent, replays.released], ['cancelled', 0, undefined]);
});

test('files come before the spool, up to what the sink had; what is older than kept is refused', async () => {
  const spool = spoolOf(20);
  const folder = join(scratch, 'lines');
  const lines: string[] = [];
  for (const record of spool.read(spool.oldest, 1000).records)
    if (record.kind === INFERENCE) lines.push(recordJson(decodeRecord(record.body)));
  // Of the requests 5 up to 9, and the beginning of a line.
  mkdirSync(folder);
  const text = lines.slice(4, 7).join('\n');
  writeFileSync(join(folder, 'inference-000000000000005.jsonl'), `${text}\nno record\n`);
  const sink = new Held();
  const replays = replaysOf(spool, sink, { files: new FolderFiles(folder, 'jsonl'), arrived: () => 10, log: '' });
  await assert.rejects(
    replays.start({ ...wish, from: START }),
    /the log keeps records since 2026-11-30T00:00:06\.000Z, and older ones are asked for/,
  );
  const { id } = await replays.start(wish);
  await until('it ends', () => replays.get(id).status !== 'running');
  const { status, sent, unreadable } = replays.get(id);
  assert.deepEqual([status, sent, unreadable], ['succeeded', 13, 1]);
  assert.deepEqual(sink.arrived, [6, 7, 9, ...Array.from({ length: 10 }, (_, i) => 10 + i)]);
});
