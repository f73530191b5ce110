import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameWriter } from '../executor/frame.ts';
import { ERROR_CODES, REPLY_END, REPLY_ERROR, REPLY_OK, REPLY_PARTIAL } from '../executor/messages.ts';
import { monotonicMs } from '../shared/clock.ts';
import { floats, fp32 } from '../testing/loopback.ts';
import { testModelConfig } from '../testing/model-config.ts';
import { ExecutorBook } from './executor-book.ts';
import { InFlight } from './in-flight.ts';
import { newPending, type Pending } from './pending.ts';
import { takeReplies } from './replies.ts';
import type { InferRequest, RequestContext, ServingVersion } from './types.ts';

const none = (): void => {};
const charged: (number | undefined)[][] = [];
const requests = new InFlight({
  executors: new ExecutorBook(),
  metrics: {
    pending: none,
    success: none,
    failure: (...[, , , , , cpu, gpu]) => charged.push([cpu, gpu]),
    cacheHit: none,
    cacheMiss: none,
  },
  cache: undefined,
  table: () => ({ generation: 0, models: new Map() }),
});
const version = { model: 'm', version: '1', handle: 1, config: testModelConfig(), executors: [0] } as ServingVersion;
const told: string[] = [];

function underWay(id: string): Pending {
  const context = { receivedAt: monotonicMs(), deadline: Number.POSITIVE_INFINITY, priority: 0 } as RequestContext;
  const pending = newPending(version, { id, inputs: [] } as unknown as InferRequest, context, {
    onResponse: ({ outputs, timings }, final) =>
      told.push(
        `${id} ${outputs.map((each) => floats(each).join())} of ${timings?.batchSize}${final ? '' : ' and more'}`,
      ),
    onError: ({ code, message, retryAfterMs }) => told.push(`${id} ${code} ${message} ${retryAfterMs}`),
  });
  pending.executor = 0;
  requests.add(pending);
  return pending;
}

function answer(writer: FrameWriter, kind: number, id: number, values: number[]): void {
  writer.reserve(10);
  for (const word of [kind, id, 1, 2, 3, 4, 5, 0, 8, 1]) writer.push(word);
  writer.pushTensor(0, fp32('y', [1, values.length], values), false);
}

test('each request of a frame gets its own answer, and what belongs to none is read over', () => {
  const [gone, stays, streams] = [underWay('gone'), underWay('stays'), underWay('streams')];
  requests.cancel(gone);
  const writer = new FrameWriter();
  answer(writer, REPLY_OK, gone.id, [1, 1, 1, 1]);
  answer(writer, REPLY_PARTIAL, streams.id, [2, 2, 2, 2]);
  answer(writer, REPLY_OK, stays.id, [3, 3, 3, 3]);
  writer.reserve(2);
  for (const word of [REPLY_END, streams.id]) writer.push(word);
  // The executor counts whole answers, also those that nobody waits for any more.
  assert.equal(takeReplies(writer.take().frame, 0, monotonicMs(), requests), 3);
  assert.deepEqual(told.splice(0), ['streams 2,2,2,2 of 8 and more', 'stays 3,3,3,3 of 8', 'streams  of undefined']);
  assert.equal(requests.pending.size, 0);
});

test('an error goes to its request, with the time to wait before the next try, and what it used is its own', () => {
  const [failed, unknown] = [underWay('failed'), underWay('unknown')];
  requests.cancel(unknown);
  const writer = new FrameWriter();
  for (const { id } of [unknown, failed]) {
    const text = writer.pushText('full');
    writer.reserve(7);
    for (const word of [REPLY_ERROR, id, ERROR_CODES.indexOf('overloaded'), text, 250, 5, 7]) writer.push(word);
  }
  charged.length = 0;
  assert.equal(takeReplies(writer.take().frame, 0, monotonicMs(), requests), 2);
  assert.deepEqual(charged, [[5, 7]]);
  assert.deepEqual(told.splice(0), ['failed overloaded full 250']);
});
