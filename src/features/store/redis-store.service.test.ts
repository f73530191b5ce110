import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { after, test } from 'node:test';
import { Redis } from 'ioredis';
import { featureSet } from '../../testing/features.ts';
import { service } from '../../testing/kafka-consumer.ts';
import { until } from '../../testing/script-models.ts';
import { viewOf } from '../documents/catalog.ts';
import { readRows } from '../online/read.ts';
import type { Row } from './online-store.ts';
import { RedisStore } from './redis-store.ts';

const url = service('SWITCHYARD_TEST_REDIS_URL', '.ci/services/redis.sh');
const client = new Redis(url);
const store = new RedisStore(url, 5000);
after(() => {
  client.disconnect();
  store.close();
});

const view = viewOf(featureSet(), 'driver_stats');
const NOW = Date.now();
const row = (key: string, time: number, values: Row['values']): Row => ({ key, time, values });

async function ready(): Promise<void> {
  await until('Redis answers', async () =>
    Promise.resolve(store.read('t', [{ view, fields: [0], keys: ['0'] }])).then(
      () => true,
      () => false,
    ),
  );
}

test('rows are read back as they were written, many in one round trip', { timeout: 600_000 }, async () => {
  await ready();
  const tenant = `t ${randomUUID()}`;
  const rows = Array.from({ length: 1200 }, (_, i) =>
    row(String(i), NOW + i, [Math.fround(i / 3), i % 2 === 0 ? 2n ** 60n + BigInt(i) : null, i % 3 === 0, `"${i}\n`]),
  );
  assert.equal(await store.write(tenant, view, rows), 1200);
  const keys = [...rows.map(({ key }) => key), 'nobody'];
  const [found] = await store.read(tenant, [{ view, fields: [3, 1, 0, 2], keys }]);
  for (const [i, { time, values }] of rows.entries())
    assert.deepEqual(found[i], { time, values: [3, 1, 0, 2].map((field) => values?.[field]) });
  assert.equal(found[1200], undefined);
  const [other] = await store.read('another', [{ view, fields: [0], keys: ['1'] }]);
  assert.deepEqual(other, [undefined]);
});

test('the features of a request from two views are one round trip', { timeout: 600_000 }, async () => {
  const { hostname, port } = new URL(url);
  /** What the client sent without waiting for an answer in between. */
  const bursts: string[] = [];
  let answered = true;
  const proxy = createServer((near) => {
    const far = connect(Number(port), hostname);
    near.on('data', (chunk: Buffer) => {
      if (answered) bursts.push('');
      answered = false;
      bursts[bursts.length - 1] += chunk.toString('latin1');
      far.write(chunk);
    });
    far.on('data', (chunk: Buffer) => {
      answered = true;
      near.write(chunk);
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ])
      one.on('error', () => other.destroy()).on('close', () => other.destroy());
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const counted = new RedisStore(`redis://127.0.0.1:${(proxy.address() as AddressInfo).port}`, 5000);
  try {
    const tenant = randomUUID();
    const vectors = viewOf(featureSet(), 'embeddings');
    await ready();
    const drivers = Array.from({ length: 64 }, (_, i) => String(i));
    await store.write(
      tenant,
      view,
      drivers.map((key) => row(key, NOW, [1, 2n, true, 'x'])),
    );
    await store.write(
      tenant,
      vectors,
      drivers.map((key) => row(key, NOW, [[1, 2]])),
    );
    const selections = [
      { view, fields: [0, 1, 2, 3] },
      { view: vectors, fields: [0] },
    ];
    const ask = () => readRows(counted, tenant, selections, new Map([['driver_id', drivers]]), drivers.length);
    // Connects, and teaches Redis the script.
    await until('it answers', async () =>
      Promise.resolve(ask()).then(
        () => true,
        () => false,
      ),
    );
    bursts.length = 0;
    const [stats, embeddings] = await ask();
    assert.equal(stats.found.filter((found) => found?.values.length === 4).length, 64);
    assert.equal(embeddings.found.filter((found) => found?.values.length === 1).length, 64);
    assert.equal(bursts.length, 1, `${bursts.length} round trips`);
    assert.equal(bursts[0].match(/evalsha/gi)?.length, 2, 'a command for each view');
  } finally {
    counted.close();
    proxy.close();
  }
});

test('the newest event time wins over racing writers, and rows expire after twice the TTL', {
  timeout: 600_000,
}, async () => {
  await ready();
  const tenant = randomUUID();
  const times = Array.from({ length: 50 }, (_, i) => NOW - ((i * 37) % 50));
  const kept = await Promise.all(times.map((time) => store.write(tenant, view, [row('7', time, [0, time, true, ''])])));
  assert.ok(kept.reduce((a, b) => a + b, 0) >= 1, 'none was kept');
  assert.deepEqual(await store.read(tenant, [{ view, fields: [1], keys: ['7'] }]), [[{ time: NOW, values: [NOW] }]]);
  const left = await client.pttl(`sy:feature:${tenant}:driver_stats:7`);
  assert.ok(left > 86_400_000 && left <= 2 * 86_400_000, `expires in ${left} ms`);
});

test('what is deleted stays deleted for older rows, and is forgotten some time', { timeout: 600_000 }, async () => {
  await ready();
  const tenant = randomUUID();
  const read = async () => (await store.read(tenant, [{ view, fields: [1], keys: ['7'] }]))[0][0]?.values[0];
  const gone = { key: '7', time: NOW + 5, values: null };
  assert.equal(await store.write(tenant, view, [row('7', NOW, [0, 1, true, '']), gone]), 1);
  assert.equal(await read(), undefined);
  assert.equal(await store.write(tenant, view, [row('7', NOW + 1, [0, 2, true, ''])]), 0);
  assert.equal(await read(), undefined);
  assert.ok((await client.pttl(`sy:feature:${tenant}:driver_stats:7`)) > 0, 'it expires');
  assert.equal(await store.write(tenant, view, [row('7', NOW + 6, [0, 3, true, ''])]), 1);
  assert.equal(await read(), 3);
});

test('a value that is of another type now, or damaged, is not there', { timeout: 600_000 }, async () => {
  await ready();
  const tenant = randomUUID();
  const key = `sy:feature:${tenant}:driver_stats:1`;
  await client.hset(key, '@t', String(NOW), 'conv_rate', '"a text"', 'trips', '{', 'active', 'null');
  const [[found]] = await store.read(tenant, [{ view, fields: [0, 1, 2, 3], keys: ['1'] }]);
  assert.deepEqual(found?.values, [undefined, undefined, null, undefined]);
});

test('a Redis that is away is said to be, at once', { timeout: 600_000 }, async () => {
  const away = new RedisStore('redis://127.0.0.1:1', 200);
  await assert.rejects(async () => away.read('t', [{ view, fields: [0], keys: ['1'] }]), { code: 'unavailable' });
  await assert.rejects(async () => away.write('t', view, [row('1', NOW, [0, 0, true, ''])]), { code: 'unavailable' });
  away.close();
});
