import assert from 'node:assert/strict';
import fs, { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, mock, test } from 'node:test';
import { eventLogSchema, type FilesSinkConfig } from '../../config/event-log-schema.ts';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { AvroWriter } from '../encode/avro-writer.ts';
import { writeFeedback } from '../encode/feedback-encoder.ts';
import { FEEDBACK, INFERENCE, runsOf, SpoolRecord } from '../spool/format.ts';
import { JsonLinesSink } from './files.ts';
import type { Batch } from './sink.ts';

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'files-sink-'));
  folders.push(dir);
  return dir;
}

const config = (more: object = {}) =>
  eventLogSchema.parse({ sinks: [{ name: 'f', kind: 'files', ...more }] }).sinks[0] as FilesSinkConfig;

const bodies = {
  [INFERENCE]: (id: string): Uint8Array => {
    const loop = new LogLoop();
    loop.tap.finished(finishedRequest({ id }));
    return loop.take()[0];
  },
  [FEEDBACK]: (id: string): Uint8Array => {
    const out = new AvroWriter();
    writeFeedback({ id, time: 1, route: 'r', model: 'm', rewards: { reward: 1 }, event: 'e', tenant: '' }, out);
    return out.u8.slice(0, out.at);
  },
};

/** Records `first`, `first + 1` … of these kinds, named by their numbers. */
function batch(first: number, kinds: readonly (typeof INFERENCE | typeof FEEDBACK)[]): Batch {
  const at = (record: number) => ({ segment: 1, offset: record, record });
  const records = kinds.map((kind, i) => {
    const body = bodies[kind](`r${first + i}`);
    return new SpoolRecord(kind, body, 0, body.length);
  });
  return { records, runs: runsOf(records), from: at(first), next: at(first + kinds.length) };
}

function idsIn(dir: string, kind: string): string[] {
  const lines = readdirSync(dir)
    .filter((name) => name.startsWith(kind))
    .sort()
    .flatMap((name) => readFileSync(join(dir, name), 'utf8').split('\n'));
  return lines.filter((line) => line !== '').map((line) => (JSON.parse(line) as { id: string }).id);
}

/** While `run` goes on, node:fs does this instead. `fs` modules see it, as their imports are live. */
async function instead<T>(
  methods: Partial<Record<keyof typeof fs, (...args: never[]) => unknown>>,
  run: () => T | Promise<T>,
): Promise<T> {
  const mocks = Object.entries(methods).map(([name, method]) => mock.method(fs, name as 'fsyncSync', method as never));
  syncBuiltinESMExports();
  try {
    return await run();
  } finally {
    for (const one of mocks) one.mock.restore();
    syncBuiltinESMExports();
  }
}

test('lines are on the disk before the cursor says that they are', async () => {
  const dir = folder();
  const sink = new JsonLinesSink(config(), dir);
  const synced: string[] = [];
  const nameOf = (fd: number): string => fs.readlinkSync(`/proc/self/fd/${fd}`).split('/').at(-1) ?? '';
  const { fdatasyncSync, fsyncSync } = fs;
  const watched = (sync: (fd: number) => void) => (fd: number) => {
    synced.push(nameOf(fd));
    sync(fd);
  };
  const watching = { fdatasyncSync: watched(fdatasyncSync), fsyncSync: watched(fsyncSync) };
  await instead(watching, async () => {
    await sink.send(batch(0, [INFERENCE, FEEDBACK]));
    const folderName = dir.split('/').at(-1) as string;
    assert.ok(synced.includes(folderName), `the folder has the new files: ${synced}`);
    synced.length = 0;
    sink.note();
    assert.deepEqual(synced.sort(), ['feedback-000000000000000.jsonl', 'inference-000000000000000.jsonl']);
    synced.length = 0;
    sink.note();
    assert.deepEqual(synced, [], 'nothing came since');
    await sink.send(batch(2, [INFERENCE]));
    await sink.tick(Date.now() + config().rotateAfter + 1);
    assert.deepEqual(synced, ['inference-000000000000000.jsonl'], 'what is closed is never looked at again');
  });
  await instead(
    {
      fdatasyncSync: () => {
        throw new Error('EIO: i/o error, fdatasync');
      },
    },
    async () => {
      await sink.send(batch(3, [INFERENCE]));
      assert.throws(() => sink.note(), /EIO/);
    },
  );
  assert.doesNotThrow(() => sink.note(), 'it is tried again');
  await sink.close();
});

