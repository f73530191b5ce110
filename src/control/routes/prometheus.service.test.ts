import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { steadyPorts } from '../../testing/ports.ts';
import { scriptRepository, times, until, x } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-prometheus-'));
let server: ServerProcess | undefined;
let prometheus: ChildProcess | undefined;
after(async () => {
  prometheus?.kill('SIGKILL');
  await server?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

/** Prometheus itself, scraping the gateway every second. */
async function startPrometheus(program: string, port: number, metricsPort: number): Promise<ChildProcess> {
  const folder = join(scratch, 'prometheus');
  mkdirSync(folder);
  const config = join(folder, 'prometheus.yml');
  writeFileSync(
    config,
    `global: {scrape_interval: 1s}\nscrape_configs: [{job_name: gateway, static_configs: [{targets: ["127.0.0.1:${metricsPort}"]}]}]\n`,
  );
  const options = [
    `--config.file=${config}`,
    `--storage.tsdb.path=${folder}/data`,
    `--web.listen-address=127.0.0.1:${port}`,
  ];
  const child = spawn(program, options, { stdio: 'ignore' });
  await until(
    'Prometheus is ready',
    async () => (await fetch(`http://127.0.0.1:${port}/-/ready`).catch(() => undefined))?.ok === true,
  );
  return child;
}

/** Version 2 fails for large inputs. */
const FAILS = `export const execute = ({ x }) => { if (x.data[0] > 100) throw new Error('too large'); return { y: { datatype: 'FP32', shape: x.shape, data: x.data } }; };\n`;

const routes = (port: number): string => {
  const ask = (name: string, query: string, condition: string, count: number) =>
    `{name: ${name}, prometheus: {address: "http://127.0.0.1:${port}", query: '${query}'}, successCondition: "${condition}", interval: 500ms, count: ${count}}`;
  const served = 'sum(switchyard_route_requests_total{route="m",variant="next"})';
  // Long, since a machine that has much else to do may miss most of the scrapes.
  const rate = (name: string) => `sum(rate(switchyard_route_${name}_total{route="m",variant="next"}[1m]))`;
  const ratio = `${rate('errors')} / ${rate('requests')}`;
  return `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    canary:
      stable: stable
      candidate: next
      steps: [{setWeight: 50}, {analysis: {templates: [enough]}}, {pause: {}}]
      background: {templates: [healthy]}
      onFail: {rollback: immediate}
---
apiVersion: switchyard/v1
kind: AnalysisTemplate
metadata: {name: enough}
spec: {metrics: [${ask('requests', served, 'result > 20', 2)}]}
---
apiVersion: switchyard/v1
kind: AnalysisTemplate
metadata: {name: healthy}
spec: {metrics: [${ask('errors', ratio, 'result < 0.3', 3)}]}
`;
};

interface Rollout {
  phase: string;
  weight: number;
  reason: string;
}

async function rollout(): Promise<Rollout | undefined> {
  const response = await fetch(`http://127.0.0.1:${server!.ports.admin}/api/v1/routes/m`);
  return ((await response.json()) as { rollout?: Rollout }).rollout;
}

async function ask(value: number): Promise<void> {
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      const body = JSON.stringify({ inputs: x(value) });
      await (await fetch(server!.url('/v2/models/m/infer'), { method: 'POST', body })).arrayBuffer();
    }),
  );
}

async function askUntil(value: number, phase: string): Promise<Rollout> {
  await until(`phase ${phase}`, async () => {
    await ask(value);
    return (await rollout())?.phase === phase;
  });
  return (await rollout()) as Rollout;
}

test('queries of a real Prometheus pass an analysis, and in the background roll back; without it nothing is decided', async () => {
  const program = process.env.SWITCHYARD_TEST_PROMETHEUS;
  assert.ok(program, 'SWITCHYARD_TEST_PROMETHEUS names the program; Debian has it in the package prometheus');
  const [port] = await steadyPorts(1);
  const root = scriptRepository(scratch, {
    m: { versions: { 1: times(1), 2: FAILS }, config: 'version_policy: { all: {} }\n' },
  });
  writeFileSync(join(scratch, 'routes.yaml'), routes(port));
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml]}\nthreads: {gateways: 1, executors: 1}\n`,
  );
  server = await ServerProcess.start(['--config', config, '--no-supervise']);
  await askUntil(1, 'analysing');
  for (let i = 0; i < 20; i++) {
    await ask(1);
    await sleep(100);
  }
  assert.equal((await rollout())?.phase, 'analysing', 'a Prometheus that cannot be asked decides nothing');

  prometheus = await startPrometheus(program, port, server.ports.metrics);
  assert.equal((await askUntil(1, 'gated')).weight, 50);
  const { phase, weight, reason } = await askUntil(1000, 'rolledBack');
  assert.deepEqual([phase, weight], ['rolledBack', 0]);
  assert.match(reason, /errors: 1 measurements failed result < 0\.3, 0 allowed/);
});
