import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { plainJson, v2Binary, v2Json, v2Output } from '../payloads.ts';
import type { Target, Workload } from './target.ts';
import { ensureVenv, pythonValue } from './venv.ts';

/**
 * Python servers over the same ONNX file, each with dynamic batching on, one execution thread, access logs off and its
 * own documented settings for speed. A batch waits 1 ms where the server has no better way to form one.
 */
export const PEERS: Record<string, () => Target> = { triton, mlserver, litserve, bentoml, rayserve };

const BATCH_WAIT_MS = 1;
const folderOf = (peer: string): string => join(import.meta.dirname, '..', 'peers', peer);

const commonEnv = (workload: Workload, port: number): Record<string, string> => ({
  MODEL: workload.onnxFile,
  PORT: String(port),
  MAX_BATCH: String(workload.maxBatchSize),
  BATCH_WAIT_MS: String(BATCH_WAIT_MS),
  PYTHONPATH: '',
});

const parseJson = <T>(body: Uint8Array): T => JSON.parse(Buffer.from(body).toString()) as T;

function litserve(): Target {
  const folder = folderOf('litserve');
  let venv = '';
  return {
    name: 'litserve',
    role: 'peer',
    wires: ['json'],
    idle: 'pause',
    computes: true,
    readyPath: '/health',
    async prepare() {
      venv = ensureVenv('litserve', folder);
    },
    launch: (workload, ports) => ({
      command: join(venv, 'bin', 'python'),
      args: ['serve.py'],
      env: commonEnv(workload, ports.http),
      cwd: folder,
    }),
    request: (_wire, workload) => plainJson('/predict', { x: shortened(workload.row) }),
    output: (_headers, body) => parseJson<{ y: number[] }>(body).y,
  };
}

function bentoml(): Target {
  const folder = folderOf('bentoml');
  let venv = '';
  return {
    name: 'bentoml',
    role: 'peer',
    wires: ['json'],
    idle: 'pause',
    computes: true,
    readyPath: '/readyz',
    async prepare() {
      venv = ensureVenv('bentoml', folder);
    },
    launch: (workload, ports) => ({
      command: join(venv, 'bin', 'bentoml'),
      args: ['serve', 'service:Mlp', '--host', '127.0.0.1', '--port', String(ports.http)],
      env: {
        ...commonEnv(workload, ports.http),
        BENTOML_HOME: join(workload.scratch, 'bentoml'),
        BENTOML_DO_NOT_TRACK: 'True',
      },
      cwd: folder,
    }),
    request: (_wire, workload) => plainJson('/predict', { x: [shortened(workload.row)] }),
    output: (_headers, body) => parseJson<number[][]>(body)[0],
  };
}

function rayserve(): Target {
  const folder = folderOf('rayserve');
  let venv = '';
  return {
    name: 'rayserve',
    role: 'peer',
    wires: ['json'],
    // Its control processes poll, and take a pause for a lost node.
    idle: 'restart',
    // A fresh start every time, whose first requests wait for the replica's route.
    warmupSeconds: 5,
    computes: true,
    readyPath: '/-/healthz',
    async prepare() {
      venv = ensureVenv('rayserve', folder);
    },
    launch: (workload, ports) => ({
      command: join(venv, 'bin', 'python'),
      args: ['serve.py'],
      env: { ...commonEnv(workload, ports.http), RAY_USAGE_STATS_ENABLED: '0' },
      cwd: folder,
    }),
    request: (_wire, workload) => plainJson('/predict', { x: shortened(workload.row) }),
    output: (_headers, body) => parseJson<{ y: number[] }>(body).y,
  };
}