test('a batch of which one kind cannot be written is in no file', async () => {
  const dir = folder();
  const sink = new JsonLinesSink(config(), dir);
  await sink.send(batch(0, [INFERENCE, FEEDBACK]));
  const { writeSync } = fs;
  let writes = 0;
  await instead(
    {
      writeSync: (...args: never[]) => {
        if (++writes > 1) throw new Error('ENOSPC: no space left on device, write');
        return (writeSync as (...all: never[]) => number)(...args);
      },
    },
    () => assert.rejects(sink.send(batch(2, [INFERENCE, FEEDBACK])), /ENOSPC/),
  );
  assert.deepEqual([idsIn(dir, 'inference'), idsIn(dir, 'feedback')], [['r0'], ['r1']]);
  await sink.send(batch(2, [INFERENCE, FEEDBACK, INFERENCE]));
  assert.deepEqual(
    [idsIn(dir, 'inference'), idsIn(dir, 'feedback')],
    [
      ['r0', 'r2', 'r4'],
      ['r1', 'r3'],
    ],
  );
  await sink.close();
});

test('a file is cut to what the cursor knew, and never made longer', async () => {
  const dir = folder();
  const before = new JsonLinesSink(config(), dir);
  await before.send(batch(0, [INFERENCE, INFERENCE]));
  const note = before.note();
  await before.send(batch(2, [INFERENCE]));
  await before.close();
  const path = join(dir, readdirSync(dir)[0]);
  const again = new JsonLinesSink(config(), dir);
  again.restore(note, 2);
  await again.close();
  assert.deepEqual(idsIn(dir, 'inference'), ['r0', 'r1']);
  // Somebody, or a power cut, took the end of it.
  truncateSync(path, Number(note?.inferenceSize) - 5);
  const shorter = new JsonLinesSink(config(), dir);
  shorter.restore(note, 2);
  await shorter.send(batch(2, [INFERENCE]));
  await shorter.close();
  assert.ok(!readFileSync(path).includes(0), 'there are no zeros in it');
  assert.deepEqual(idsIn(dir, 'inference'), ['r0', 'r2']);
});

test("another log's files stay as they are, and which are deleted is told by when they were written", async () => {
  const dir = folder();
  const rounds = async (sink: JsonLinesSink, from: number, to: number): Promise<void> => {
    for (let i = from; i < to; i++) {
      await sink.send(batch(i, [INFERENCE]));
      // Old enough to be closed.
      await sink.tick(Date.now() + config().rotateAfter);
    }
  };
  const before = new JsonLinesSink(config(), dir);
  before.restore(undefined, 0);
  assert.equal(before.log, '');
  await rounds(before, 0, 5);
  const earlier = readdirSync(dir);
  assert.deepEqual(idsIn(dir, 'inference'), ['r0', 'r1', 'r2', 'r3', 'r4']);

  // The spool is gone: numbers begin anew, with the cursor or without.
  const { inferenceFile, ...rest } = before.note() ?? {};
  for (const note of [undefined, { inferenceFile, ...rest }]) {
    const anew = new JsonLinesSink(config(), dir);
    anew.restore(note, 0);
    assert.match(anew.log, /^[0-9a-f]{8}$/);
    await anew.send(batch(0, [INFERENCE]));
    const saved = anew.note();
    await anew.send(batch(1, [INFERENCE]));
    await anew.close();
    // A crash: what came after the cursor is cut off, and the others' files are not touched.
    const again = new JsonLinesSink(config(), dir);
    again.restore(saved, 1);
    assert.equal(again.log, anew.log);
    await again.send(batch(1, [INFERENCE]));
    await again.close();
    assert.deepEqual(idsIn(dir, 'inference').toSorted(), ['r0', 'r0', 'r1', 'r1', 'r2', 'r3', 'r4'].toSorted());
    for (const name of readdirSync(dir)) if (name.includes(anew.log)) rmSync(join(dir, name));
    assert.deepEqual(readdirSync(dir), earlier);
  }

  for (const [i, name] of earlier.entries()) fs.utimesSync(join(dir, name), i, i);
  const few = new JsonLinesSink(config({ keepFiles: 3 }), dir);
  few.restore(undefined, 0);
  await rounds(few, 0, 1);
  assert.deepEqual(idsIn(dir, 'inference').toSorted(), ['r0', 'r3', 'r4'], 'its own is the newest');
  await few.close();
});
