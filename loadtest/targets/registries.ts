import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SMALL_MLP } from '../mlp-model.ts';
import { ServerProcess } from './server-process.ts';
import { switchyard } from './switchyard.ts';
import type { Target, Workload } from './target.ts';
import { ensureVenv } from './venv.ts';

/** A started registry that speaks MLflow's REST API. */
export interface RegistryServer {
  name: string;
  role: Target['role'];
  server: ServerProcess;
  port: number;
  /** Takes runs by a shorter way than its API, where there is one. */
  seed?: (experiment: string, runs: Iterable<SeedRun>) => Promise<void>;
}

export interface SeedRun {
  id: string;
  name: string;
  start_time: number;
  metrics: Record<string, number>;
  params: Record<string, string>;
  tags: Record<string, string>;
}

/** What servers of models need and registries do not. */
function workloadIn(scratch: string): Workload {
  mkdirSync(scratch, { recursive: true });
  return {
    ...{ mlp: SMALL_MLP, model: SMALL_MLP.name, row: new Float32Array(SMALL_MLP.layers[0]), expected: [] },
    ...{ onnxFile: '', maxBatchSize: 1, scratch },
  };
}

export async function startSwitchyard(scratch: string): Promise<RegistryServer> {
  const target = switchyard();
  const workload = workloadIn(scratch);
  await target.prepare(workload);
  const server = await ServerProcess.start(target, workload);
  return { name: 'switchyard', role: 'subject', server, port: server.ports.admin };
}

/** A gateway that serves what aliases point to: those of its own registry, or of the server at an admin port. */
export async function startFollower(scratch: string, registryPort?: number): Promise<ServerProcess> {
  const name = registryPort === undefined ? 'embedded' : 'elsewhere';
  const folder = join(scratch, name);
  const config = join(folder, 'switchyard.yaml');
  const remote = registryPort === undefined ? '' : `, registry: {url: "http://127.0.0.1:${registryPort}"}`;
  const target: Target = {
    ...switchyard({ name }),
    prepare: async () => {},
    launch: (_workload, ports) => ({
      command: process.execPath,
      args: [
        ...[join(import.meta.dirname, '..', '..', 'dist', 'cli', 'main.js'), 'serve', '--config', config],
        ...['--http-port', String(ports.http), '--grpc-port', String(ports.grpc)],
        ...['--metrics-port', String(ports.metrics), '--admin-port', String(ports.admin)],
      ],
      cwd: folder,
    }),
  };
  const workload = workloadIn(folder);
  writeFileSync(config, `models: {source: registry${remote}}\ndataDir: ${join(folder, 'data')}\n`);
  return ServerProcess.start(target, workload);
}

/** MLflow's server with its SQLite store and one worker. */
export async function startMlflow(scratch: string): Promise<RegistryServer> {
  const folder = join(import.meta.dirname, '..', 'peers', 'mlflow');
  const venv = ensureVenv('mlflow-server', folder);
  const database = join(scratch, 'mlflow.db');
  const target: Target = {
    name: 'mlflow',
    role: 'peer',
    wires: ['json'],
    idle: 'run',
    computes: false,
    readyPath: '/health',
    prepare: async () => {},
    launch: (_workload, ports) => ({
      command: join(venv, 'bin', 'mlflow'),
      args: [
        ...['server', '--backend-store-uri', `sqlite:///${database}`, '--workers', '1'],
        ...['--artifacts-destination', join(scratch, 'artifacts'), '--host', '127.0.0.1', '--port', String(ports.http)],
      ],
      env: { MLFLOW_DISABLE_TELEMETRY: 'true', DO_NOT_TRACK: 'true' },
      cwd: scratch,
    }),
    request: () => {
      throw new Error('MLflow serves no models here');
    },
    output: () => [],
  };
  const server = await ServerProcess.start(target, workloadIn(scratch));
  return {
    name: 'mlflow 3.17.2',
    role: 'peer',
    server,
    port: server.ports.http,
    seed: async (experiment, runs) => {
      const child = spawn(join(venv, 'bin', 'python'), [join(folder, 'seed.py'), database, experiment], {
        stdio: ['pipe', 'inherit', 'inherit'],
      });
      const ended = once(child, 'exit') as Promise<[number]>;
      for (const run of runs) if (!child.stdin.write(`${JSON.stringify(run)}\n`)) await once(child.stdin, 'drain');
      child.stdin.end();
      const [code] = await ended;
      if (code !== 0) throw new Error(`seed.py ended with ${code}`);
    },
  };
}
