import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Tensor } from '../../tensor/tensor.ts';
import { fixtureSpec } from '../../testing/load-spec.ts';
import { type CrashEvent, type IsolatedModel, ProcessBackend } from './backend.ts';
import { childEnvironment } from './environment.ts';

const ALL = { outputs: [], deadline: Number.POSITIVE_INFINITY };

function simpleInputs(value: number): Tensor[] {
  const data = new Uint8Array(Int32Array.from({ length: 16 }, () => value).buffer);
  return ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'INT32', shape: [1, 16], data: data.slice() }));
}

function first(tensors: Tensor[]): number {
  return new DataView(tensors[0].data.buffer, tensors[0].data.byteOffset).getInt32(0, true);
}

/** A child whose thread is gone stays a zombie until our process ends: nobody waits for it any more. */
async function running(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat !== '' && !/\) [ZX] /.test(stat);
}

async function untilReady(model: IsolatedModel): Promise<void> {
  for (let i = 0; i < 6000 && model.absence() !== ''; i++) await sleep(10);
  assert.equal(model.absence(), '', 'the child came back');
}

test('a model in a child process answers as in a thread, errors and concurrent calls included', async () => {
  const backend = new ProcessBackend('onnxruntime');
  const model = await backend.load(fixtureSpec('simple'));
  try {
    assert.equal(backend.blocking, false);
    assert.deepEqual(
      model.signature.inputs.map((input) => [input.name, input.dims]),
      [
        ['INPUT0', [-1, 16]],
        ['INPUT1', [-1, 16]],
      ],
    );
    assert.ok(model.memoryBytes > 0);
    const answers = await Promise.all([1, 2, 3].map((value) => model.execute(simpleInputs(value), ALL)));
    assert.deepEqual(answers.map(first), [2, 4, 6]);
    assert.notEqual(answers[0][0].data.buffer, answers[0][1].data.buffer, 'each output owns its memory');
    const only = await model.execute(simpleInputs(5), { ...ALL, outputs: ['OUTPUT1'] });
    assert.deepEqual(
      only.map((output) => [output.name, first([output])]),
      [['OUTPUT1', 0]],
    );
    await assert.rejects(async () => model.execute(simpleInputs(1).slice(1), ALL), {
      code: 'invalid_argument',
      message: /input "INPUT0" of model "simple" is missing/,
    });
  } finally {
    await model.unload();
  }
  await assert.rejects(async () => model.execute(simpleInputs(1), ALL), {
    code: 'unavailable',
    message: /is unloaded/,
  });
});

test('kill -9 fails only what is in flight, is told once, and the child comes back', async () => {
  const crashes: CrashEvent[] = [];
  const model = (await new ProcessBackend('onnxruntime', (event) => crashes.push(event)).load(
    fixtureSpec('slow'),
  )) as IsolatedModel;
  const turns = (count: bigint): Tensor[] => [
    { name: 'TURNS', datatype: 'INT64', shape: [1, 1], data: new Uint8Array(BigInt64Array.of(count).buffer) },
  ];
  try {
    const { pid } = model;
    const inFlight = model.execute(turns(10n ** 12n), ALL);
    process.kill(pid, 'SIGKILL');
    await assert.rejects(inFlight, { code: 'unavailable', message: 'model "slow": its process crashed with SIGKILL' });
    await assert.rejects(model.execute(turns(1n), ALL), { code: 'unavailable' });
    assert.deepEqual(
      crashes.map(({ stderrTail: _, ...event }) => event),
      [{ model: 'slow', version: '1', pid, reason: 'crashed with SIGKILL', count: 1 }],
    );
    await untilReady(model);
    assert.notEqual(model.pid, pid);
    const [count] = await model.execute(turns(7n), ALL);
    assert.equal(new DataView(count.data.buffer).getBigInt64(0, true), 7n);
  } finally {
    await model.unload();
  }
});

test('a hang is killed by the watchdog and reported as one', async () => {
  const crashes: CrashEvent[] = [];
  const spec = fixtureSpec('slow', { parameters: { 'switchyard.hang_timeout_ms': '200' } });
  const model = (await new ProcessBackend('onnxruntime', (event) => crashes.push(event)).load(spec)) as IsolatedModel;
  try {
    const forever: Tensor = {
      name: 'TURNS',
      datatype: 'INT64',
      shape: [1, 1],
      data: new Uint8Array(BigInt64Array.of(10n ** 15n).buffer),
    };
    await assert.rejects(model.execute([forever], ALL), {
      code: 'unavailable',
      message: /hung for 200 ms and was killed/,
    });
    assert.equal(crashes[0].reason, 'hung for 200 ms and was killed');
    await untilReady(model);
  } finally {
    await model.unload();
  }
});

test('a model that does not load is refused with the inner reason and leaves no process', async () => {
  await assert.rejects(new ProcessBackend('onnxruntime').load(fixtureSpec('external_escape')), /external/);
  const spec = fixtureSpec('simple', { parameters: { 'switchyard.hang_timeout_ms': 'soon' } });
  await assert.rejects(new ProcessBackend('onnxruntime').load(spec), { code: 'invalid_argument', message: /"soon"/ });
  const late = fixtureSpec('simple', { parameters: { 'switchyard.load_timeout_ms': '1' } });
  await assert.rejects(new ProcessBackend('onnxruntime').load(late), {
    code: 'unavailable',
    message: /did not load within 1 ms/,
  });
});

test('children can be started from a worker thread and end with it', async () => {
  const source = `
    import { parentPort } from 'node:worker_threads';
    const tsx = await import(${JSON.stringify(import.meta.resolve('tsx/esm/api'))});
    tsx.register();
    const { ProcessBackend } = await import(${JSON.stringify(new URL('./backend.ts', import.meta.url).href)});
    const spec = ${JSON.stringify(fixtureSpec('simple'))};
    const model = await new ProcessBackend('onnxruntime').load(spec);
    parentPort.postMessage(model.pid, []);
  `;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
  const [pid] = await once(worker, 'message');
  assert.ok(await running(pid));
  await worker.terminate();
  let alive = true;
  for (let i = 0; i < 6000 && alive; i++) {
    await sleep(10);
    alive = await running(pid);
  }
  assert.equal(alive, false);
});

test('a child sees neither loader hooks nor secrets', () => {
  const clean = childEnvironment({
    PATH: '/bin',
    LD_LIBRARY_PATH: '/lib',
    LD_PRELOAD: '/x.so',
    NODE_OPTIONS: '--require x',
    SWITCHYARD_REDIS_URL: 'x',
    SWITCHYARD_ONNX_RUNTIME: 'native',
    GITHUB_TOKEN: 'x',
    AWS_ACCESS_KEY_ID: 'x',
    MY_API_KEY: 'x',
    db_password: 'x',
  });
  assert.deepEqual(clean, { PATH: '/bin', LD_LIBRARY_PATH: '/lib', SWITCHYARD_ONNX_RUNTIME: 'native' });
});
