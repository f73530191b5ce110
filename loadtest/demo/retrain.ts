import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type PipelineRun, PipelinesApi } from '../../src/client/pipelines.ts';
import { infer, ServerProcess } from '../../src/testing/server-process.ts';

/**
 * `npm run demo:retrain`: retrains the digits model with one command on a fresh server, config/jobs/digits.yaml, and
 * asks the version that comes out. Then it retrains once more, kills the server with -9 while the training runs, starts it
 * again, and sees the same run finish with the same job. Ends with 0 if both served what they made.
 */
const CONFIG = fileURLToPath(new URL('../../config', import.meta.url));
const CLI = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const ARGUMENTS = ['--config', join(CONFIG, 'retraining.yaml')];
const EXAMPLE = JSON.parse(readFileSync(join(CONFIG, 'models/digits/example.json'), 'utf8'));
const TIMEOUT_S = 900;

/** The command a user types; its output goes to ours. Resolves with its exit code. */
function cli(server: ServerProcess, args: string[]): Promise<number | null> {
  const admin = ['--admin', `http://127.0.0.1:${server.ports.admin}`];
  const child = spawn(process.execPath, [CLI, 'pipelines', ...args, ...admin], { stdio: 'inherit' });
  return new Promise((resolve) => child.once('exit', (code) => resolve(code)));
}

function api(server: ServerProcess): PipelinesApi {
  return new PipelinesApi({ url: `http://127.0.0.1:${server.ports.admin}` });
}

function check(holds: boolean, what: string): void {
  process.stdout.write(`${holds ? 'as it should be' : 'NOT as it should be'}: ${what}\n`);
  if (!holds) process.exitCode = 1;
}

async function served(server: ServerProcess, version: string): Promise<boolean> {
  const { status, body } = await infer(server, 'digits', EXAMPLE.inputs);
  const label = body.outputs?.find(({ name }) => name === 'label')?.data[0];
  return status === 200 && body.model_version === version && label === 3;
}

async function job(server: ServerProcess, id: string): Promise<PipelineRun['steps'][number] | undefined> {
  return (await api(server).getRun(id)).steps.find(({ name }) => name === 'train');
}

/** Both processes at once, as when the machine loses its power. */
async function kill(server: ServerProcess): Promise<void> {
  const serving = server.servingPid();
  server.child.kill('SIGKILL');
  process.kill(serving, 'SIGKILL');
  await server.exited();
}

async function first(server: ServerProcess): Promise<void> {
  process.stdout.write('\n== one command: environment, training, evaluation, gate, registration, deployment\n');
  const code = await cli(server, ['run', 'digits', '--timeout', String(TIMEOUT_S)]);
  check(code === 0, `the command ended with ${code}`);
  check(await served(server, '1'), 'version 1 is served and knows a three');
}

async function second(server: ServerProcess, dataDir: string): Promise<ServerProcess> {
  process.stdout.write('\n== once more, and the server is killed while the training runs\n');
  const run = await api(server).run({ pipeline: 'digits', parameters: { seed: '8', hidden: '128' } });
  let step = await job(server, run.id);
  while (step?.job_id == null && step?.status !== 'failed') {
    await sleep(50);
    step = await job(server, run.id);
  }
  const before = step?.job_id;
  await kill(server);
  process.stdout.write(`killed while job ${before} ran\n`);
  const again = await ServerProcess.start(ARGUMENTS, { dataDir });
  const code = await cli(again, ['get', run.id, '--watch', '--timeout', String(TIMEOUT_S)]);
  check(code === 0, `the same run went on and ended with ${code}`);
  check((await job(again, run.id))?.job_id === before, 'the same job did the training');
  const response = await fetch(`http://127.0.0.1:${again.ports.admin}/api/v1/jobs?limit=1000`);
  const { jobs } = (await response.json()) as { jobs: { name: string }[] };
  check(
    jobs.filter(({ name }) => name === 'digits-train').length === 2,
    'there are two training jobs, one of each run',
  );
  check(await served(again, '2'), 'version 2 is served and knows a three');
  return again;
}

const dataDir = mkdtempSync(join(tmpdir(), 'switchyard-retrain-'));
let server = await ServerProcess.start(ARGUMENTS, { dataDir });
try {
  await first(server);
  if (process.exitCode !== 1) server = await second(server, dataDir);
} finally {
  await server.stop();
  rmSync(dataDir, { recursive: true, force: true });
}
