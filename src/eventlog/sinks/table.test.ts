import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { parquetReadObjects } from 'hyparquet';
import { eventLogSchema, type FilesSinkConfig } from '../../config/event-log-schema.ts';
import { filesOrigin } from '../../datasets/connectors/log-origins.ts';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { AvroWriter } from '../encode/avro-writer.ts';
import { writeFeedback } from '../encode/feedback-encoder.ts';
import { MESSAGES } from '../encode/message-reader.ts';
import { RecordFinder } from '../find.ts';
import { FEEDBACK, INFERENCE, runsOf, SpoolRecord } from '../spool/format.ts';
import { CutFile } from './cuts.ts';
import { NO_VALUE, partitionOf, placeOf } from './partitions.ts';
import { FolderStore, type ObjectStore } from './store.ts';
import { TableSink } from './table.ts';

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'table-sink-'));
  folders.push(dir);
  return dir;
}

const config = (more: object = {}) =>
  eventLogSchema.parse({ sinks: [{ name: 'f', kind: 'files', partitionBy: ['date', 'hour'], ...more }] })
    .sinks[0] as FilesSinkConfig;
const DAY = Date.UTC(2026, 10, 29, 22);
const HOUR_MS = 3_600_000;

const loop = new LogLoop();
/** Every third one is a label, and each hour has ten. */
function record(number: number): SpoolRecord {
  const id = `r${number}`;
  const time = DAY + Math.floor(number / 10) * HOUR_MS;
  if (number % 3 === 2) {
    const out = new AvroWriter();
    writeFeedback({ id, time, route: 'r/1', model: 'm', rewards: { reward: 1 }, event: 'e', tenant: '' }, out);
    return new SpoolRecord(FEEDBACK, out.u8, 0, out.at);
  }
  loop.tap.finished(finishedRequest({ id, time }));
  const [body] = loop.take();
  return new SpoolRecord(INFERENCE, body, 0, body.length);
}

const RECORDS = Array.from({ length: 60 }, (_, i) => record(i));
const both = (records: readonly SpoolRecord[]) => ({ records, runs: runsOf(records) });
const at = (number: number) => ({ segment: 1, offset: number, record: number });

class MemoryStore implements ObjectStore {
  readonly objects = new Map<string, string>();
  puts = 0;
  /** Said before each put; throws where the store is away. */
  before: (key: string) => void = () => {};

  async put(key: string, bytes: Uint8Array): Promise<void> {
    this.before(key);
    this.puts++;
    this.objects.set(key, Buffer.from(bytes).toString());
  }

  async close(): Promise<void> {}

  get ids(): number[] {
    const lines = [...this.objects.values()].flatMap((text) => text.trim().split('\n'));
    return lines.map((line) => Number((JSON.parse(line) as { id: string }).id.slice(1))).sort((a, b) => a - b);
  }
}

test('partitions are Hive’s: dates and hours in UTC, texts escaped, what has no value has its own', () => {
  const time = Date.UTC(2026, 10, 30, 7, 59, 59, 999);
  const place = { time, route: 'a/b=c é', model: '' };
  assert.equal(partitionOf(place, ['date', 'hour']), 'date=2026-11-30/hour=07/');
  assert.equal(partitionOf(place, ['route', 'model']), `route=a%2Fb%3Dc %C3%A9/model=${NO_VALUE}/`);
  assert.equal(partitionOf({ ...place, model: 'x'.repeat(201) }, ['model']), `model=${NO_VALUE}/`);
  assert.equal(partitionOf({ ...place, time: 8e15 }, ['date', 'hour']), `date=${NO_VALUE}/hour=${NO_VALUE}/`);
  assert.equal(partitionOf({ ...place, time: -1 }, ['date', 'hour']), 'date=1969-12-31/hour=23/');
  assert.equal(partitionOf(place, []), '');
  assert.deepEqual(placeOf(RECORDS[0]), { time: DAY, route: '', model: 'iris' });
  assert.deepEqual(placeOf(RECORDS[2]), { time: DAY, route: 'r/1', model: 'm' });
  assert.equal(placeOf(new SpoolRecord(INFERENCE, new Uint8Array([4]), 0, 1)), undefined);
});

