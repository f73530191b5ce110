import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { monitorSchema } from '../monitoring/document.ts';
import { MonitorStream, openStores } from '../monitoring/stream.ts';
import type { MonitorEvent } from '../monitoring/types.ts';
import { finishedRequest, LogLoop } from '../testing/log-records.ts';
import { HEADER_BYTES, INFERENCE, sealRecord } from './spool/format.ts';
import { Spool } from './spool/spool.ts';
import { SpoolSource } from './spool-source.ts';

const folder = mkdtempSync(join(tmpdir(), 'spool-source-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const { spec } = monitorSchema.parse({
  ...{ apiVersion: 'switchyard/v1', kind: 'Monitor', metadata: { name: 'm' } },
  spec: { model: 'iris', reference: { records: 100 }, window: { rows: 50 } },
});
const PLAN = { name: 'm', spec, generation: 0, references: [] };

const loop = new LogLoop();
let count = 0;
function append(spool: Spool, records: number): void {
  for (let i = 0; i < records; i++) {
    loop.tap.finished(finishedRequest({ id: `r${count++}` }));
    const [record] = loop.take();
    const bytes = new Uint8Array(HEADER_BYTES + 1 + record.length);
    bytes[HEADER_BYTES] = INFERENCE;
    bytes.set(record, HEADER_BYTES + 1);
    sealRecord(bytes, 0, bytes.length);
    assert.ok(spool.append(bytes, 1));
  }
}

/** As the log thread starts: over the spool and what monitors kept. */
function open(name: string, kept: boolean, file = join(folder, `${name}.db`)) {
  const options = { maxBytes: 1e9, whenFull: 'drop-oldest', fsync: 'never' } as const;
  const spool = new Spool({ dir: join(folder, name), segmentBytes: 2000, ...options });
  const events: MonitorEvent[] = [];
  const stream = new MonitorStream(
    (event, number) => {
      events.push(event);
      stream.heard(number);
    },
    () =>
      openStores(file, (error) => {
        throw error;
      }),
  );
  const feed = new SpoolSource(spool, stream, kept);
  const windows = () => events.flatMap((event) => (event.kind === 'window' ? [event.window] : []));
  return { spool, stream, feed, windows };
}

test('what monitors have not kept is asked for, also before they are known, and shown again', () => {
  const first = open('again', false);
  append(first.spool, 5);
  first.feed.step(0);
  assert.deepEqual([first.feed.released], [undefined], 'without monitors nothing is asked for');
  first.stream.set([PLAN]);
  append(first.spool, 130);
  while (first.feed.step(0));
  first.stream.tick(Date.now() + 10_000);
  const kept = first.feed.released;
  assert.equal(kept?.record, 135);
  append(first.spool, 10);
  first.feed.step(0);
  assert.deepEqual(first.feed.released, kept, 'what was shown since is not kept yet');

  // Not closed: killed.
  const second = open('again', true);
  second.spool.release([second.spool.end, second.feed.released as typeof second.spool.end]);
  append(second.spool, 3);
  second.feed.step(0);
  assert.deepEqual(second.feed.released, kept, 'it waits for the monitors');
  second.stream.set([PLAN]);
  append(second.spool, 1);
  while (second.feed.step(0));
  assert.deepEqual(second.windows(), []);
  append(second.spool, 1);
  second.feed.step(0);
  const [window] = second.windows();
  assert.deepEqual([window.firstId, window.lastId, window.slices[''].rows], ['r100', 'r149', 50]);
  second.stream.set([]);
  second.feed.step(0);
  assert.equal(second.feed.released, undefined);
  second.stream.close();
});

test('a spool that lost its end, or was deleted, is read from where it ends', () => {
  const first = open('lost', false);
  first.stream.set([PLAN]);
  append(first.spool, 20);
  first.feed.step(0);
  first.stream.close();
  first.spool.close();
  rmSync(join(folder, 'lost'), { recursive: true });
  const second = open('lost', true);
  append(second.spool, 25);
  second.stream.set([PLAN]);
  assert.equal(second.feed.step(0), false);
  assert.equal(second.feed.place().record, 25, 'its records have the numbers of others');
  second.stream.close();
});
