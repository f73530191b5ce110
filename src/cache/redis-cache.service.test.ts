import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { Redis } from 'ioredis';
import type { Tensor } from '../tensor/tensor.ts';
import { until } from '../testing/script-models.ts';
import { createResponseCache, type ResponseCache } from './response-cache.ts';

const url = process.env.SWITCHYARD_TEST_REDIS_URL ?? '';
let direct: Redis;
before(() => {
  assert.ok(url, 'set SWITCHYARD_TEST_REDIS_URL; .ci/services/redis.sh start prints it');
  direct = new Redis(url);
});
after(() => direct?.disconnect());

const answer: Tensor[] = [
  { name: 'y', datatype: 'FP32', shape: [1, 2], data: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]) },
];
const key = `test-${process.pid}-${Date.now()}`;

/** The connection is made in the background; until then everything is a miss. */
async function put(cache: ResponseCache, name: string): Promise<void> {
  await until('what is put in comes back', async () => {
    cache.set(name, answer);
    return (await cache.get(name)) !== undefined;
  });
}

test('what one gateway puts in, another gets, until it is too old', async () => {
  const one = createResponseCache({ maxBytes: 0, ttlMs: 1500, redisUrl: url });
  const two = createResponseCache({ maxBytes: 0, ttlMs: 1500, redisUrl: url });
  await put(one, key);
  await until('the other one gets it', async () => {
    const got = await two.get(key);
    // A machine that is slow may connect to Redis only when what was put in is too old.
    if (got === undefined) one.set(key, answer);
    else assert.deepEqual(got, answer);
    return got !== undefined;
  });
  await until(
    'it is too old',
    async () => (await two.get(key)) === undefined && (await direct.exists(`sy:cache:${key}`)) === 0,
  );
  await Promise.all([one.close(), two.close()]);
});

test('a damaged entry is a miss', async () => {
  const cache = createResponseCache({ maxBytes: 0, ttlMs: 60_000, redisUrl: url });
  await put(cache, `${key}-damaged`);
  await direct.set(`sy:cache:${key}-damaged`, 'garbage', 'PX', 60_000);
  const before = cache.counters.errors;
  assert.equal(await cache.get(`${key}-damaged`), undefined);
  assert.equal(cache.counters.errors, before + 1);
  await cache.close();
});

test('a Redis that stops answering is skipped after three timeouts, and asked again later', async () => {
  const target = new URL(url);
  let stall: (on: boolean) => void = () => {};
  const sockets = new Set<Socket>();
  // A proxy that can hold its breath: the connection stays up, nothing comes back.
  const proxy = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    for (const socket of [client, upstream]) sockets.add(socket.on('error', () => socket.destroy()));
    client.pipe(upstream).pipe(client);
    stall = (on) => (on ? client.unpipe(upstream) : client.pipe(upstream));
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const port = (proxy.address() as { port: number }).port;
  const cache = createResponseCache({ maxBytes: 0, ttlMs: 60_000, redisUrl: `redis://127.0.0.1:${port}` });
  try {
    await put(cache, `${key}-stall`);
    stall(true);
    for (let i = 0; i < 3; i++) assert.equal(await cache.get(`${key}-stall`), undefined);
    assert.equal(cache.get(`${key}-stall`), undefined, 'no promise: Redis was not asked');
    stall(false);
    await until('Redis is asked again', async () => (await cache.get(`${key}-stall`)) !== undefined);
  } finally {
    await cache.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => proxy.close(resolve));
  }
});
