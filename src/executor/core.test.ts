import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BackendModel, ExecuteOptions } from '../backends/backend.ts';
import { fp32 } from '../testing/loopback.ts';
import { testModelConfig } from '../testing/model-config.ts';
import { ExecutorCore } from './core.ts';
import { type Frame, FrameReader, FrameWriter } from './frame.ts';
import { CANCEL, INFER, REPLY_ERROR, REPLY_OK } from './messages.ts';
import { RunMark } from './run-mark.ts';

const HANDLE = 7;

/**
 * An executor with one model whose runs end when told, and what each run was given, in order. `gpu`: it is on a GPU, which
 * has been busy for so many milliseconds; `gpuSeconds`: what each batch was charged. `cpuSeconds`: what was recorded, and what
 * the model has not told yet.
 */
async function executor(gpu?: { busyMs: number }) {
  const gpuSeconds: number[] = [];
  const sent: Frame[] = [];
  const config = testModelConfig();
  const cpuSeconds = { batches: 0, failures: 0, unclaimed: 0 };
  const runs: { options: ExecuteOptions; end(): void; fail(): void }[] = [];
  const model: BackendModel = {
    signature: config.signature,
    concurrency: 8,
    memoryBytes: 0,
    get gpuBusyMs() {
      return gpu?.busyMs;
    },
    execute: (inputs, options) =>
      new Promise((resolve, reject) => {
        const end = () => resolve([{ ...inputs[0], name: 'y' }]);
        runs.push({ options, end, fail: () => reject(new Error('no')) });
      }),
    takeCpuSeconds: () => {
      const seconds = cpuSeconds.unclaimed;
      cpuSeconds.unclaimed = 0;
      return seconds;
    },
    unload: async () => {},
  };
  const core = new ExecutorCore({
    backend: async () => ({ name: 'fake', blocking: false, load: async () => model }),
    complete: (given) => given,
    warmUp: async () => {},
    onAbsence: () => {},
    send: (_gateway, frame) => sent.push(frame),
    metrics: {
      recordBatch: (...figures) => {
        cpuSeconds.batches += figures[5];
        gpuSeconds.push(figures[6]);
      },
      recordFailedRun: (_row, seconds) => {
        cpuSeconds.failures += seconds;
      },
    },
    mark: new RunMark(RunMark.allocate()),
    drainPorts: () => {},
  });
  await core.load(
    HANDLE,
    { model: config.name, version: '1', config, directory: '', modelDirectory: '', device: gpu === undefined ? -1 : 0 },
    0,
  );
  return { core, runs, gpuSeconds, cpuSeconds, sent };
}

function inferFrame(...ids: number[]): Frame {
  const writer = new FrameWriter();
  for (const id of ids) {
    writer.reserve(8);
    for (const value of [INFER, id, HANDLE, 1, 1, Number.POSITIVE_INFINITY, 0, 1]) writer.push(value);
    writer.pushTensor(0, fp32('x', [1, 4], [id, 0, 0, 0]), false);
  }
  return writer.take().frame;
}

function cancelFrame(id: number): Frame {
  const writer = new FrameWriter();
  writer.reserve(3);
  for (const value of [CANCEL, id, HANDLE]) writer.push(value);
  return writer.take().frame;
}

test('a cancel reaches the running request of its own gateway thread, though another thread uses the same id', async () => {
  const { core, runs } = await executor();
  for (const gateway of [0, 1]) {
    core.receive(gateway, inferFrame(1));
    core.pump();
  }
  assert.equal(runs.length, 2, 'each runs by itself');
  core.receive(0, cancelFrame(1));
  assert.deepEqual(
    runs.map(({ options }) => options.signal?.aborted),
    [true, false],
  );
  runs[1].end();
  await new Promise((resolve) => setImmediate(resolve));
  core.receive(1, inferFrame(2));
  core.pump();
  core.receive(1, cancelFrame(2));
  assert.equal(runs[2].options.signal?.aborted, true, 'what has ended leaves nothing behind');
  for (const { end } of runs) end();
});

test('batches that overlap on a GPU are charged together what it was busy, and those on the CPU nothing', async () => {
  const gpu = { busyMs: 0 };
  for (const on of [gpu, undefined]) {
    const { core, runs, gpuSeconds } = await executor(on);
    for (const id of [1, 2]) {
      core.receive(0, inferFrame(id));
      core.pump();
    }
    assert.equal(runs.length, 2, 'both run at once');
    for (const [i, busyMs] of [30, 40].entries()) {
      gpu.busyMs = busyMs;
      runs[i].end();
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.deepEqual(gpuSeconds, on === undefined ? [0, 0] : [0.03, 0.01]);
  }
});

test('CPU of a model in a process of its own is what that says, also for runs that fail', async () => {
  const { core, runs, cpuSeconds } = await executor();
  const run = async (end: 'end' | 'fail', seconds: number): Promise<void> => {
    core.receive(0, inferFrame(runs.length + 1));
    core.pump();
    cpuSeconds.unclaimed = seconds;
    runs.at(-1)?.[end]();
    await new Promise((resolve) => setImmediate(resolve));
  };
  await run('end', 0.5);
  await run('fail', 0.25);
  await run('end', 1);
  assert.deepEqual(cpuSeconds, { batches: 1.5, failures: 0.25, unclaimed: 0 });
});

test('a request bears its share of every run it was in, also of those that failed, whether it fails or not', async () => {
  const { core, runs, cpuSeconds, sent } = await executor();
  core.receive(0, inferFrame(1, 2));
  core.pump();
  const seconds = [0.5, 0.25, 1];
  for (const [i, end] of (['fail', 'fail', 'end'] as const).entries()) {
    assert.equal(runs.length, i + 1);
    cpuSeconds.unclaimed = seconds[i];
    runs[i][end]();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(cpuSeconds, { batches: 1, failures: 0.75, unclaimed: 0 });
  assert.equal(sent.length, 1);
  const reader = new FrameReader(sent[0]);
  const words = (count: number): number[] => Array.from({ length: count }, () => reader.next());
  const [kind, id, , , , cpu] = words(7);
  assert.deepEqual([kind, id, cpu], [REPLY_ERROR, 1, 500]);
  const answered = words(10);
  assert.deepEqual([answered[0], answered[1], answered[6], answered[8]], [REPLY_OK, 2, 1250, 1]);
});