function mlserver(): Target {
  const folder = folderOf('mlserver');
  let venv = '';
  return {
    name: 'mlserver',
    role: 'peer',
    wires: ['json'],
    idle: 'pause',
    computes: true,
    readyPath: '/v2/health/ready',
    async prepare() {
      venv = ensureVenv('mlserver', folder);
    },
    launch: (workload, ports) => {
      const home = join(workload.scratch, 'mlserver');
      mkdirSync(join(home, workload.model), { recursive: true });
      const settings = {
        debug: false,
        host: '127.0.0.1',
        http_port: ports.http,
        grpc_port: ports.grpc,
        metrics_endpoint: null,
        // One process: a worker pool would add a hop and gain nothing for a model this cheap.
        parallel_workers: 0,
      };
      const model = {
        name: workload.model,
        implementation: 'runtime.Mlp',
        max_batch_size: workload.maxBatchSize,
        max_batch_time: BATCH_WAIT_MS / 1000,
      };
      writeFileSync(join(home, 'settings.json'), JSON.stringify(settings));
      writeFileSync(join(home, workload.model, 'model-settings.json'), JSON.stringify(model));
      return {
        command: join(venv, 'bin', 'mlserver'),
        args: ['start', home],
        env: { ...commonEnv(workload, ports.http), PYTHONPATH: folder },
        cwd: home,
      };
    },
    request: (_wire, workload) => v2Json(workload.model, workload.row),
    output: v2Output,
  };
}

/** The real tritonserver of the nvidia-pytriton wheel, started directly, with a Python-backend model. */
function triton(): Target {
  const folder = folderOf('triton');
  let server = '';
  let packages = '';
  let libpython = '';
  return {
    name: 'triton',
    role: 'peer',
    wires: ['json', 'binary', 'grpc'],
    idle: 'run',
    computes: true,
    readyPath: '/v2/health/ready',
    async prepare(workload) {
      const venv = ensureVenv('triton', folder);
      packages = pythonValue(venv, 'sysconfig', 'sysconfig.get_paths()["purelib"]');
      libpython = pythonValue(venv, 'sysconfig', 'sysconfig.get_config_var("LIBDIR")');
      const version = pythonValue(venv, 'sysconfig', 'sysconfig.get_python_version()');
      server = join(packages, 'pytriton', 'tritonserver');
      const stub = 'triton_python_backend_stub';
      copyFileSync(join(server, 'python_backend_stubs', version, stub), join(server, 'backends', 'python', stub));
      const home = join(workload.scratch, 'triton', workload.model);
      mkdirSync(join(home, '1'), { recursive: true });
      copyFileSync(join(folder, 'model.py'), join(home, '1', 'model.py'));
      const layers = workload.mlp.layers;
      const config = [
        `name: "${workload.model}"`,
        'backend: "python"',
        `max_batch_size: ${workload.maxBatchSize}`,
        `input [ { name: "x" data_type: TYPE_FP32 dims: [ ${layers[0]} ] } ]`,
        `output [ { name: "y" data_type: TYPE_FP32 dims: [ ${layers[layers.length - 1]} ] } ]`,
        'dynamic_batching { }',
        `parameters { key: "model" value: { string_value: "${workload.onnxFile}" } }`,
      ];
      writeFileSync(join(home, 'config.pbtxt'), `${config.join('\n')}\n`);
    },
    launch: (workload, ports) => ({
      command: join(server, 'bin', 'tritonserver'),
      args: [
        `--model-repository=${join(workload.scratch, 'triton')}`,
        `--backend-directory=${join(server, 'backends')}`,
        '--http-address=127.0.0.1',
        `--http-port=${ports.http}`,
        '--grpc-address=127.0.0.1',
        `--grpc-port=${ports.grpc}`,
        '--metrics-address=127.0.0.1',
        `--metrics-port=${ports.metrics}`,
        '--log-verbose=0',
        // Keep-alive connections of the load generator would otherwise hold its exit up for half a minute.
        '--exit-timeout-secs=1',
      ],
      env: { LD_LIBRARY_PATH: libpython, TRITON_PEER_PACKAGES: packages },
    }),
    request: (wire, workload) =>
      wire === 'json' ? v2Json(workload.model, workload.row) : v2Binary(workload.model, workload.row),
    output: v2Output,
  };
}

/** The row as the shortest decimals that mean the same FP32 values, as every JSON body here carries them. */
function shortened(row: Float32Array): number[] {
  return Array.from(row, (v) => Number(v.toPrecision(6)));
}
