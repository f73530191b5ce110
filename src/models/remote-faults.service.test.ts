import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { credentials } from '@grpc/grpc-js';
import { ReplicaChannels } from '../backends/remote/channels.ts';
import { modelReady } from '../backends/v2grpc/client.ts';
import { PhaseLatencies } from '../testing/phase-latencies.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

/** gRPC address of a Triton over .ci/services/triton/models; .ci/services/triton.sh runs one. */
const url = process.env.SWITCHYARD_TEST_TRITON_URL ?? '';
assert.notEqual(url, '', 'SWITCHYARD_TEST_TRITON_URL must name a Triton, as .ci/services/triton.sh run starts one');

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-faults-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** Answers of the local model that a phase is judged by. */
const SAMPLES = 200;

type Fault = 'none' | 'hang' | 'slow' | 'cut';

/** A line to Triton that can fail: bytes stop, come late, or connections end. Counts what it carried. */
class Line {
  fault: Fault = 'none';
  carried = 0;
  readonly server: net.Server;
  private readonly sockets = new Set<net.Socket>();

  constructor() {
    const [host, port] = url.split(':');
    this.server = net.createServer((client) => {
      if (this.fault === 'cut') {
        client.destroy();
        return;
      }
      const upstream = net.connect(Number(port), host);
      this.join(client, upstream);
      this.join(upstream, client);
    });
  }

  get address(): string {
    return `127.0.0.1:${(this.server.address() as net.AddressInfo).port}`;
  }

  set(fault: Fault): void {
    this.fault = fault;
    if (fault === 'cut') this.end();
  }

  end(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  private join(from: net.Socket, to: net.Socket): void {
    this.sockets.add(from);
    from.on('error', () => {});
    from.on('close', () => {
      this.sockets.delete(from);
      to.destroy();
    });
    from.on('data', (chunk) => {
      // What hangs is lost, as on a machine that is gone without a word.
      if (this.fault === 'hang') return;
      this.carried += chunk.length;
      setTimeout(() => to.writable && to.write(chunk), this.fault === 'slow' ? 250 : 0);
    });
  }
}

async function open(): Promise<Line> {
  const line = new Line();
  line.server.listen(0, '127.0.0.1');
  await once(line.server, 'listening');
  after(() => {
    line.end();
    line.server.close();
  });
  return line;
}

test('a replica of a Triton that hangs, slows or is cut is taken out and comes back; other models never notice', async (t) => {
  const [good, bad] = [await open(), await open()];
  const root = scriptRepository(scratch, { local: { versions: { 1: times(2) } } });
  mkdirSync(join(root, 'far', '1'), { recursive: true });
  writeFileSync(
    join(root, 'far', 'config.pbtxt'),
    `backend: "triton"\nmax_batch_size: 0\ninput [{name: "INPUT" data_type: TYPE_FP32 dims: [-1]}]\noutput [{name: "OUTPUT" data_type: TYPE_FP32 dims: [-1]}]\n` +
      Object.entries({
        url: `${good.address},${bad.address}`,
        remote_model: 'identity_fp32',
        per_try_timeout_ms: 1000,
        probe_interval_ms: 200,
      })
        .map(([key, value]) => `parameters { key: "${key}" value { string_value: "${value}" } }\n`)
        .join(''),
  );
  const server = await ServerProcess.start(['--model-repository', root]);
  after(() => server.stop());
  const far = (): ReturnType<typeof infer> =>
    infer(server, 'far', [{ name: 'INPUT', shape: [4], datatype: 'FP32', data: [1, 2, 3, 4] }], {
      'x-request-timeout-ms': '10000',
    });
  await until('the remote model answers', async () => (await far()).status === 200);

  const local: number[] = [];
  const latencies = new PhaseLatencies();
  let asking = true;
  const others = (async () => {
    while (asking) local.push(await latencies.time(async () => (await infer(server, 'local', x(1))).status));
  })();
  const failed = { count: 0 };
  const all = async (count: number): Promise<number[]> => {
    const statuses = await Promise.all(Array.from({ length: count }, async () => (await far()).status));
    failed.count += statuses.filter((status) => status !== 200).length;
    return statuses;
  };
  const enough = () => latencies.count() >= SAMPLES;
  while (!enough()) await all(8);

  for (const fault of ['hang', 'slow', 'cut'] as const) {
    latencies.phase = fault;
    failed.count = 0;
    const begun = performance.now();
    bad.set(fault);
    // Tries on the bad replica are repeated on the good one, within the retry budget; then it is left alone.
    await until(`only the good replica is asked during '${fault}'`, async () => {
      await all(8);
      const before = bad.carried;
      const statuses = await all(16);
      return statuses.every((status) => status === 200) && (fault !== 'hang' || bad.carried === before);
    });
    const settled = Math.round(performance.now() - begun);
    t.diagnostic(`'${fault}': ${failed.count} of its requests failed; none does any more after ${settled} ms`);
    while (!enough()) await all(8);
    bad.set('none');
    assert.deepEqual(await all(8), Array(8).fill(200), `after '${fault}'`);
  }
  for (const line of latencies.compare('calm', ['hang', 'slow', 'cut'])) t.diagnostic(line);
  // Without any replica the model is not ready, on every port; the server and its other models are.
  const grpc = new ReplicaChannels(`127.0.0.1:${server.ports.grpc}`, credentials.createInsecure(), 1);
  const ready = async (): Promise<unknown[]> => {
    const index = (await (await fetch(server.url('/v2/repository/index'), { method: 'POST' })).json()) as {
      name: string;
      state: string;
      reason?: string;
    }[];
    const { state, reason = '' } = index.find(({ name }) => name === 'far') ?? {};
    return [
      (await fetch(server.url('/v2/models/far/ready'))).status,
      await modelReady(grpc, 'far', '', 60_000),
      // HealthCheckRequest and -Response: field 1, of "far" and of SERVING or NOT_SERVING.
      (await grpc.unary('/grpc.health.v1.Health/Check', Buffer.from([10, 3, ...Buffer.from('far')]), 60_000))[1],
      state,
      reason,
      (await fetch(server.url('/v2/health/ready'))).status,
    ];
  };
  const away = `none of its servers is ready: ${good.address}, ${bad.address}`;
  assert.deepEqual(await ready(), [200, true, 1, 'READY', '', 200]);
  for (const line of [good, bad]) line.set('cut');
  await until('the model is not ready', async () =>
    isDeepStrictEqual(await ready(), [503, false, 2, 'UNAVAILABLE', away, 200]),
  );
  assert.equal((await far()).status, 503);
  for (const line of [good, bad]) line.set('none');
  await until('the model is ready', async () => isDeepStrictEqual(await ready(), [200, true, 1, 'READY', '', 200]));
  await until('it answers', async () => (await far()).status === 200);
  grpc.close();
  const before = bad.carried;
  const back = performance.now();
  await until('the replica gets its share again', async () => {
    await all(8);
    return bad.carried > before + 5000;
  });
  t.diagnostic(`the replica has its share of the load again after ${Math.round(performance.now() - back)} ms`);
  asking = false;
  await others;
  assert.ok(local.length > 100);
  assert.deepEqual(
    local.filter((status) => status !== 200),
    [],
  );
});