/** As the runner does: from the last settled place, again and again; a crash forgets all but the disk. */
class Runs {
  readonly store = new MemoryStore();
  settled = 0;
  saved = 0;
  end = 0;
  private position = 0;
  private sink: TableSink;
  private readonly cuts = join(folder(), 'f.cuts');
  private readonly config: FilesSinkConfig;
  failures = 0;

  constructor(rotateBytes: number) {
    this.config = config({ rotateBytes });
    this.sink = this.begin();
  }

  crash(): void {
    this.settled = this.saved;
    this.position = this.saved;
    this.sink = this.begin();
  }

  save(): void {
    this.saved = this.settled;
  }

  async step(most: number, force: boolean): Promise<void> {
    try {
      const from = this.position;
      const next = Math.min(this.end, from + Math.min(most, this.sink.maxRecords));
      if (next > from) {
        const batch = { ...both(RECORDS.slice(from, next)), from: at(from), next: at(next) };
        if ((await this.sink.send(batch)).settled) this.settled = next;
      }
      this.position = next;
      if ((await this.sink.tick(Date.now(), force)).settled) this.settled = next;
    } catch {
      this.failures++;
      this.position = this.settled;
    }
  }

  private begin(): TableSink {
    const cuts = new CutFile(this.cuts, () => this.saved, false);
    const sink = new TableSink({ config: this.config, store: this.store, cuts, replayed: '' });
    sink.restore(undefined, this.saved);
    return sink;
  }
}

const step = fc.oneof(
  fc.record({ kind: fc.constant('step' as const), most: fc.integer({ min: 1, max: 25 }), force: fc.boolean() }),
  fc.record({ kind: fc.constant('more' as const), count: fc.integer({ min: 1, max: 20 }) }),
  fc.record({ kind: fc.constant('away' as const), after: fc.integer({ min: 0, max: 3 }), lost: fc.boolean() }),
  fc.constant({ kind: 'back' as const }),
  fc.constant({ kind: 'crash' as const }),
  fc.constant({ kind: 'save' as const }),
);

test('whatever fails, and whenever the process is killed: every record is there, and none twice', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 300, max: 8000 }), async (steps, bytes) => {
      const runs = new Runs(bytes);
      const { store } = runs;
      for (const one of steps) {
        if (one.kind === 'step') await runs.step(one.most, one.force);
        else if (one.kind === 'more') runs.end = Math.min(RECORDS.length, runs.end + one.count);
        else if (one.kind === 'crash') runs.crash();
        else if (one.kind === 'save') runs.save();
        else if (one.kind === 'back') store.before = () => {};
        else {
          let left = one.after;
          store.before = (key) => {
            if (left-- > 0) return;
            // What arrived without the answer arriving.
            if (one.lost) store.objects.set(key, store.objects.get(key) ?? '{"id":"r-1"}');
            throw new Error('away');
          };
        }
      }
      store.before = () => {};
      runs.end = RECORDS.length;
      for (let i = 0; i < 10 && runs.settled < runs.end; i++) await runs.step(1000, true);
      assert.equal(runs.settled, RECORDS.length);
      assert.deepEqual(
        store.ids,
        RECORDS.map((_, i) => i),
      );
    }),
    { numRuns: 500 },
  );
});

test('what is made waits in memory for a store that is away, and what arrived is not sent again', async () => {
  const runs = new Runs(1);
  const { store } = runs;
  runs.end = 25;
  let left = 2;
  store.before = () => {
    if (left-- <= 0) throw new Error('away');
  };
  for (let i = 0; i < 5; i++) await runs.step(1000, false);
  assert.deepEqual([runs.failures, runs.settled, store.puts], [5, 0, 2]);
  store.before = () => {};
  await runs.step(1000, false);
  // Three hours of two days, each with requests and labels.
  assert.deepEqual([runs.settled, store.puts], [25, 6]);
  const name =
    /^(inference|feedback)\/date=2026-11-(29\/hour=2[23]|30\/hour=00)\/\1-000000000000000-[0-9a-f]{8}\.jsonl$/;
  for (const key of store.objects.keys()) assert.match(key, name);
});

