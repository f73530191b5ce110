import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { COPY_LEVEL } from '../batching/types.ts';
import { fp32 } from '../testing/loopback.ts';
import { testModelConfig } from '../testing/model-config.ts';
import { ExecutorBook } from './executor-book.ts';
import { ExecutorLink } from './executor-link.ts';
import { type Pending, STATE } from './pending.ts';
import type { ServingTable, ServingVersion, Timings } from './types.ts';

const book = new ExecutorBook();
const links = [0, 1, 2].map((id) => {
  const link = new ExecutorLink(id, new MessageChannel().port1, () => {});
  book.add(link);
  return link;
});
after(() => book.close());

function version(executors: number[], handle = 1): ServingVersion {
  return {
    handle,
    model: 'm',
    version: '1',
    config: testModelConfig(),
    executors,
    absence: '',
    cacheIdentity: '',
    metricsRow: 0,
    memoryBytes: 0,
  };
}

const table = (...versions: ServingVersion[]): ServingTable => ({
  generation: 1,
  models: new Map([['m', { name: 'm', versions, index: [], onDemand: false }]]),
});

function sent(fields: Partial<Pending> = {}): Pending {
  return {
    id: 1,
    state: STATE.QUEUED,
    request: { inputs: [fp32('x', [1, 4], [1, 2, 3, 4])] },
    context: { priority: 0, deadline: Number.POSITIVE_INFINITY, traceparent: '' },
    version: version([0, 1]),
    executor: 0,
    rows: 1,
    outputs: 0,
    streamed: undefined,
    retried: false,
    replayable: true,
    turn: undefined,
    ...fields,
  } as Pending;
}

test('a request goes to another executor that holds the version now, never to the same one', () => {
  const stays = sent();
  assert.equal(book.sendAgain(stays, table(version([0, 1])), 1), true);
  assert.equal(stays.executor, 1);
  const moved = sent();
  assert.equal(book.sendAgain(moved, table(version([0, 2])), 1), true, 'its version was moved meanwhile');
  assert.equal(moved.executor, 2);
  assert.equal(book.sendAgain(sent(), table(version([0])), 1), false);
  const leaving = sent();
  assert.equal(book.sendAgain(leaving, table(version([2], 9)), 1), true, 'a newer load has taken its place');
  assert.equal(leaving.executor, 1, 'what it was sent to still holds it');
  assert.deepEqual(
    links.map((link) => link.outstanding),
    [0, 2, 1],
  );
  for (const pending of [stays, moved, leaving]) book.ended(pending);
});

test('a request is not sent again twice, without its inputs, or when its client has had a part of the answer', () => {
  const now = table(version([0, 1]));
  assert.equal(book.sendAgain(sent({ retried: true }), now, 1), false);
  assert.equal(book.sendAgain(sent({ replayable: false }), now, 1), false);
  assert.equal(book.sendAgain(sent({ state: STATE.DONE }), now, 1), false);
  assert.equal(book.sendAgain(sent({ streamed: {} as Timings }), now, 1), false);
});

test('a request is shed as one of the level it is queued at', () => {
  const place = version([2]);
  const { batching } = place.config;
  const levels = { ...batching, priorityLevels: 3, defaultPriorityLevel: 1 };
  const leveled = { ...place, config: { ...place.config, batching: levels } };
  const of = (priority: number, maxPriority: number): Pending =>
    sent({ version: leveled, context: { ...sent().context, priority, maxPriority } });
  const most = 10;
  const before = links[2].outstanding;
  for (let i = 0; i < 7; i++) links[2].send(of(1, 0));
  assert.equal(book.choose(of(0, 0), most), links[2], 'the default level is the highest here');
  assert.equal(book.choose(of(1, 0), most), links[2]);
  for (const [priority, maxPriority] of [
    [3, 0],
    [0, 3],
    [COPY_LEVEL, 0],
  ])
    assert.throws(() => book.choose(of(priority, maxPriority), most), { code: 'overloaded', message: /priority/ });
  assert.equal(links[2].outstanding, before + 7);
});
