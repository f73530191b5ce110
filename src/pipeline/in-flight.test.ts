import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { fp32 } from '../testing/loopback.ts';
import { testModelConfig } from '../testing/model-config.ts';
import { until } from '../testing/script-models.ts';
import { ExecutorBook } from './executor-book.ts';
import { InFlight } from './in-flight.ts';
import { newPending, type Pending } from './pending.ts';
import type { InferRequest, RequestContext, ServingVersion } from './types.ts';

const counted: string[] = [];
const told: string[] = [];
const requests = new InFlight({
  executors: new ExecutorBook(),
  metrics: {
    pending: (_, delta) => counted.push(`pending ${delta}`),
    success: () => counted.push('success'),
    failure: (_version, _request, _context, { code }) => counted.push(code),
    cacheHit: () => {},
    cacheMiss: () => {},
  },
  cache: undefined,
  table: () => ({ generation: 0, models: new Map() }),
});
afterEach(() => {
  requests.close();
  requests.onEmpty = undefined;
  counted.length = 0;
  told.length = 0;
});

const version = { model: 'm', version: '1', handle: 1, config: testModelConfig(), executors: [0] } as ServingVersion;

/** `executor` -1: it waits for a cache, or for other requests. */
function underWay(executor = -1, deadline = Number.POSITIVE_INFINITY): Pending {
  const context = { receivedAt: monotonicMs(), deadline, priority: 0 } as RequestContext;
  const pending = newPending(version, { id: 'r', inputs: [] } as unknown as InferRequest, context, {
    onResponse: ({ outputs }, final) => told.push(`${outputs.length}${final ? '' : ' and more'}`),
    onError: ({ code }) => told.push(code),
  });
  pending.executor = executor;
  requests.add(pending);
  return pending;
}

test('a request ends once: what comes after its last answer finds it no more', () => {
  const pending = underWay(0);
  requests.succeed(pending, [fp32('y', [1], [1])], undefined, true, monotonicMs());
  assert.equal(requests.pending.get(pending.id), undefined);
  requests.cancel(pending);
  assert.deepEqual(told, ['1']);
  assert.deepEqual(counted, ['pending -1', 'success']);
});

test('a stream goes on until its last answer; one that is cancelled is counted, and its observer hears nothing', () => {
  const pending = underWay(0);
  requests.succeed(pending, [], undefined, false, monotonicMs());
  assert.equal(requests.pending.get(pending.id), pending);
  requests.cancel(pending);
  assert.equal(requests.pending.size, 0);
  assert.deepEqual(told, ['0 and more']);
  assert.deepEqual(counted, ['pending -1', 'cancelled']);
});

test('a deadline that passes ends it, also where no executor has it', async () => {
  const late = underWay(-1, monotonicMs() + 1);
  const other = underWay();
  await until('the deadline', () => told.length > 0);
  assert.deepEqual([told, counted], [['deadline_exceeded'], ['deadline_exceeded']]);
  assert.deepEqual([requests.pending.get(late.id), requests.pending.get(other.id)], [undefined, other]);
  requests.fail(other, new SwitchyardError('internal', ''));
});

test('whoever waits for the end of all hears of the last one', () => {
  const [first, last] = [underWay(), underWay()];
  let empty = 0;
  requests.onEmpty = () => empty++;
  requests.cancel(first);
  assert.equal(empty, 0);
  requests.fail(last, new SwitchyardError('internal', ''));
  assert.equal(empty, 1);
});

test('what an executor held fails when it is lost and no other holds the version; the rest goes on', () => {
  const [held, waiting, elsewhere] = [underWay(3), underWay(), underWay(4)];
  requests.loseExecutor(3);
  assert.deepEqual(told, ['unavailable']);
  assert.equal(requests.pending.get(held.id), undefined);
  for (const pending of [waiting, elsewhere]) {
    assert.equal(requests.pending.get(pending.id), pending);
    requests.cancel(pending);
  }
});