test('numbers that begin anew, as those of a spool that was deleted, replace nothing', async () => {
  const store = new MemoryStore();
  const path = join(folder(), 'f.cuts');
  let saved = 0;
  const send = async (from: number, to: number) => {
    const sink = new TableSink({ config: config(), store, cuts: new CutFile(path, () => saved, false), replayed: '' });
    sink.restore(undefined, from);
    await sink.send({ ...both(RECORDS.slice(from, to)), from: at(from), next: at(to) });
    await sink.tick(Date.now(), true);
    saved = Math.max(saved, to);
  };
  await send(0, 5);
  await send(5, 9);
  const before = store.objects.size;
  await send(0, 5);
  assert.equal(store.objects.size, before + 2);
  writeFileSync(path, 'not JSON');
  await send(5, 9);
  assert.equal(store.ids.length, 18);
});

test('files of partitions are replaced whole, and the oldest beyond keepFiles go', async () => {
  const dir = folder();
  const files = () => readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const parts = {
    config: config({ format: 'parquet' }),
    cuts: new CutFile(join(folder(), 'c'), () => 0, false),
    replayed: '',
  };
  const sink = new TableSink({ ...parts, store: new FolderStore(dir, 2) });
  for (const from of [0, 10, 20]) {
    await sink.send({ ...both(RECORDS.slice(from, from + 10)), from: at(from), next: at(from + 10) });
    await sink.tick(Date.now(), true);
  }
  const names = files().map(({ name }) => name.slice(0, -17));
  const expected = ['feedback', 'inference'].flatMap((kind) =>
    [10, 20].map((n) => `${kind}-${String(n).padStart(15, '0')}`),
  );
  assert.deepEqual(names.sort(), expected);
  const ids: string[] = [];
  for (const { parentPath, name } of files()) {
    const bytes = readFileSync(join(parentPath, name));
    const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
    ids.push(...(await parquetReadObjects({ file, columns: ['id'] })).map(({ id }) => String(id)));
  }
  assert.deepEqual(
    ids.sort(),
    RECORDS.slice(10, 30)
      .map((_, i) => `r${i + 10}`)
      .sort(),
  );
  // Training sets, and who looks for one record, go through the folders.
  const origin = filesOrigin(dir, MESSAGES);
  const read: unknown[] = [];
  for await (const { values } of origin.inference()) read.push(values.id);
  for await (const { values } of origin.feedback()) read.push(values.id);
  assert.deepEqual(read.sort(), ids);
  const finder = new RecordFinder({ folders: { f: dir }, log: undefined, others: [] });
  const { found, place } = await finder.find('r12', { from: 0, to: Date.now() });
  assert.equal(found?.model, 'iris');
  assert.match(place, /date=2026-11-29\/hour=23\/inference-000000000000010-/);
});

test('files of replays take no place of keepFiles', async () => {
  const dir = folder();
  const again = new FolderStore(dir, Number.POSITIVE_INFINITY);
  for (const number of [0, 1, 2])
    await again.put(`inference/date=x/replay-m-inference-${number}.jsonl`, new Uint8Array());
  const live = new FolderStore(dir, 2);
  for (const number of [0, 1, 2])
    await live.put(`inference/date=y${number}/inference-${number}-aa.jsonl`, new Uint8Array());
  const names = readdirSync(dir, { recursive: true }).map(String);
  assert.deepEqual(names.filter((name) => name.endsWith('.jsonl')).sort(), [
    ...[0, 1, 2].map((number) => `inference/date=x/replay-m-inference-${number}.jsonl`),
    ...[1, 2].map((number) => `inference/date=y${number}/inference-${number}-aa.jsonl`),
  ]);
});
