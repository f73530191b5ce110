import assert from 'node:assert/strict';
import fs, { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, mock, test } from 'node:test';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { pino } from 'pino';
import { configSchema } from '../../config/schema.ts';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { AvroWriter } from '../encode/avro-writer.ts';
import { writeFeedback } from '../encode/feedback-encoder.ts';
import { decodeFeedback, decodeRecord } from '../encode/record-decoder.ts';
import { CursorFile } from '../spool/cursor.ts';
import { FEEDBACK, HEADER_BYTES, INFERENCE, sealRecord } from '../spool/format.ts';
import { Spool } from '../spool/spool.ts';
import { OpenSinks } from './open-sinks.ts';
import { feedbackParquet, inferenceParquet } from './parquet-rows.ts';
import { SinkRunner } from './runner.ts';

const scratch = mkdtempSync(join(tmpdir(), 'open-sinks-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const logger = pino({ level: 'silent' });
const config = (more: object = {}) =>
  configSchema.parse({ eventLog: { sinks: [{ name: 'rows', kind: 'files', format: 'parquet', ...more }] } });

const loop = new LogLoop();
/** As the spool has it. Every third one is a label. */
function sealed(number: number): Uint8Array {
  const out = new AvroWriter();
  out.at = HEADER_BYTES;
  if (number % 3 === 2) {
    out.byte(FEEDBACK);
    writeFeedback(
      { id: `r${number}`, time: number, route: '', model: 'iris', rewards: { reward: 1 }, tenant: '' },
      out,
    );
  } else {
    out.byte(INFERENCE);
    loop.tap.finished(finishedRequest({ id: `r${number}`, time: number }));
    const [body] = loop.take();
    out.raw(body, 0, body.length);
  }
  sealRecord(out.u8, 0, out.at);
  return out.u8.slice(0, out.at);
}

/** A log of one sink: what is left of it is what the disk has. */
class Log {
  readonly dir: string;
  readonly folder: string;
  readonly cursor: CursorFile;
  readonly spool: Spool;
  private readonly settings: ReturnType<typeof config>;

  constructor(dir: string, settings = config()) {
    this.dir = dir;
    this.settings = settings;
    this.folder = join(dir, 'files/rows');
    this.cursor = new CursorFile(join(dir, 'rows.cursor'));
    this.spool = new Spool({ dir: join(dir, 'spool'), ...settings.eventLog.spool });
  }

  append(from: number, to: number): void {
    for (let i = from; i < to; i++) assert.ok(this.spool.append(sealed(i), 1));
  }

  /** Sends what there is, and ends in good order. */
  async send(): Promise<void> {
    const { kafka, eventLog } = this.settings;
    const keep = () => assert.fail('nothing is large');
    const sinks = new OpenSinks({ dir: this.dir, kafka, webhooks: { allow: [] } as never, keep, logger });
    const sink = await sinks.live(eventLog.sinks[0], this.cursor);
    const { cursor, spool } = this;
    const counts = new Float64Array(3);
    const parts = { spool, cursor, arriving: () => 0, counts, spooled: 0, log: logger };
    const runner = new SinkRunner('rows', 'files', sink, parts);
    runner.start();
    await runner.stop(30_000);
    const { backlog, refused, errors } = runner.figures();
    assert.deepEqual([backlog, refused, errors], [0, 0, 0]);
  }

  get files(): string[] {
    return readdirSync(this.folder).sort();
  }

  async rows(): Promise<Record<string, unknown>[]> {
    const rows: Record<string, unknown>[] = [];
    for (const name of this.files)
      rows.push(...(await parquetReadObjects({ file: await asyncBufferFromFile(join(this.folder, name)) })));
    return rows.sort((a, b) => Number(a.time) - Number(b.time));
  }
}

const idsOf = (rows: readonly Record<string, unknown>[]) => rows.map(({ id }) => id);
const numbered = (count: number) => Array.from({ length: count }, (_, i) => `r${i}`);
const name = (kind: string, first: number) => `${kind}-${String(first).padStart(15, '0')}.parquet`;

/** Files of records `from` up to `to` as versions that had no cuts named and wrote them. */
function writeEarlier(folder: string, from: number, to: number): void {
  const bodies = Array.from({ length: to - from }, (_, i) => ({ number: from + i, body: sealed(from + i) }));
  const start = HEADER_BYTES + 1;
  const requests = bodies.filter(({ number }) => number % 3 !== 2);
  const labels = bodies.filter(({ number }) => number % 3 === 2);
  const records = requests.map(({ body }) => decodeRecord(body, start, body.length));
  writeFileSync(join(folder, name('inference', from)), inferenceParquet(records));
  if (labels.length === 0) return;
  const feedback = labels.map(({ body }) => decodeFeedback(body, start, body.length));
  writeFileSync(join(folder, name('feedback', from)), feedbackParquet(feedback));
}

test('a folder of Parquet that an earlier version left, killed or not, goes on: no row is lost, none is there twice', async () => {
  for (const killed of [false, true]) {
    const log = new Log(join(scratch, `earlier-${killed}`));
    fs.mkdirSync(log.folder, { recursive: true });
    log.append(0, 20);
    writeEarlier(log.folder, 0, 5);
    writeEarlier(log.folder, 5, 7);
    const note = { inferenceFile: name('inference', 5), feedbackFile: name('feedback', 5) };
    log.cursor.save({ position: log.spool.find(7), note });
    if (killed) {
      // Both came after the cursor was saved.
      writeEarlier(log.folder, 7, 11);
      writeEarlier(log.folder, 11, 14);
      writeFileSync(join(log.folder, `${name('inference', 14)}.next`), 'half');
    }
    await log.send();
    const rows = await log.rows();
    assert.deepEqual(idsOf(rows), numbered(20), `killed: ${killed}`);
    assert.deepEqual(
      log.files,
      [0, 5, 7].flatMap((first) => [name('feedback', first), name('inference', first)]).sort(),
      'names are what they were',
    );
    assert.deepEqual(Object.keys(rows.at(-1) ?? {}), Object.keys(rows[0]), 'and columns');
    log.append(20, 25);
    await log.send();
    assert.deepEqual(idsOf(await log.rows()), numbered(25));
    log.spool.close();
  }
});

test('what an earlier version left behind a spool that was deleted stays', async () => {
  const log = new Log(join(scratch, 'anew'));
  fs.mkdirSync(log.folder, { recursive: true });
  writeEarlier(log.folder, 30, 40);
  const note = { inferenceFile: name('inference', 30), feedbackFile: name('feedback', 30) };
  log.cursor.save({ position: { segment: 3, offset: 9, record: 40 }, note });
  log.append(0, 6);
  await log.send();
  assert.deepEqual(idsOf(await log.rows()), [...numbered(6), ...numbered(40).slice(30)]);
  log.spool.close();
});

test("another log's Parquet files are not replaced, whatever is left of the log that begins", async () => {
  const folder = join(scratch, 'lake');
  const settings = config({ dir: folder });
  const rows = async () => {
    const all: Record<string, unknown>[] = [];
    for (const file of readdirSync(folder))
      all.push(...(await parquetReadObjects({ file: await asyncBufferFromFile(join(folder, file)) })));
    return all.map(({ id }) => String(id)).sort();
  };
  const wanted: string[] = [];
  // A data folder of its own each, as containers have it; then one whose spool alone is gone.
  for (const place of ['one', 'two', 'three', 'three']) {
    const dir = join(scratch, `lake-${place}`);
    rmSync(join(dir, 'spool'), { recursive: true, force: true });
    for (const records of [4, 3]) {
      const log = new Log(dir, settings);
      log.append(log.spool.end.record, log.spool.end.record + records);
      await log.send();
      log.spool.close();
    }
    wanted.push(...numbered(7));
    assert.deepEqual(await rows(), wanted.toSorted(), place);
  }
  assert.ok(readdirSync(folder).includes(name('inference', 0)), 'the first one had the folder for itself');
});

test('a crash between Parquet files and cursor: the same records become the same files again', async () => {
  const log = new Log(join(scratch, 'crash'));
  log.append(0, 4);
  await log.send();
  const path = join(log.dir, 'rows.cursor');
  copyFileSync(path, `${path}.before`);
  log.append(4, 9);
  await log.send();
  const { files } = log;
  copyFileSync(`${path}.before`, path);
  log.append(9, 20);
  await log.send();
  assert.deepEqual(idsOf(await log.rows()), numbered(20));
  assert.deepEqual(log.files, [...files, name('feedback', 9), name('inference', 9)].sort());
  log.spool.close();
});

test('of flat Parquet files keepFiles of each kind stay, whatever else lies in the folder', async () => {
  const log = new Log(join(scratch, 'keep'), config({ keepFiles: 2 }));
  fs.mkdirSync(log.folder, { recursive: true });
  const others = ['inference-000000000000000.jsonl', 'replay-m-inference-000000000000000.parquet'];
  for (const other of others) writeFileSync(join(log.folder, other), '');
  for (const from of [0, 5, 10, 15]) {
    log.append(from, from + 5);
    await log.send();
  }
  const kept = ['feedback', 'inference'].flatMap((kind) => [name(kind, 10), name(kind, 15)]);
  assert.deepEqual(log.files, [...kept, ...others].sort());
  log.spool.close();
});

test('where the log is cut, the Parquet file and its name are on the disk before the cursor passes it', async () => {
  const log = new Log(join(scratch, 'synced'));
  log.append(0, 1);
  await log.send();
  log.append(1, 2);
  const { fsyncSync } = fs;
  const synced: string[] = [];
  const watched = mock.method(fs, 'fsyncSync', (fd: number) => {
    synced.push(basename(fs.readlinkSync(`/proc/self/fd/${fd}`)));
    fsyncSync(fd);
  });
  syncBuiltinESMExports();
  try {
    await log.send();
  } finally {
    watched.mock.restore();
    syncBuiltinESMExports();
  }
  const own = (path: string) => [path, basename(log.dir)];
  assert.deepEqual(synced, [
    ...own('rows.cuts.next'),
    `.${name('inference', 1)}.next`,
    'rows',
    ...own('rows.cursor.next'),
  ]);
  log.spool.close();
});
