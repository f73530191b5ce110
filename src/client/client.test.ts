import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { percentile, runLoad } from './load.ts';
import { nestedShape, shapeFor, zeroRequest } from './tensor-json.ts';
import { ClientError, parseAnswer, send } from './transport.ts';

let reply: (res: http.ServerResponse, count: number) => void = (res) => res.end('{}');
let count = 0;
const server = http.createServer((_, res) => reply(res, count++));
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
after(() => server.close());
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

async function failure(options: Partial<{ timeoutMs: number }> = {}): Promise<ClientError> {
  const error = await send({ url, ...options }, 'GET', '/').then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof ClientError);
  return error;
}

test('errors of the server keep status, code and message', async () => {
  reply = (res) => {
    res.statusCode = 404;
    res.end('{"error":"no such model","code":"not_found"}');
  };
  const error = await failure();
  assert.deepEqual([error.status, error.code, error.message], [404, 'not_found', 'no such model']);
});

test('answers that are not the server’s own still become readable errors', async () => {
  reply = (res) => {
    res.statusCode = 502;
    res.end('<html>');
  };
  const error = await failure();
  assert.deepEqual([error.status, error.code], [502, 'http_502']);
  assert.throws(() => parseAnswer('<html>', url), /is it a Switchyard server/);
});

test('a server that does not answer is a timeout, one that leads elsewhere is not followed', async () => {
  reply = () => {};
  assert.equal((await failure({ timeoutMs: 50 })).code, 'timeout');
  reply = (res) => {
    res.writeHead(302, { location: 'http://169.254.0.1/' });
    res.end();
  };
  assert.equal((await failure()).status, 0);
});

test('shapes come from nested lists, and flat ones are fitted', () => {
  assert.deepEqual(nestedShape([[1, 2, 3]]), [1, 3]);
  assert.deepEqual(nestedShape([]), [0]);
  assert.deepEqual(shapeFor([2, 3], [-1, 3]), [2, 3]);
  assert.deepEqual(shapeFor([3], [-1, 3]), [1, 3]);
  assert.deepEqual(shapeFor([6], [-1, 3]), [2, 3]);
  assert.deepEqual(shapeFor([6], [2, 3]), [2, 3]);
  assert.deepEqual(shapeFor([2, 2], [-1, 2, 2]), [1, 2, 2]);
  for (const [given, declared] of [
    [[5], [-1, 3]],
    [
      [2, 4],
      [-1, 3],
    ],
    [[6], [-1, -1, -1]],
    [[5], [2, 3]],
  ])
    assert.throws(() => shapeFor(given, declared), /give nested lists/);
});

test('zeros fit every datatype', () => {
  const { inputs } = JSON.parse(
    zeroRequest([
      { name: 'a', datatype: 'BOOL', shape: [-1, 2] },
      { name: 'b', datatype: 'FP32', shape: [] },
    ]),
  ) as { inputs: { data: unknown[]; shape: number[] }[] };
  assert.deepEqual(inputs[0].data, [false, false]);
  assert.deepEqual([inputs[1].data, inputs[1].shape], [[0], []]);
});

test('percentiles are nearest ranks', () => {
  const values = Float64Array.from({ length: 100 }, (_, i) => i + 1);
  assert.deepEqual(
    [0.5, 0.9, 0.99, 1].map((share) => percentile(values, share)),
    [50, 90, 99, 100],
  );
  assert.equal(percentile([], 0.5), 0);
  assert.equal(percentile([7], 0.01), 7);
});

test('the load counts failures by kind, apart from answers', async () => {
  count = 0;
  reply = (res, n) => {
    if (n % 3 === 1) res.statusCode = 429;
    if (n % 3 === 2) res.destroy();
    else res.end('{}');
  };
  const result = await runLoad({
    url: new URL(url),
    body: Buffer.from('{}'),
    concurrency: 1,
    durationMs: 3000,
  });
  assert.equal(result.succeeded + result.failed, count);
  assert.ok(result.errors['429'] > 0);
  assert.equal(
    result.failed,
    Object.values(result.errors).reduce((sum, n) => sum + n, 0),
  );
});

test('in the open loop a stall counts for every request that was due in it', async () => {
  reply = (res, n) => void setTimeout(() => res.end('{}'), n === 0 ? 300 : 0);
  count = 0;
  const result = await runLoad({
    url: new URL(url),
    body: Buffer.from('{}'),
    concurrency: 1,
    durationMs: 1000,
    rate: 100,
  });
  // The second request was due 10 ms after the first and could only be sent 290 ms later. A closed loop would not see it.
  assert.ok(result.succeeded >= 2 && result.succeeded <= 100);
  assert.ok(result.p99Ms > 250, `p99 ${result.p99Ms}`);
});
