import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { until } from '../testing/script-models.ts';
import { PayloadSender } from './payload-sender.ts';
import { PayloadStore, payloadKey, payloadPath } from './payloads.ts';

const scratch = mkdtempSync(join(tmpdir(), 'payload-sender-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
const log = pino({ level: 'silent' });

/** A bucket that is away until it is told otherwise. */
function bucket() {
  const objects = new Map<string, Uint8Array>();
  const state = { objects, away: true, closed: false };
  const store = {
    async put(key: string, bytes: Uint8Array): Promise<void> {
      if (state.away) throw new Error('away');
      objects.set(key, bytes);
    },
    async close(): Promise<void> {
      state.closed = true;
    },
  };
  return { state, store };
}

test('payloads wait as long as there is room, and what the room was too small for is counted', async () => {
  const store = new PayloadStore(join(scratch, 'room'), 3000, false);
  const { state, store: objects } = bucket();
  const sender = new PayloadSender(store, objects, log);
  const kept = Array.from({ length: 5 }, (_, i) => store.put(Buffer.alloc(1000, i))!.sha256);
  sender.notify();
  await until('it was tried', () => sender.errors > 0);
  assert.deepEqual([store.bytes, store.evicted, sender.sent, sender.lastError], [3000, 2, 0, 'away']);
  state.away = false;
  await until('what waited arrives', () => sender.sent === 3);
  assert.deepEqual([...state.objects.keys()].sort(), kept.slice(2).map(payloadKey).sort());
  assert.equal(store.bytes, 0);
  await sender.stop(1000);
  assert.ok(state.closed);
});

test('a start sends what an earlier one left, but no file that is damaged; a stop leaves what cannot go', async () => {
  const dir = join(scratch, 'left');
  const before = new PayloadStore(dir, 1e6, false);
  const [whole, torn] = ['whole', 'torn'].map((text) => before.put(Buffer.from(text))!.sha256);
  writeFileSync(payloadPath(dir, torn), 'to');
  const { state, store: objects } = bucket();
  const away = new PayloadSender(new PayloadStore(dir, 1e6, false), objects, log);
  await away.stop(10_000);
  state.away = false;
  const sender = new PayloadSender(new PayloadStore(dir, 1e6, false), objects, log);
  await sender.stop(10_000);
  assert.deepEqual([...state.objects], [[payloadKey(whole), Buffer.from('whole')]]);
  assert.deepEqual([sender.sent, sender.errors + away.errors >= 2], [1, true]);
});
