import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { LoadSpec } from '../../backends/backend.ts';
import type { Forked } from '../../backends/process/fork.ts';
import type { ModelConfig } from '../../config/model-config.ts';
import { fixtureSpec, modelConfig } from '../../testing/load-spec.ts';
import { PreflightLauncher } from './launcher.ts';
import { forkChild } from './processes.ts';

const root = await mkdtemp(join(tmpdir(), 'switchyard-preflight-'));
after(() => rm(root, { recursive: true }));

/** A javascript model `name`, version 3, with the given module source. */
async function script(name: string, source: string, parameters: Record<string, string> = {}): Promise<LoadSpec> {
  const modelDirectory = join(root, name);
  const directory = join(modelDirectory, '3');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'model.mjs'), source);
  const signature: ModelConfig['signature'] = {
    inputs: [{ name: 'X', datatype: 'FP32', dims: [2] }],
    outputs: [{ name: 'Y', datatype: 'FP32', dims: [2] }],
    maxBatchSize: 4,
  };
  const raw = {
    name,
    backend: 'javascript',
    max_batch_size: 4,
    input: [{ name: 'X', data_type: 'TYPE_FP32', dims: [2] }],
    output: [{ name: 'Y', data_type: 'TYPE_FP32', dims: [2] }],
  };
  const config = modelConfig(name, 'javascript', { signature, raw, parameters });
  return { model: name, version: '3', config, directory, modelDirectory, device: -1 };
}

const onnx = (name: string): LoadSpec => fixtureSpec(name, { raw: { name, backend: 'onnxruntime' } });

test('a good model passes, with its signature, size and warm-up time', async () => {
  const report = await new PreflightLauncher().run(onnx('simple'));
  assert.deepEqual(
    report.signature.inputs.map((input) => input.name),
    ['INPUT0', 'INPUT1'],
  );
  assert.ok(report.memoryBytes > 0);
  assert.ok(report.warmupMs >= 0);
});

test('a process that proved an ONNX model proves the next one, until it fails on one; user code gets its own', async () => {
  let forks = 0;
  const fork = () => {
    forks++;
    return forkChild();
  };
  const launcher = new PreflightLauncher({ fork });
  for (let i = 0; i < 3; i++) await launcher.run(onnx('simple'));
  assert.equal(forks, 1);
  await assert.rejects(launcher.run(onnx('external_escape')), /external/);
  assert.equal(forks, 1);
  await Promise.all([launcher.run(onnx('simple')), launcher.run(onnx('simple'))]);
  assert.equal(forks, 3);
  const own = await script('own', 'export function execute({ X }) { return { Y: X }; }');
  await launcher.run(own);
  await launcher.run(own);
  assert.equal(forks, 5);
});

test('a spare process stands ready before the first model and after each, and proves ONNX models only', async () => {
  const forked: Forked[] = [];
  const launcher = new PreflightLauncher({
    spare: true,
    fork: () => {
      forked.push(forkChild());
      return forked.at(-1)!;
    },
  });
  const ready = async (count: number) => {
    while (forked.length < count) await sleep(5);
  };
  const gone = async ({ process: child }: Forked) => {
    while (child.exitCode === null && child.signalCode === null) await sleep(5);
  };
  /** Whether a process is started for it at once. Later ones are spare. */
  const forks = async (spec: LoadSpec) => {
    const before = forked.length;
    const proven = launcher.run(spec);
    const forks = forked.length > before;
    await proven;
    return forks;
  };
  await ready(1);
  assert.equal(await forks(await script('own', 'export function execute({ X }) { return { Y: X }; }')), true);
  assert.equal(await forks(onnx('simple')), false);
  await ready(3);
  await gone(forked[0]);
  // One that is lost is not missed.
  forked[2].process.kill('SIGKILL');
  await gone(forked[2]);
  assert.equal(await forks(onnx('simple')), true);
  await ready(5);
  assert.ok(forked[4].process.kill('SIGKILL'));
});

test('a spare process does not keep this one from its end', async () => {
  const code = `
    import { PreflightLauncher } from ${JSON.stringify(new URL('./launcher.ts', import.meta.url).href)};
    import { forkChild } from ${JSON.stringify(new URL('./processes.ts', import.meta.url).href)};
    new PreflightLauncher({ spare: true, fork: () => { const forked = forkChild(); console.log(forked.process.pid); return forked; } });
    setTimeout(() => {}, 1500);
  `;
  const args = ['--import', 'tsx', '--input-type=module', '--eval', code];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 });
  assert.match(stdout, /^\d+\n$/);
});

test('a proving process gives way to what serves', () => {
  const { process: child } = forkChild();
  assert.ok(getPriority(child.pid) > getPriority() || getPriority() === 19);
  child.kill('SIGKILL');
});

test('a model that does not load is refused with the reason', async () => {
  await assert.rejects(new PreflightLauncher().run(onnx('external_escape')), /external/);
});

test('a crash while loading names the signal and the version; the end of stderr goes to the log only', async () => {
  const crashes: string[][] = [];
  const launcher = new PreflightLauncher({ onCrash: (spec, reason, tail) => crashes.push([spec.model, reason, tail]) });
  const spec = await script(
    'segfault',
    "process.stderr.write('inner secret\\n'); process.kill(process.pid, 'SIGSEGV'); await new Promise(() => {});",
  );
  await assert.rejects(launcher.run(spec), {
    code: 'failed_precondition',
    message: 'crashed with SIGSEGV while loading version 3',
  });
  assert.deepEqual(crashes.length, 1);
  assert.deepEqual(crashes[0].slice(0, 2), ['segfault', 'crashed with SIGSEGV while loading version 3']);
  assert.match(crashes[0][2], /inner secret/);
});

test('an abort during warm-up and a quiet exit are told apart', async () => {
  const abort = await script('abort', 'export function execute() { process.abort(); }');
  await assert.rejects(new PreflightLauncher().run(abort), {
    message: 'crashed with SIGABRT while checking version 3',
  });
  const exit = await script('exit', 'process.exit(7);');
  await assert.rejects(new PreflightLauncher().run(exit), { message: 'exited with code 7 while loading version 3' });
});

test('a hang is killed when its time is over', async () => {
  const spec = await script('hang', 'for (;;);', { 'switchyard.load_timeout_ms': '1500' });
  await assert.rejects(new PreflightLauncher().run(spec), {
    code: 'deadline_exceeded',
    message: 'took longer than 1500 ms while loading version 3',
  });
});

test('a model that answers differently for a batch is refused', async () => {
  const source = `export function execute({ X }) {
    const rows = X.shape[0];
    return { Y: { datatype: 'FP32', shape: X.shape, data: Float32Array.from(X.data, (value) => value + rows) } };
  }`;
  await assert.rejects(new PreflightLauncher().run(await script('mixing', source)), {
    code: 'failed_precondition',
    message: /a batch answers differently than its single items/,
  });
});
