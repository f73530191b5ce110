import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { CursorFile } from '../spool/cursor.ts';
import { HEADER_BYTES, sealRecord } from '../spool/format.ts';
import { Spool } from '../spool/spool.ts';
import { SinkRunner } from './runner.ts';
import { type Batch, NOTHING, type Sink } from './sink.ts';

const HOUR_MS = 3_600_000;

test('few records wait for more, and for the end at most', { timeout: 600_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'runner-'));
  const spool = new Spool({ dir, segmentBytes: 1 << 20, maxBytes: 1 << 24, whenFull: 'drop-oldest', fsync: 'never' });
  const sizes: number[] = [];
  let sent = (_count: number): void => {};
  const sink: Sink = {
    maxRecords: 10,
    lingerMs: HOUR_MS,
    restore: () => {},
    send: async ({ records }: Batch) => {
      sizes.push(records.length);
      sent(records.length);
      return { settled: true, refused: 0 };
    },
    tick: async () => NOTHING,
    note: () => undefined,
    close: async () => {},
  };
  const cursor = new CursorFile(join(dir, 's.cursor'));
  const parts = {
    spool,
    cursor,
    arriving: () => 0,
    counts: new Float64Array(3),
    spooled: 0,
    log: pino({ level: 'silent' }),
  };
  const runner = new SinkRunner('s', 'test', sink, parts);
  const append = (): void => {
    const record = new Uint8Array(HEADER_BYTES + 2);
    sealRecord(record, 0, record.length);
    spool.append(record, 1);
    runner.notify();
  };
  try {
    const ten = new Promise((resolve) => {
      sent = resolve;
    });
    runner.start();
    for (let i = 0; i < 10; i++) {
      append();
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(await ten, 10);
    for (let i = 0; i < 3; i++) append();
    await runner.stop(30_000);
    assert.deepEqual(sizes, [10, 3]);
    assert.equal(runner.figures().backlog, 0);
  } finally {
    spool.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

test('a segment that cannot be read holds its sink up until it can', { timeout: 600_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'runner-'));
  const options = { dir, segmentBytes: 40, maxBytes: 1 << 24, whenFull: 'drop-oldest', fsync: 'never' } as const;
  const before = new Spool(options);
  for (let i = 0; i < 10; i++) {
    const record = new Uint8Array(HEADER_BYTES + 2);
    record[HEADER_BYTES + 1] = i;
    sealRecord(record, 0, record.length);
    before.append(record, 1);
  }
  before.close();
  const spool = new Spool(options);
  const [first, second] = readdirSync(dir)
    .sort()
    .map((name) => join(dir, name));
  const got: number[] = [];
  let arrived = (): void => {};
  const sink: Sink = {
    maxRecords: 100,
    restore: () => {},
    send: async ({ records }: Batch) => {
      for (const { body } of records) got.push(body[0]);
      arrived();
      return { settled: true, refused: 0 };
    },
    tick: async () => NOTHING,
    note: () => undefined,
    close: async () => {},
  };
  let told = (): void => {};
  const waits = new Promise<void>((resolve) => {
    told = resolve;
  });
  const parts = {
    spool,
    cursor: new CursorFile(join(dir, 's.cursor')),
    arriving: () => 0,
    counts: new Float64Array(3),
    spooled: 0,
    log: { info: () => {}, warn: () => told() },
  };
  renameSync(second, `${second}.away`);
  const runner = new SinkRunner('s', 'test', sink, parts);
  try {
    runner.start();
    await waits;
    assert.match(runner.figures().lastError, /ENOENT/);
    assert.ok(first < second && got.length < 10, `nothing behind it was sent: ${got}`);
    const all = new Promise<void>((resolve) => {
      arrived = () => got.length === 10 && resolve();
    });
    renameSync(`${second}.away`, second);
    await all;
    await runner.stop(30_000);
    assert.deepEqual(got, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const { lost, backlog } = runner.figures();
    assert.deepEqual({ lost, backlog }, { lost: 0, backlog: 0 });
  } finally {
    spool.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
