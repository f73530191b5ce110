import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { INFERENCE_SERVICE, serviceDefinition } from '../protocol/grpc/schema.ts';
import { floats, status as statusOf, TestClient } from './grpc-client.ts';
import { scriptRepository, sleeps, times, until, x } from './script-models.ts';
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
/** Waits for labels for less, too. */
const MONITOR = {
  ...{ apiVersion: 'switchyard/v1', kind: 'Monitor', metadata: { name: 'quality' } },
  spec: {
    model: 'two',
    reference: { records: 1000 },
    quality: {
      ...{ prediction: 'outputs.y', wait: '20m', window: { rows: 1000 } },
      metrics: [{ metric: 'accuracy', min: 0.5 }],
    },
  },
};
/** A bandit whose decisions wait, and a canary that pauses, for less than the clock jumps. */
const ROUTES = [
  `metadata: {name: learns}
spec:
  variants: {stable: {model: two, version: "1"}, next: {model: two, version: "2"}}
  strategy: {bandit: {arms: [stable, next], policy: epsilonGreedy, reward: {wait: 20m, default: 0}}}`,
  `metadata: {name: rolls}
spec:
  variants: {stable: {model: two, version: "1"}, next: {model: two, version: "2"}}
  strategy:
    canary:
      stable: stable
      candidate: next
      deadline: 50m
      steps: [{setWeight: 20}, {pause: {duration: 30m}}, {setWeight: 40}]`,
].map((body) => `apiVersion: switchyard/v1\nkind: Route\n${body}\n`);

test('the machine clock jumping an hour, forth and back, expires nothing early and keeps nothing late', async () => {
  const clock = join(scratch, 'clock');
  writeFileSync(clock, '+0');
  const root = scriptRepository(scratch, {
    slow: { versions: { 1: sleeps(SLOW_MS) }, config: 'dynamic_batching { }' },
    two: { versions: { 1: times(1), 2: times(2) }, config: 'version_policy: { all: {} }' },
    cached: { versions: { 1: times(2) }, config: 'response_cache { enable: true }' },
  });
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(join(scratch, 'routes.yaml'), ROUTES.join('---\n'));
  writeFileSync(join(scratch, 'monitor.yaml'), JSON.stringify(MONITOR));
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\ncache: {ttlSeconds: 600}\nroutes: {files: [routes.yaml]}\neventLog: {enabled: true}\nmonitoring: {files: [monitor.yaml]}\n` +
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

  const decided = async (): Promise<string> => {
    const body = JSON.stringify({ inputs: x(1) });
    const response = await fetch(server.url('/v2/models/learns/infer'), { method: 'POST', body });
    assert.equal(response.status, 200, await response.text());
    return String(response.headers.get('x-switchyard-id'));
  };
  const rewarded = async (ids: string[]): Promise<string[]> => {
    const body = JSON.stringify({ events: ids.map((id) => ({ id, reward: 1, label: 1, model: 'two' })) });
    const response = await fetch(server.url('/switchyard/v1/feedback'), { method: 'POST', body });
    return ((await response.json()) as { results: { result: string }[] }).results.map(({ result }) => result);
  };
  const route = async <T>(name: string): Promise<T> =>
    (await (await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/routes/${name}`)).json()) as T;
  const rollout = async (): Promise<string> => {
    const { weights, rollout: state } = await route<{ weights: { next: number }; rollout?: { phase: string } }>(
      'rolls',
    );
    return `${weights.next} ${state?.phase}`;
  };

  assert.equal((await infer(server, 'cached', x(4))).status, 200);
  await until('the canary pauses at its first step', async () => (await rollout()).startsWith('0.2 '));
  const paused = await rollout();
  const labels = async (): Promise<{ total: number; unmatched: number }> =>
    (
      (await (await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/monitors/quality`)).json()) as {
        labels: never;
      }
    ).labels;
  await until('the monitor counts', () => existsSync(join(server.dataDir, 'eventlog/monitor-labels.db')));
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
    const decisions = await list(4, decided);
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
    // Several looks at everything later.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.deepEqual(await rewarded(decisions), Array(4).fill('accepted'), `rewards at ${offset}`);
    assert.equal(await rollout(), paused, `the canary at ${offset}`);
    const metrics = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
    assert.match(metrics, /route="learns",result="accepted"/);
    assert.doesNotMatch(metrics, /route="learns",result="matured"/, `nothing is learnt before its time at ${offset}`);
    await until(`labels are joined at ${offset}`, async () => (await labels()).total === 4 * hits);
    assert.equal((await labels()).unmatched, 0);
    const shift = (await statistics('slow')).last_inference - Date.now();
    assert.equal(Math.abs(Math.round(shift / HOUR_MS) - hours), 0, `the clock of the server is off by ${shift} ms`);
  }
  assert.deepEqual(
    server.log.filter((line) => Number(line.level) >= 50),
    [],
  );
});
