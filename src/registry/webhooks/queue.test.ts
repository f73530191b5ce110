import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openDatabase } from '../database/database.ts';
import { enqueueEvents, WebhookQueue } from './queue.ts';

const folder = mkdtempSync(join(tmpdir(), 'webhook-queue-'));
const database = await openDatabase({ kind: 'sqlite', file: join(folder, 'registry.db') });
const seen: string[] = [];
const statuses: number[] = [];
let unanswered = 0;
const receiver = createServer((request, response) => {
  if (request.url === '/silent') {
    unanswered++;
    return;
  }
  seen.push(String(request.headers['x-mlflow-delivery-id']));
  request.resume();
  response.writeHead(statuses.shift() ?? 200).end('no');
});
await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
after(async () => {
  receiver.closeAllConnections();
  receiver.close();
  await database.close();
  rmSync(folder, { recursive: true, force: true });
});

const hook = { webhook_id: 'w1', name: 'w', description: '', secret: '', status: 'ACTIVE' as const };
const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
await database.write(async (db) => {
  await db
    .insertInto('webhooks')
    .values({ ...hook, url, creation_time: 1, last_updated_time: 1 })
    .execute();
  await db.insertInto('webhook_events').values({ webhook_id: 'w1', event: 'drift.set' }).execute();
});

function startQueue(): WebhookQueue {
  const queue = new WebhookQueue({
    database,
    policy: { schemes: ['http'], hosts: [], privateHosts: ['127.0.0.1'] },
    now: Date.now,
    onError: (error) => assert.fail(String(error)),
    waitsMs: [1, 2],
    lookMs: 5,
  });
  queue.start();
  return queue;
}

/** What became of one delivery that is answered with these statuses. */
async function deliver(...answers: number[]): Promise<{ state: string; tries: number; status: number }> {
  seen.length = 0;
  statuses.splice(0, statuses.length, ...answers);
  await database.write((db) => db.deleteFrom('webhook_deliveries').execute());
  await database.write((db) =>
    enqueueEvents(db, [{ entity: 'drift', action: 'set', data: { name: 'm' } }], Date.now()),
  );
  const queue = startQueue();
  for (;;) {
    const row = await database.read((db) =>
      db.selectFrom('webhook_deliveries').select(['state', 'tries', 'status']).executeTakeFirstOrThrow(),
    );
    if (row.state !== 'pending') {
      await queue.close();
      return row;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test('a delivery is given up after three tries, and the refusal is kept', async () => {
  assert.deepEqual(await deliver(503, 500, 502, 200), { state: 'failed', tries: 3, status: 502 });
  assert.equal(seen.length, 3);
  assert.equal(new Set(seen).size, 1, 'a receiver knows them for the same delivery');
});

test('the third try may succeed; what will never be taken is not tried again', async () => {
  assert.deepEqual(await deliver(503, 503, 200), { state: 'delivered', tries: 3, status: 200 });
  assert.deepEqual(await deliver(400, 200), { state: 'failed', tries: 1, status: 400 });
});

test('a disabled webhook is sent nothing, also not what was queued before; that waits until it is active again', async () => {
  seen.length = 0;
  const happening = { entity: 'drift', action: 'set', data: { name: 'm' } };
  const setStatus = (status: 'ACTIVE' | 'DISABLED') =>
    database.write((db) => db.updateTable('webhooks').set({ status }).where('webhook_id', '=', 'w1').execute());
  const day = 24 * 3600 * 1000;
  await database.write(async (db) => {
    await db.deleteFrom('webhook_deliveries').execute();
    await enqueueEvents(db, [happening], Date.now() - 8 * day);
    await enqueueEvents(db, [happening, happening], Date.now());
    const other = { ...hook, webhook_id: 'w2', name: 'other', url, creation_time: 1, last_updated_time: 1 };
    await db.insertInto('webhooks').values(other).execute();
    await db.insertInto('webhook_events').values({ webhook_id: 'w2', event: 'drift.set' }).execute();
  });
  await setStatus('DISABLED');
  await database.write((db) => enqueueEvents(db, [happening], Date.now()));
  const rows = () =>
    database.read((db) => db.selectFrom('webhook_deliveries').select(['webhook_id', 'state', 'tries']).execute());
  const delivered = async (id: string): Promise<number> =>
    (await rows()).filter(({ webhook_id, state }) => webhook_id === id && state === 'delivered').length;
  const queue = startQueue();
  while ((await delivered('w2')) < 1) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(seen.length, 1, 'only the other one was sent something');
  const waiting = (await rows()).filter(({ webhook_id }) => webhook_id === 'w1');
  assert.deepEqual(
    waiting.map(({ state, tries }) => [state, tries]),
    [
      ['pending', 0],
      ['pending', 0],
    ],
    'what was queued a week before is given up',
  );
  await setStatus('ACTIVE');
  while ((await delivered('w1')) < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  await queue.close();
  await database.write(async (db) => {
    await db.deleteFrom('webhook_deliveries').execute();
    await db.deleteFrom('webhook_events').where('webhook_id', '=', 'w2').execute();
    await db.deleteFrom('webhooks').where('webhook_id', '=', 'w2').execute();
  });
});

test('a webhook that never answers holds up no other one, and what it was told waits for the next process', async () => {
  await database.write(async (db) => {
    await db.deleteFrom('webhook_deliveries').execute();
    await db
      .insertInto('webhooks')
      .values({
        ...hook,
        webhook_id: 'w0',
        name: 'silent',
        url: `${url}silent`,
        creation_time: 1,
        last_updated_time: 1,
      })
      .execute();
    await db.insertInto('webhook_events').values({ webhook_id: 'w0', event: 'drift.set' }).execute();
  });
  const told = 50;
  const happening = { entity: 'drift', action: 'set', data: { name: 'm' } };
  await database.write((db) => enqueueEvents(db, Array(told).fill(happening), Date.now()));
  const queue = startQueue();
  const states = (): Promise<{ webhook_id: string; state: string; tries: number }[]> =>
    database.read((db) => db.selectFrom('webhook_deliveries').select(['webhook_id', 'state', 'tries']).execute());
  const delivered = async (): Promise<number> => (await states()).filter(({ state }) => state === 'delivered').length;
  while ((await delivered()) < told) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(unanswered, 2, 'one webhook is sent two at a time');
  await queue.close();
  const left = (await states()).filter(({ state }) => state !== 'delivered');
  assert.deepEqual(
    [...new Set(left.map(({ webhook_id, state, tries }) => `${webhook_id} ${state} ${tries}`))],
    ['w0 pending 0'],
  );
  assert.equal(left.length, told);
});
