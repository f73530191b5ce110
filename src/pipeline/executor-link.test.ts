import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { type Frame, FrameReader } from '../executor/frame.ts';
import { INFER } from '../executor/messages.ts';
import { fp32 } from '../testing/loopback.ts';
import { testModelConfig } from '../testing/model-config.ts';
import { ExecutorLink } from './executor-link.ts';
import type { Pending } from './pending.ts';

const { port1, port2 } = new MessageChannel();
after(() => port1.close());
const config = testModelConfig();
let nextId = 0;

function pending(): Pending {
  return {
    id: nextId++,
    state: 1,
    request: {
      model: 'm',
      version: '',
      id: '',
      inputs: [fp32('x', [1, 4], [1, 2, 3, 4])],
      outputs: [],
      parameters: undefined,
    },
    context: { priority: 0, deadline: Number.POSITIVE_INFINITY } as Pending['context'],
    observer: { onResponse() {}, onError() {} },
    version: { handle: 1, model: 'm', version: '1', config, executors: [0], cacheIdentity: '', metricsRow: 0 },
    executor: 0,
    rows: 1,
    outputs: 0,
    inputBytes: 16,
    cacheKey: '',
    streamed: undefined,
    retried: false,
    replayable: false,
    turn: undefined,
  };
}

/** Requests in each frame that has left by now. */
function frames(): number[] {
  const counts: number[] = [];
  for (let got = receiveMessageOnPort(port2); got !== undefined; got = receiveMessageOnPort(port2)) {
    const reader = new FrameReader(got.message as Frame);
    let count = 0;
    while (!reader.done) {
      assert.equal(reader.next(), INFER);
      for (let word = 0; word < 7; word++) reader.next();
      reader.skipTensor();
      count++;
    }
    counts.push(count);
  }
  return counts;
}

const send = (link: ExecutorLink, count: number): void => {
  for (let i = 0; i < count; i++) link.send(pending());
};
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('requests of one tick leave together, but an idle executor gets a head start', async () => {
  const link = new ExecutorLink(0, port1, () => {});
  send(link, 10);
  assert.deepEqual(frames(), []);
  await tick();
  assert.deepEqual(frames(), [10]);
  // It has work: the tick's requests stay together.
  send(link, 40);
  await tick();
  assert.deepEqual(frames(), [40]);
  link.answered(50, 1);
  send(link, 40);
  assert.deepEqual(frames(), [16]);
  await tick();
  assert.deepEqual(frames(), [24]);
  link.answered(40, 2);
});

test('a slow executor gets the whole tick, for a fuller batch', async () => {
  const link = new ExecutorLink(0, port1, () => {});
  send(link, 3);
  link.answered(1, 1000);
  link.answered(1, 1005);
  assert.ok(link.predictedWaitMs() > 0);
  link.answered(1, 1010);
  await tick();
  assert.deepEqual(frames(), [3]);
  send(link, 40);
  await tick();
  assert.deepEqual(frames(), [40]);
});
