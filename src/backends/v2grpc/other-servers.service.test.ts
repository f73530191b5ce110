import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { modelConfig } from '../../testing/load-spec.ts';
import { steadyPorts } from '../../testing/ports.ts';
import type { BackendModel } from '../backend.ts';
import { V2GrpcBackend } from './backend.ts';
import { discoverModels } from './discover.ts';

/** Real MLServer and KServe, from PyPI in environments of their own: the scripts build what is not there yet. */
const CLIENTS = fileURLToPath(new URL('../../../.ci/clients/', import.meta.url));
const lastLine = (script: string): string =>
  execFileSync(join(CLIENTS, script), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
    .trimEnd()
    .split('\n')
    .at(-1) as string;

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-v2-'));
const children: ChildProcess[] = [];
const models: BackendModel[] = [];
after(async () => {
  for (const model of models) await model.unload();
  for (const child of children) await ended(child);
  rmSync(scratch, { recursive: true, force: true });
});

/** Ends the process with those it has started: both servers have helpers. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise((resolve) => child.once('exit', resolve));
  process.kill(-(child.pid as number), 'SIGKILL');
  await exit;
}

interface Peer {
  child: ChildProcess;
  url: string;
}

function launch(command: string, args: string[], env: Record<string, string>): ChildProcess & { output: string } {
  const child = spawn(command, args, {
    cwd: scratch,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  children.push(child);
  const watched = Object.assign(child, { output: '' });
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      watched.output += text;
    });
  return watched;
}

/** Until it answers that it is ready; fails with what it printed. */
async function ready(child: ChildProcess & { output: string }, http: number): Promise<void> {
  for (let i = 0; i < 1200; i++) {
    if (child.exitCode !== null) break;
    const response = await fetch(`http://127.0.0.1:${http}/v2/models/scale/ready`).catch(() => undefined);
    if (response?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(`it is not ready: ${child.output}`);
}

async function startMlserver(): Promise<Peer> {
  const python = lastLine('mlserver/setup.sh');
  const [http, grpc, metrics] = await steadyPorts(3);
  const folder = join(scratch, 'mlserver');
  cpSync(join(CLIENTS, 'mlserver', 'model'), folder, { recursive: true });
  const settings = { host: '127.0.0.1', http_port: http, grpc_port: grpc, metrics_port: metrics, parallel_workers: 0 };
  writeFileSync(join(folder, 'settings.json'), JSON.stringify(settings));
  const child = launch(join(dirname(python), 'mlserver'), ['start', folder], { PYTHONPATH: folder });
  await ready(child, http);
  return { child, url: `127.0.0.1:${grpc}` };
}

async function startKserve(): Promise<Peer> {
  const venv = lastLine('setup.sh');
  const [http, grpc] = await steadyPorts(2);
  const child = launch(join(venv, 'bin', 'python'), [join(CLIENTS, 'kserve_server.py'), `${http}`, `${grpc}`], {});
  await ready(child, http);
  return { child, url: `127.0.0.1:${grpc}` };
}

/** What both must do behind the backend. */
async function served({ child, url }: Peer): Promise<void> {
  const config = modelConfig('ours', 'kserve', { parameters: { url, remote_model: 'scale' } });
  const model = await new V2GrpcBackend('kserve').load({
    model: 'ours',
    version: '1',
    config,
    directory: '',
    modelDirectory: '',
    device: -1,
  });
  models.push(model);
  assert.deepEqual(
    model.signature.inputs.map(({ name, datatype, dims }) => ({ name, datatype, dims })),
    [{ name: 'x', datatype: 'FP32', dims: [-1, 2] }],
  );
  const ask = async (values: number[]): Promise<number[]> => {
    const data = new Uint8Array(Float32Array.from(values).buffer);
    const inputs = [{ name: 'x', datatype: 'FP32' as const, shape: [values.length / 2, 2], data }];
    const [y] = await model.execute(inputs, { outputs: [], deadline: Number.POSITIVE_INFINITY });
    assert.equal(y.name, 'y');
    assert.deepEqual(y.shape, [values.length / 2, 2]);
    return [...new Float32Array(y.data.slice().buffer)];
  };
  assert.deepEqual(await ask([1, 2]), [3, 6]);
  assert.deepEqual(await ask([1, 2, 0.5, 4, 5, 6]), [3, 6, 1.5, 12, 15, 18]);
  await assert.rejects(ask([-1, 2]), /x is negative/);
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => ask([i, i + 0.25])));
  assert.deepEqual(
    answers,
    answers.map((_, i) => [i * 3, (i + 0.25) * 3]),
  );
  await ended(child);
  await assert.rejects(ask([1, 2]), { code: 'unavailable' });
}

/** MLServer's stream: bare responses, and a failure as the call's own. */
async function streamed(url: string): Promise<void> {
  const parameters = { url, remote_model: 'scale', stream_form: 'bare' };
  const config = modelConfig('streams', 'kserve', { parameters, decoupled: true });
  const spec = { model: 'streams', version: '1', config, directory: '', modelDirectory: '', device: -1 };
  const model = await new V2GrpcBackend('kserve').load(spec);
  models.push(model);
  const ask = async (values: number[]): Promise<number[][]> => {
    const data = new Uint8Array(Float32Array.from(values).buffer);
    const inputs = [{ name: 'x', datatype: 'FP32' as const, shape: [1, 2], data }];
    const answers: number[][] = [];
    for await (const [y] of model.executeStream!(inputs, { outputs: [], deadline: Number.POSITIVE_INFINITY }))
      answers.push([...new Float32Array(y.data.slice().buffer)]);
    return answers;
  };
  assert.deepEqual(await ask([1, 2]), [
    [1, 2],
    [2, 4],
    [3, 6],
  ]);
  await assert.rejects(ask([-1, 2]), /x is negative/);
  assert.equal((await ask([4, 5])).length, 3);
}

test("a real MLServer's model is found, answers and fails as its own, and is unavailable once the server is gone", async () => {
  const peer = await startMlserver();
  const found = await discoverModels(peer.url);
  assert.deepEqual(
    found.map(({ name }) => name),
    ['scale'],
  );
  await streamed(peer.url);
  await served(peer);
});

test("a real KServe ModelServer's model answers and fails as its own, and is unavailable once the server is gone", async () => {
  await served(await startKserve());
});
