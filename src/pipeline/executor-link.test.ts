import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { COPY_LEVEL } from '../batching/types.ts';
import { type Frame, FrameReader } from '../executor/frame.ts';
import { INFER } from '../executor/messages.ts';
import { fp32 } from '../testing/loopback.ts';
import { testModelConfig } from '../testing/model-config.ts';
import { ExecutorLink, effectivePriority } from './executor-link.ts';
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
    version: {
      handle: 1,
      model: 'm',
      version: '1',
      config,
      executors: [0],
      absence: '',
      cacheIdentity: '',
      metricsRow: 0,
      memoryBytes: 0,
    },
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

test('parameters go to those that read them', async () => {
  const link = new ExecutorLink(0, port1, () => {});
  const parameters = { temperature: 0.5, timeout: 5, priority: 1, binary_data_output: true };
  const told: unknown[] = [];
  for (const backend of ['onnxruntime', 'javascript']) {
    const asked = pending();
    asked.request = { ...asked.request, parameters };
    asked.version = { ...asked.version, config: { ...config, backend } };
    link.send(asked);
    await tick();
    told.push(new FrameReader(receiveMessageOnPort(port2)?.message as Frame).parameters()?.get(asked.id));
  }
  assert.deepEqual(told, [undefined, { temperature: 0.5 }]);
});

test('the trace of a request to another server goes along, and of its state what may be sent on', async () => {
  const link = new ExecutorLink(0, port1, () => {});
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const elsewhere = { ...config, instanceGroups: [{ kind: 'remote' as const, count: 1, gpus: [] }] };
  const told: unknown[] = [];
  for (const tracestate of ['rojo=1,congo=2', '', 'a=\u00fc', `a=${'b'.repeat(511)}`]) {
    const traced = pending();
    traced.context = { ...traced.context, traceparent, tracestate };
    traced.version = { ...traced.version, config: elsewhere };
    link.send(traced);
    await tick();
    told.push(new FrameReader(receiveMessageOnPort(port2)?.message as Frame).traces()?.get(traced.id));
  }
  assert.deepEqual(
    told,
    ['rojo=1,congo=2', '', '', ''].map((tracestate) => ({ traceparent, tracestate })),
  );
});

test('a slow executor gets the whole tick, for a fuller batch', async () => {
  const link = new ExecutorLink(0, port1, () => {});
  send(link, 3);
  link.answered(1, 1000);
  link.answered(1, 1005);
  assert.ok(link.predictedWaitMs(false) > 0);
  link.answered(1, 1010);
  await tick();
  assert.deepEqual(frames(), [3]);
  send(link, 40);
  await tick();
  assert.deepEqual(frames(), [40]);
});

test('a copy for a shadow has no deadline at the executor, comes after all levels, and no client waits for it', async () => {
  const link = new ExecutorLink(0, port1, () => {});
  const copy = pending();
  copy.context = { priority: COPY_LEVEL, deadline: 500 } as Pending['context'];
  link.send(copy);
  link.send(pending());
  assert.deepEqual([link.outstanding, link.ahead(true), link.ahead(false)], [2, 2, 1]);
  await tick();
  const reader = new FrameReader(receiveMessageOnPort(port2)?.message as Frame);
  const words = Array.from({ length: 8 }, () => reader.next());
  assert.deepEqual(words.slice(3, 6), [1, COPY_LEVEL, Number.POSITIVE_INFINITY]);
});

test('a request is served at the level it asks for or the default one, at none above its tenant or below the last', () => {
  const batching = { ...config.batching, priorityLevels: 4, defaultPriorityLevel: 2 };
  const levelOf = (priority: number, maxPriority: number, own = batching): number => {
    const made = pending();
    const context = { priority, maxPriority } as Pending['context'];
    return effectivePriority({ ...made, context, version: { ...made.version, config: { ...config, batching: own } } });
  };
  assert.deepEqual(
    [0, 1, 3, 9].map((asked) => levelOf(asked, 0)),
    [2, 1, 3, 4],
  );
  assert.deepEqual(
    [0, 1, 3, 4].map((asked) => levelOf(asked, 3)),
    [3, 3, 3, 4],
  );
  assert.equal(levelOf(0, 1), 2);
  assert.equal(levelOf(0, 9), 4, 'there is no lower one');
  assert.equal(levelOf(COPY_LEVEL, 3), COPY_LEVEL);
  assert.equal(levelOf(0, 3, { ...batching, priorityLevels: 0 }), 1);
});

test('an executor is full once its queue, a running batch and one on its way back cannot hold more of a version', () => {
  const link = new ExecutorLink(0, port1, () => {});
  const queue = { ...config.batching.defaultQueuePolicy, maxQueueSize: 3 };
  const bounded = { ...config, batching: { ...config.batching, maxBatchSize: 2, defaultQueuePolicy: queue } };
  const of = (handle: number, own = bounded): Pending => {
    const made = pending();
    return { ...made, version: { ...made.version, handle, config: own } };
  };
  const sent = Array.from({ length: 7 }, () => of(5));
  for (const [i, each] of sent.entries()) {
    assert.equal(link.isFull(each.version), false, `after ${i}`);
    link.send(each);
  }
  assert.equal(link.isFull(sent[0].version), true);
  assert.equal(link.isFull(of(6).version), false, 'another version has a queue of its own');
  const copy = of(5);
  copy.context = { priority: COPY_LEVEL } as Pending['context'];
  link.send(copy);
  link.ended(copy);
  assert.equal(link.isFull(sent[0].version), true, 'copies wait elsewhere');
  link.ended(sent[0]);
  assert.equal(link.isFull(sent[0].version), false);
  for (let i = 0; i < 100; i++) link.send(of(7, config));
  assert.equal(link.isFull(of(7, config).version), false, 'a queue without a bound is never full');
  const remote = of(8, { ...bounded, instanceGroups: [{ kind: 'remote', count: 1, gpus: [] }] });
  for (let i = 0; i < 100; i++) link.send(remote);
  assert.equal(link.isFull(remote.version), false, 'how much runs at once elsewhere is not known here');
});
