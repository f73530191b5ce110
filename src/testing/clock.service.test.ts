import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { INFERENCE_SERVICE, serviceDefinition } from '../protocol/grpc/schema.ts';
import { floats, status as statusOf, TestClient } from './grpc-client.ts';
import { scriptRepository, sleeps, times, x } from './script-models.ts';
import { infer, ServerProcess } from './server-process.ts';

const library = process.env.SWITCHYARD_TEST_LIBFAKETIME ?? '';
before(() =>
  assert.ok(library, 'set SWITCHYARD_TEST_LIBFAKETIME to libfaketimeMT.so.1 of the Debian package libfaketime'),
);

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-clock-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const HOUR_MS = 3_600_000;
/** What the slow model takes, and deadlines that must hold and that must pass meanwhile. */
const SLOW_MS = 800;
const LONG_MS = 20_000;
const SHORT_MS = 300;

test('the machine clock jumping an hour, forth and back, expires nothing early and keeps nothing late', async () => {
  const clock = join(scratch, 'clock');
  writeFileSync(clock, '+0');
  const root = scriptRepository(scratch, {
    slow: { versions: { 1: sleeps(SLOW_MS) }, config: 'dynamic_batching { }' },
    cached: { versions: { 1: times(2) }, config: 'response_cache { enable: true }' },
  });
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\ncache: {ttlSeconds: 600}\n` +
      'admission: {tenants: {default: {limits: {requestsPerSecond: 100000, concurrency: 1000}}}}\n',
  );
  const server = await ServerProcess.start(['--config', config], {
    env: {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: clock,
      FAKETIME_NO_CACHE: '1',
      // A machine's monotonic clock does not jump when someone sets the other one.
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    },
  });
  after(() => server.stop());
  const grpc = new TestClient(server.ports.grpc, serviceDefinition(INFERENCE_SERVICE));
  after(() => grpc.close());
  const statistics = async (
    model: string,
  ): Promise<{ last_inference: number; inference_stats: Record<string, { count: number }> }> => {
    const response = await fetch(server.url(`/v2/models/${model}/stats`));
    return ((await response.json()) as { model_stats: [never] }).model_stats[0];
  };
  const http = (timeoutMs: number): Promise<number> =>
    infer(server, 'slow', x(1), { 'x-request-timeout-ms': String(timeoutMs) }).then(({ status }) => status);
  const call = (timeoutMs: number): Promise<number> => {
    const request = {
      model_name: 'slow',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 1] }],
      raw_input_contents: [floats([1])],
    };
    return grpc.unary('ModelInfer', request, { deadline: new Date(Date.now() + timeoutMs) }).then(
      () => 0,
      async (error) => (await statusOf(Promise.reject(error))).code,
    );
  };
  const list = <T>(count: number, make: () => Promise<T>): Promise<T[]> =>
    Promise.all(Array.from({ length: count }, make));

  assert.equal((await infer(server, 'cached', x(4))).status, 200);
  let hits = 0;
  for (const [offset, hours] of [
    ['+0', 0],
    ['+3600s', 1],
    ['-3600s', -1],
    ['+0', 0],
    ['+7200s', 2],
  ] as const) {
    // Queued behind one another and running while the clock jumps.
    const kept = [list(24, () => http(LONG_MS)), list(8, () => call(LONG_MS))];
    const late = list(4, () => http(SHORT_MS));
    await new Promise((resolve) => setTimeout(resolve, SLOW_MS / 4));
    writeFileSync(clock, offset);
    const [overHttp, overGrpc] = await Promise.all(kept);
    assert.deepEqual(overHttp, Array(24).fill(200), `HTTP at ${offset}`);
    assert.deepEqual(overGrpc, Array(8).fill(0), `gRPC at ${offset}`);
    assert.deepEqual(await late, Array(4).fill(504), `deadlines at ${offset}`);
    assert.equal((await infer(server, 'cached', x(4))).status, 200);
    hits++;
    assert.equal((await statistics('cached')).inference_stats.cache_hit.count, hits, `the cached answer at ${offset}`);
    // Ask once more after the jump: the stamp shows that the server's clock has really moved.
    assert.equal(await http(LONG_MS), 200);
    const shift = (await statistics('slow')).last_inference - Date.now();
    assert.equal(Math.abs(Math.round(shift / HOUR_MS) - hours), 0, `the clock of the server is off by ${shift} ms`);
  }
  assert.deepEqual(
    server.log.filter((line) => Number(line.level) >= 50),
    [],
  );
});
