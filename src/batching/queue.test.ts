import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { batching, policy, queueItem, type TestItem } from '../testing/batching.ts';
import { LatencyModel } from './latency-model.ts';
import { ModelQueue, type ModelQueueOptions } from './queue.ts';
import { type BatchDecision, COPY_LEVEL } from './types.ts';

class Bench {
  readonly latency = new LatencyModel();
  readonly queue: ModelQueue<TestItem>;
  readonly drops: string[] = [];
  #next = 0;

  constructor(config: Parameters<typeof batching>[0] = {}, options: ModelQueueOptions = {}) {
    this.queue = new ModelQueue<TestItem>(batching(config), this.latency, options);
  }

  add(overrides: Partial<TestItem> = {}, now = 0, timeoutMs = 0): TestItem {
    const item = queueItem(this.#next++, { enqueuedAt: now, ...overrides });
    assert.equal(this.queue.enqueue(item, now, timeoutMs), true);
    return item;
  }

  next(now = 0): BatchDecision<TestItem> {
    return this.queue.next(now, (item, reason) => this.drops.push(`${item.id} ${reason}`));
  }

  ids(now = 0): number[] {
    return this.next(now).batch.map((item) => item.id);
  }

  /** So many observations that the deviation vanishes. */
  learn(rows: number, ms: number): void {
    for (let i = 0; i < 200; i++) this.latency.observe(rows, ms);
  }
}

describe('batch formation', () => {
  test('takes at once whatever is there, up to the batch size', () => {
    const bench = new Bench();
    for (let i = 0; i < 10; i++) bench.add();
    assert.deepEqual(bench.ids(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert.deepEqual(bench.ids(), [8, 9]);
    assert.deepEqual(bench.next(), { batch: [], rows: 0, paddedRows: 0, wakeAt: Infinity });
  });

  test('counts rows, not items, and leaves an item that does not fit for the next batch', () => {
    const bench = new Bench();
    for (const rows of [3, 3, 3, 1]) bench.add({ rows });
    const first = bench.next();
    assert.deepEqual([first.batch.map((item) => item.id), first.rows], [[0, 1], 6]);
    assert.equal(bench.queue.rows, 4);
    assert.deepEqual(bench.ids(), [2, 3]);
  });

  test('runs one item at a time when batching is off', () => {
    const bench = new Bench({ enabled: false });
    bench.add();
    bench.add();
    assert.deepEqual([bench.ids(), bench.ids()], [[0], [1]]);
  });

  test('a model without a batch dimension runs single items, unpadded', () => {
    const bench = new Bench({ maxBatchSize: 0, allowedBatchSizes: [4] });
    bench.add();
    bench.add();
    const { batch, paddedRows } = bench.next();
    assert.deepEqual([batch.length, paddedRows], [1, 1]);
  });

  test('merges one shape only, the shape of the first item first', () => {
    const bench = new Bench();
    for (const shapeKey of ['a', 'b', 'a', 'c', 'b']) bench.add({ shapeKey });
    assert.deepEqual([bench.ids(), bench.ids(), bench.ids()], [[0, 2], [1, 4], [3]]);
  });

  test('pads to the next allowed size and never merges beyond the largest', () => {
    const bench = new Bench({ allowedBatchSizes: [2, 4] });
    for (let i = 0; i < 7; i++) bench.add();
    const sizes = [bench.next(), bench.next()].map(({ rows, paddedRows }) => [rows, paddedRows]);
    assert.deepEqual(sizes, [
      [4, 4],
      [3, 4],
    ]);
    bench.add({ rows: 6 });
    assert.equal(bench.next().paddedRows, 6);
  });

  test('preserve_ordering keeps arrival order against deadlines and shapes', () => {
    const bench = new Bench({ preserveOrdering: true });
    bench.add({ deadline: 900 });
    bench.add({ deadline: 100 });
    bench.add({ shapeKey: 'b', deadline: 50 });
    bench.add({ deadline: 40 });
    assert.deepEqual([bench.ids(), bench.ids(), bench.ids()], [[0, 1], [2], [3]]);
  });

  test('level 1 goes first, lower levels fill what is left', () => {
    const bench = new Bench({ maxBatchSize: 3, priorityLevels: 3 });
    for (const priority of [3, 2, 1, 2, 1]) bench.add({ priority });
    assert.deepEqual(
      [bench.ids(), bench.ids()],
      [
        [2, 4, 1],
        [3, 0],
      ],
    );
  });

  test('levels are ignored when priorities are off', () => {
    const bench = new Bench();
    bench.add({ priority: 3 });
    bench.add({ priority: 1 });
    assert.deepEqual(bench.ids(), [0, 1]);
  });
});

describe('waiting', () => {
  test('waits for a full batch until the oldest item has waited its delay', () => {
    const bench = new Bench({ maxQueueDelayMicros: 5000 });
    bench.add({}, 10);
    bench.add({}, 12);
    assert.deepEqual([bench.next(12).batch, bench.next(12).wakeAt, bench.queue.size], [[], 15, 2]);
    assert.deepEqual(bench.ids(15), [0, 1]);
  });

  test('a full batch does not wait', () => {
    const bench = new Bench({ maxQueueDelayMicros: 5000, maxBatchSize: 2 });
    bench.add();
    bench.add();
    bench.add();
    assert.deepEqual(bench.ids(), [0, 1]);
    assert.deepEqual(bench.ids(), []);
  });

  test('an item that does not fit makes the batch go', () => {
    const bench = new Bench({ maxQueueDelayMicros: 5000, maxBatchSize: 4 });
    bench.add({ rows: 3 });
    bench.add({ rows: 2 });
    assert.deepEqual(bench.ids(), [0]);
  });

  test('the largest preferred size reached goes at once, the rest stays in order', () => {
    const bench = new Bench({ preferredBatchSizes: [2, 4], maxQueueDelayMicros: 5000 });
    for (let i = 0; i < 3; i++) bench.add();
    assert.deepEqual(bench.ids(), [0, 1]);
    bench.add();
    bench.add();
    bench.add();
    assert.deepEqual(bench.ids(), [2, 3, 4, 5]);
    bench.add();
    assert.deepEqual(bench.ids(4), []);
    assert.deepEqual(bench.ids(5), [6]);
  });

  test('items put back while waiting keep their order', () => {
    const bench = new Bench({ maxQueueDelayMicros: 5000, priorityLevels: 2 });
    bench.add({ priority: 2, deadline: 900 });
    bench.add({ priority: 1, deadline: 800 });
    bench.add({ priority: 1, deadline: 700 });
    bench.learn(1, 0.1);
    assert.deepEqual(bench.ids(0), []);
    bench.add({ priority: 1, deadline: 600 });
    assert.deepEqual(bench.ids(5), [3, 2, 1, 0]);
  });

  test('never waits past the last moment that keeps a deadline', () => {
    const bench = new Bench({ maxQueueDelayMicros: 50_000 }, { wakeMarginMs: 1 });
    bench.learn(1, 10);
    bench.add({ deadline: 30 });
    const { batch, wakeAt } = bench.next(0);
    assert.equal(batch.length, 0);
    assert.ok(wakeAt > 18 && wakeAt <= 19, `${wakeAt}`);
    assert.deepEqual(bench.ids(wakeAt), [0]);
  });

  test('does not wait with a deadline whose cost is unknown', () => {
    const bench = new Bench({ maxQueueDelayMicros: 50_000 });
    bench.add({ deadline: 30 });
    assert.deepEqual(bench.ids(0), [0]);
  });

  test('waiting leaves room for the latency target', () => {
    const bench = new Bench({ maxQueueDelayMicros: 50_000 }, { latencyTargetMs: 20, wakeMarginMs: 0 });
    bench.learn(1, 5);
    bench.add();
    const { wakeAt } = bench.next(0);
    assert.ok(wakeAt > 14 && wakeAt <= 15, `${wakeAt}`);
  });
});

describe('deadlines', () => {
  test('earliest deadline first, then arrival; none comes after its patience', () => {
    const bench = new Bench({ maxBatchSize: 1 }, { patienceMs: 100 });
    bench.add();
    for (const deadline of [90, 50, 50, 150]) bench.add({ deadline });
    const order = [0, 1, 2, 3, 4].map(() => bench.ids()[0]);
    assert.deepEqual(order, [2, 3, 1, 0, 4]);
  });

  test('arrival decides among equal deadlines, also behind a later one', () => {
    const bench = new Bench();
    for (const deadline of [90, 50, 50, 50, 50, 50]) bench.add({ deadline });
    assert.deepEqual(bench.ids(), [1, 2, 3, 4, 5, 0]);
  });

  test('drops what has expired, whatever is known', () => {
    const bench = new Bench();
    bench.add({ deadline: 10 });
    bench.add();
    assert.deepEqual(bench.ids(10), [1]);
    assert.deepEqual(bench.drops, ['0 deadline']);
  });

  test('runs nothing that expired since the last sweep', () => {
    const bench = new Bench();
    bench.add({ deadline: 10 });
    bench.add({ deadline: 10.5 });
    bench.add({ deadline: 10.5, shapeKey: 'b' });
    assert.deepEqual(
      bench.queue.expire(10, () => {}),
      11,
    );
    assert.deepEqual(bench.ids(10.6), []);
    assert.deepEqual(bench.drops, ['1 deadline', '2 deadline']);
  });

  test('drops what the learned latency says cannot make it, and only then', () => {
    const bench = new Bench();
    bench.add({ deadline: 10 });
    assert.deepEqual(bench.ids(6), [0]);
    bench.learn(1, 5);
    bench.add({ deadline: 10 });
    assert.deepEqual(bench.ids(6), []);
    assert.deepEqual(bench.drops, ['1 deadline']);
  });

  test('the tightest deadline bounds the batch', () => {
    const bench = new Bench();
    for (let rows = 1; rows <= 8; rows++) bench.learn(rows, rows);
    bench.add({ deadline: 4.5 });
    for (let i = 0; i < 7; i++) bench.add({ deadline: 100 });
    assert.deepEqual(bench.ids(), [0, 1, 2, 3]);
    assert.deepEqual(bench.ids(4), [4, 5, 6, 7]);
  });

  test('a batch is bounded by its cost after padding', () => {
    const bench = new Bench({ allowedBatchSizes: [2, 8] });
    for (let rows = 1; rows <= 8; rows++) bench.learn(rows, rows);
    for (let i = 0; i < 3; i++) bench.add({ deadline: 5 });
    assert.deepEqual(bench.ids(), [0, 1]);
  });

  test('a wrong estimate is tried again after a while instead of refusing for ever', () => {
    const bench = new Bench({}, { probeAfterMs: 100 });
    bench.learn(1, 500);
    const asked = [0, 60, 100, 101].map((now) => {
      bench.add({ deadline: now + 50 }, now);
      return bench.ids(now);
    });
    assert.deepEqual(asked, [[], [], [2], []]);
  });

  test('under overload a tight item gives way rather than shrinking every batch', () => {
    const bench = new Bench({ maxBatchSize: 64 });
    for (let rows = 1; rows <= 64; rows++) bench.learn(rows, 1 + 0.05 * rows);
    let now = 0;
    let served = 0;
    // Ten times what the model can do, arriving evenly: 64 rows take 4.2 ms, 640 come in that time.
    for (let batch = 0; batch < 200; batch++) {
      const { rows, paddedRows } = bench.next(now);
      served += rows;
      const took = rows === 0 ? 0.1 : 1 + 0.05 * paddedRows;
      const arrivals = Math.round(150 * took);
      for (let i = 0; i < arrivals; i++) bench.add({ deadline: now + (took * i) / arrivals + 20 }, now);
      now += took;
    }
    const peak = 64 / 4.2;
    assert.ok(served / now > 0.9 * peak, `${(served / now).toFixed(2)} of ${peak.toFixed(2)} rows/ms`);
  });

  test('a batch that half the target holds on average is not cut for how its time varies', () => {
    const bench = new Bench({ maxBatchSize: 64 }, { latencyTargetMs: 20 });
    for (let i = 0; i < 200; i++) bench.latency.observe(64, i % 2 === 0 ? 5 : 13);
    assert.ok(bench.latency.predict(64) > 10);
    for (let i = 0; i < 100; i++) bench.add({ enqueuedAt: 0 }, 0);
    assert.equal(bench.next(19).rows, 64);
  });

  test('the latency target bounds the batch, but not below what keeps up', () => {
    const bench = new Bench({ maxBatchSize: 64 }, { latencyTargetMs: 20 });
    for (let rows = 1; rows <= 64; rows++) bench.learn(rows, rows);
    for (let i = 0; i < 64; i++) bench.add({}, 0);
    const fresh = bench.next(0).rows;
    assert.ok(fresh >= 18 && fresh <= 20, `${fresh}`);
    const late = bench.next(1000).rows;
    assert.ok(late >= 9 && late <= 10, `${late}`);
  });

  test('earliestDeadline is that of the item to go first', () => {
    const bench = new Bench({ priorityLevels: 2 }, { patienceMs: 100 });
    assert.equal(bench.queue.earliestDeadline(), Infinity);
    bench.add({ priority: 2, deadline: 5 });
    assert.equal(bench.queue.earliestDeadline(), 5);
    const urgent = bench.add({ priority: 1 }, 7);
    assert.equal(bench.queue.earliestDeadline(), 107);
    bench.queue.cancel(urgent);
    assert.equal(bench.queue.earliestDeadline(), 5);
  });
});

describe('queue policies', () => {
  test('max_queue_size refuses, and a freed place is given again', () => {
    const bench = new Bench({ defaultQueuePolicy: policy({ maxQueueSize: 2 }) });
    const first = bench.add();
    bench.add();
    assert.equal(bench.queue.enqueue(queueItem(9), 0), false);
    bench.queue.cancel(first);
    bench.add();
    assert.equal(bench.queue.enqueue(queueItem(9), 0), false);
    assert.equal(bench.queue.size, 2);
    bench.next();
    bench.add();
  });

  test('each level has its own policy', () => {
    const bench = new Bench({
      priorityLevels: 2,
      defaultQueuePolicy: policy({ maxQueueSize: 1 }),
      priorityQueuePolicy: new Map([[2, policy({ maxQueueSize: 2 })]]),
    });
    bench.add({ priority: 1 });
    assert.equal(bench.queue.enqueue(queueItem(9, { priority: 1 }), 0), false);
    bench.add({ priority: 2 });
    bench.add({ priority: 2 });
    assert.equal(bench.queue.enqueue(queueItem(9, { priority: 2 }), 0), false);
  });

  test('REJECT drops at the default timeout', () => {
    const bench = new Bench({ defaultQueuePolicy: policy({ defaultTimeoutMicros: 5000 }) });
    bench.add({}, 0);
    bench.add({}, 3);
    assert.deepEqual(bench.ids(5), [1]);
    assert.deepEqual(bench.drops, ['0 queue_timeout']);
  });

  test('DELAY moves behind the same level, not behind lower ones', () => {
    const bench = new Bench({
      maxBatchSize: 1,
      priorityLevels: 2,
      defaultQueuePolicy: policy({ timeoutAction: 'DELAY', defaultTimeoutMicros: 5000 }),
    });
    bench.add({ priority: 1 }, 0);
    bench.add({ priority: 1 }, 3);
    bench.add({ priority: 2 }, 3);
    assert.deepEqual([bench.ids(6), bench.ids(6), bench.ids(6)], [[1], [0], [2]]);
    assert.deepEqual(bench.drops, []);
  });

  test('a request shortens its timeout only where the policy allows, and never lengthens it', () => {
    for (const [allowTimeoutOverride, asked, now, dropped] of [
      [true, 2, 3, ['0 queue_timeout']],
      [false, 2, 3, []],
      [true, 50, 6, ['0 queue_timeout']],
    ] as const) {
      const bench = new Bench({ defaultQueuePolicy: policy({ defaultTimeoutMicros: 5000, allowTimeoutOverride }) });
      bench.add({}, 0, asked);
      bench.next(now);
      assert.deepEqual(bench.drops, dropped);
    }
  });

  test('expire reports what is late without forming a batch, and when to come again', () => {
    const bench = new Bench({ defaultQueuePolicy: policy({ defaultTimeoutMicros: 5000 }) });
    bench.add({}, 0);
    bench.add({ deadline: 4 }, 0);
    bench.add({}, 90);
    const dropped: string[] = [];
    const expire = (now: number) => bench.queue.expire(now, (item, reason) => dropped.push(`${item.id} ${reason}`));
    assert.equal(expire(3), 4);
    assert.equal(expire(4), 5);
    assert.equal(expire(90), 95);
    assert.deepEqual(dropped, ['1 deadline', '0 queue_timeout']);
    assert.equal(bench.queue.size, 1);
  });
});

describe('copies for a shadow', () => {
  test('wait for every client, whatever their deadlines and levels, and share no batch with one', () => {
    for (const priorityLevels of [0, 3]) {
      const bench = new Bench({ priorityLevels });
      bench.add({ priority: COPY_LEVEL, deadline: 500 });
      bench.add({ priority: 3, deadline: 900 });
      bench.add({ priority: COPY_LEVEL });
      bench.add({ priority: 1 });
      assert.deepEqual(bench.ids().sort(), [1, 3]);
      assert.deepEqual(bench.ids(), [0, 2]);
      assert.equal(bench.queue.size, 0);
    }
  });

  test('take no place of a client, and none of the time it waits for a fuller batch', () => {
    const bench = new Bench({ maxQueueDelayMicros: 5000, defaultQueuePolicy: policy({ maxQueueSize: 2 }) });
    const copies = [0, 1].map((id) => queueItem(id, { priority: COPY_LEVEL }));
    assert.deepEqual(
      copies.map((copy) => bench.queue.enqueue(copy, 0)),
      [true, true],
    );
    assert.equal(bench.queue.enqueue(queueItem(2, { priority: COPY_LEVEL }), 0), false);
    bench.add({ enqueuedAt: 2 }, 2);
    assert.deepEqual([bench.next(3).batch.length, bench.next(3).wakeAt], [0, 7]);
    assert.equal(bench.ids(7).length, 1);
    assert.equal(bench.ids(7).length, 2);
  });

  test('make their model less urgent than any that has clients waiting', () => {
    const copies = new Bench();
    copies.add({ priority: COPY_LEVEL, deadline: 1 });
    const clients = new Bench({}, { patienceMs: 60_000 });
    clients.add({}, 1000);
    assert.ok(copies.queue.earliestDeadline() > clients.queue.earliestDeadline(), 'clients go first');
    assert.ok(copies.queue.earliestDeadline() < Infinity, 'but copies wait too');
    copies.add({ deadline: 5 });
    assert.equal(copies.queue.earliestDeadline(), 5);
  });
});

describe('cancellation', () => {
  test('a cancelled item is neither run nor dropped, and its place is free at once', () => {
    const bench = new Bench();
    const items = [bench.add(), bench.add({ deadline: 5 }), bench.add()];
    bench.queue.cancel(items[0]);
    bench.queue.cancel(items[1]);
    bench.queue.cancel(items[1]);
    assert.deepEqual([bench.queue.size, bench.queue.rows], [1, 1]);
    assert.deepEqual(bench.ids(6), [2]);
    assert.deepEqual(bench.drops, []);
    bench.queue.cancel(items[2]);
    assert.deepEqual([bench.queue.size, bench.queue.rows], [0, 0]);
  });

  test('cancelled items do not pile up behind one that waits', () => {
    const bench = new Bench();
    bench.add();
    const items = Array.from({ length: 10_000 }, () => bench.add());
    for (const item of items) bench.queue.cancel(item);
    // The queue takes the slot back from an item that it no longer holds.
    const held = items.filter((item) => item.slot >= 0).length;
    assert.ok(held <= 65, `${held} were held`);
    assert.deepEqual(bench.ids(), [0]);
  });
});
