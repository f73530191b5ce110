import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BackendModel, ExecuteOptions } from '../backends/backend.ts';
import { fp32 } from '../testing/loopback.ts';
import { testModelConfig } from '../testing/model-config.ts';
import { ExecutorCore } from './core.ts';
import { type Frame, FrameWriter } from './frame.ts';
import { CANCEL, INFER } from './messages.ts';
import { RunMark } from './run-mark.ts';

const HANDLE = 7;

/** An executor with one model whose runs end when told, and what each run was given, in order. */
async function executor() {
  const config = testModelConfig();
  const runs: { options: ExecuteOptions; end(): void }[] = [];
  const model: BackendModel = {
    signature: config.signature,
    concurrency: 8,
    memoryBytes: 0,
    execute: (inputs, options) =>
      new Promise((resolve) => runs.push({ options, end: () => resolve([{ ...inputs[0], name: 'y' }]) })),
    unload: async () => {},
  };
  const core = new ExecutorCore({
    backend: async () => ({ name: 'fake', blocking: false, load: async () => model }),
    complete: (given) => given,
    warmUp: async () => {},
    send: () => {},
    metrics: { recordBatch: () => {} },
    mark: new RunMark(RunMark.allocate()),
    drainPorts: () => {},
  });
  await core.load(
    HANDLE,
    { model: config.name, version: '1', config, directory: '', modelDirectory: '', device: -1 },
    0,
  );
  return { core, runs };
}

function inferFrame(id: number): Frame {
  const writer = new FrameWriter();
  writer.reserve(8);
  for (const value of [INFER, id, HANDLE, 1, 1, Number.POSITIVE_INFINITY, 0, 1]) writer.push(value);
  writer.pushTensor(0, fp32('x', [1, 4], [id, 0, 0, 0]), false);
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
