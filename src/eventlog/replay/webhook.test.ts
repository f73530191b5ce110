import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { eventLogSchema, type WebhookSinkConfig } from '../../config/event-log-schema.ts';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { until } from '../../testing/script-models.ts';
import { recordJson } from '../encode/json.ts';
import { decodeRecord } from '../encode/record-decoder.ts';
import { WebhookSink } from '../sinks/webhook.ts';
import { HEADER_BYTES, INFERENCE, sealRecord } from '../spool/format.ts';
import { Spool } from '../spool/spool.ts';
import { Replays } from './replays.ts';

const scratch = mkdtempSync(join(tmpdir(), 'replay-webhook-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

interface Post {
  id: string;
  body: { replayed: string; records: { id: string }[] };
}

test('a receiver gets the records again, marked; done again, with the same delivery ids', async (t) => {
  const spool = new Spool({
    dir: scratch,
    segmentBytes: 2 ** 20,
    maxBytes: 2 ** 26,
    whenFull: 'drop-new',
    fsync: 'never',
  });
  const loop = new LogLoop();
  const logged: unknown[] = [];
  for (let i = 0; i < 5; i++) {
    loop.tap.finished(finishedRequest({ id: `r${i}` }));
    const [body] = loop.take();
    logged.push(JSON.parse(recordJson(decodeRecord(body))));
    const bytes = Buffer.concat([Buffer.alloc(HEADER_BYTES), Buffer.from([INFERENCE]), body]);
    sealRecord(bytes, 0, bytes.length);
    assert.ok(spool.append(bytes, 1));
  }
  const posts: Post[] = [];
  const answers = [503, 200, 200, 400];
  const receiver = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    posts.push({
      id: String(request.headers['x-mlflow-delivery-id']),
      body: JSON.parse(Buffer.concat(parts).toString()),
    });
    response.statusCode = answers.shift() ?? 200;
    response.end();
  });
  t.after(() => receiver.close());
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(receiver.address() as AddressInfo).port}`;
  const [config] = eventLogSchema.parse({
    sinks: [{ name: 'hook', kind: 'webhook', url: `http://${host}/records`, batchRecords: 2, secret: 's' }],
  }).sinks as WebhookSinkConfig[];
  const policy = { schemes: ['http'], hosts: [], privateHosts: [host] };
  const replays = new Replays({
    spool,
    sinks: ['hook'],
    origin: async () => undefined,
    open: async (_, mark) => new WebhookSink(config, policy, mark),
  });
  const wish = { sink: 'hook', from: undefined, to: Date.now(), model: undefined, route: undefined, rate: 1e6 };
  const ended = async () => {
    const { id, mark } = await replays.start(wish);
    await until('it ends', () => replays.get(id).status !== 'running');
    return { ...replays.get(id), mark, posts: posts.splice(0) };
  };
  const first = await ended();
  assert.deepEqual([first.status, first.sent, first.refused, first.errors], ['succeeded', 4, 1, 1]);
  assert.match(first.last_error, /answered 503/);
  const ids = [0, 0, 2, 4].map((n) => `hook-replay-${first.mark}-${n}`);
  assert.deepEqual(
    first.posts.map(({ id }) => id),
    ids,
    'what was answered with 503 came again, what was answered with 400 did not',
  );
  assert.ok(first.posts.every(({ body }) => body.replayed === first.mark));
  assert.deepEqual(
    first.posts.slice(1).flatMap(({ body }) => body.records),
    logged,
  );
  const second = await ended();
  assert.deepEqual([second.status, second.sent, second.refused], ['succeeded', 5, 0]);
  assert.deepEqual(
    second.posts.map(({ id }) => id),
    ids.slice(1),
  );
});
