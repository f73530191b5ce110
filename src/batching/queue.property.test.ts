import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Tensor } from '../tensor/tensor.ts';
import { batching, policy, queueItem, type TestItem } from '../testing/batching.ts';
import { gather } from './gather.ts';
import { LatencyModel } from './latency-model.ts';
import { ModelQueue } from './queue.ts';
import { scatter } from './scatter.ts';

type Action =
  | { kind: 'add'; rows: number; shapeKey: string; priority: number; slack: number }
  | { kind: 'cancel'; pick: number }
  | { kind: 'next' }
  | { kind: 'pass'; ms: number };

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('add' as const),
      rows: fc.integer({ min: 1, max: 4 }),
      shapeKey: fc.constantFrom('a', 'a', 'a', 'b', 'c'),
      priority: fc.integer({ min: 1, max: 3 }),
      slack: fc.oneof(fc.constantFrom(Infinity, 20, 30, 40), fc.integer({ min: 1, max: 60 })),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cancel' as const), pick: fc.nat() }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'next' as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 9 }) }) },
);

const setup = fc.record({
  maxBatchSize: fc.integer({ min: 4, max: 16 }),
  maxQueueDelayMicros: fc.constantFrom(0, 0, 3000),
  preferredBatchSizes: fc.constantFrom<number[]>([], [2, 4]),
  allowedBatchSizes: fc.constantFrom<number[]>([], [1, 4]),
  preserveOrdering: fc.boolean(),
  priorityLevels: fc.constantFrom(0, 3),
  timeoutMicros: fc.constantFrom(0, 8000),
  timeoutAction: fc.constantFrom('REJECT' as const, 'DELAY' as const),
  known: fc.boolean(),
});

test('whatever happens: nothing is lost or doubled, and every batch keeps the rules', () => {
  fc.assert(
    fc.property(setup, fc.array(action, { maxLength: 120 }), (options, actions) => {
      const config = batching({
        ...options,
        defaultQueuePolicy: policy({
          timeoutAction: options.timeoutAction,
          defaultTimeoutMicros: options.timeoutMicros,
        }),
      });
      const latency = new LatencyModel();
      for (let rows = 1; options.known && rows <= 16; rows++) {
        for (let i = 0; i < 20; i++) latency.observe(rows, 2 + rows / 2);
      }
      const queue = new ModelQueue<TestItem>(config, latency, { probeAfterMs: Infinity, patienceMs: 1000 });
      const waiting = new Map<number, TestItem>();
      const fate = new Map<number, string>();
      const leave = (item: TestItem, how: string) => {
        assert.equal(fate.get(item.id), undefined, `item ${item.id} left twice`);
        assert.equal(waiting.delete(item.id), true);
        fate.set(item.id, how);
      };
      let now = 0;
      let added = 0;
      const level = (item: TestItem) => (options.priorityLevels > 0 ? item.priority : 1);
      const runNext = () => {
        const decision = queue.next(now, (item, reason) => {
          const alone = options.allowedBatchSizes.find((size) => size >= item.rows) ?? item.rows;
          // Under overload a long queue gives up its tightest items for the others' sake.
          const crowded = item.deadline < Infinity && waiting.size >= 2 * Math.min(4, config.maxBatchSize);
          const late = now >= item.deadline || now + latency.expected(alone) > item.deadline || crowded;
          const timedOut = options.timeoutAction === 'REJECT' && now >= item.queueTimeoutAt;
          assert.ok(reason === 'deadline' ? late : timedOut);
          leave(item, reason);
        });
        const { batch, rows, paddedRows } = decision;
        if (batch.length === 0) {
          assert.ok(waiting.size === 0 || (decision.wakeAt > now && decision.wakeAt < Infinity));
          return 0;
        }
        assert.equal(
          rows,
          batch.reduce((sum, item) => sum + item.rows, 0),
        );
        assert.ok(paddedRows >= rows);
        assert.ok(batch.length === 1 || rows <= config.maxBatchSize);
        for (const item of batch) {
          assert.equal(item.shapeKey, batch[0].shapeKey);
          assert.ok(item.deadline > now && !item.cancelled);
          leave(item, 'ran');
        }
        // Formation keeps the deadlines that the model says it can keep; an item alone needs the mean only.
        const cost = batch.length === 1 ? latency.expected(paddedRows) : latency.predict(paddedRows);
        for (const item of batch) if (options.known) assert.ok(now + cost <= item.deadline);
        const delays = options.timeoutAction === 'DELAY' && options.timeoutMicros > 0;
        const key = (item: TestItem) =>
          options.preserveOrdering ? 0 : Math.min(item.deadline, item.enqueuedAt + 1000);
        const inOrder = (a: TestItem, b: TestItem) => key(a) < key(b) || (key(a) === key(b) && a.id < b.id);
        for (let i = 1; i < batch.length; i++) {
          assert.ok(level(batch[i - 1]) <= level(batch[i]));
          if (level(batch[i - 1]) === level(batch[i]) && !delays) assert.ok(inOrder(batch[i - 1], batch[i]));
        }
        const first = batch[0];
        for (const other of waiting.values()) {
          assert.ok(level(first) <= level(other), 'a higher level waited');
          if (!delays && level(other) === level(first)) assert.ok(inOrder(first, other), 'an earlier one waited');
        }
        return batch.length;
      };
      for (const step of actions) {
        if (step.kind === 'pass') now += step.ms;
        else if (step.kind === 'next') runNext();
        else if (step.kind === 'cancel') {
          const item = [...waiting.values()][step.pick % Math.max(1, waiting.size)];
          if (item === undefined) continue;
          queue.cancel(item);
          leave(item, 'cancelled');
        } else {
          const { rows, shapeKey, priority, slack } = step;
          const item = queueItem(added++, { rows, shapeKey, priority, deadline: now + slack, enqueuedAt: now });
          assert.equal(queue.enqueue(item, now), true);
          waiting.set(item.id, item);
        }
        assert.equal(queue.size, waiting.size);
        assert.equal(
          queue.rows,
          [...waiting.values()].reduce((sum, item) => sum + item.rows, 0),
        );
      }
      for (let i = 0; waiting.size > 0; i++) {
        assert.ok(i < 1000, 'the queue does not drain');
        if (runNext() === 0) now += 1;
      }
      assert.equal(fate.size, added);
    }),
    { numRuns: 400 },
  );
});

test('100,000 requests of random tenants: each gets its own answer back', () => {
  // Each value holds tenant and request; the fake model answers twice the value, row by row.
  const random = seededRandom(7);
  const latency = new LatencyModel();
  const queue = new ModelQueue<TestItem & { tenant: number }>(
    batching({ maxBatchSize: 32, allowedBatchSizes: [1, 2, 4, 8, 16, 32], priorityLevels: 2 }),
    latency,
  );
  const widths = [1, 3];
  let answered = 0;
  let crossed = 0;
  const inputs = new Map<number, Tensor>();
  const pump = () => {
    const { batch, paddedRows } = queue.next(0, () => assert.fail('nothing has a deadline'));
    const rows = batch.map((item) => item.rows);
    const merged = gather(
      batch.map((item) => [inputs.get(item.id) as Tensor]),
      rows,
      paddedRows,
    );
    assert.equal(merged.inputs[0].shape[0], paddedRows);
    const { data, shape } = merged.inputs[0];
    const values = new Float64Array(data.buffer, data.byteOffset, data.length / 8).map((value) => value * 2);
    const output: Tensor = { name: 'y', datatype: 'FP64', shape, data: new Uint8Array(values.buffer) };
    scatter([output], rows, paddedRows).forEach(([own], i) => {
      const item = batch[i];
      const answer = new Float64Array(own.data.slice().buffer);
      const width = own.shape[1];
      if (answer.length !== item.rows * width) crossed++;
      answer.forEach((value, k) => {
        if (value !== 2 * stamp(item.tenant, item.id, k)) crossed++;
      });
      inputs.delete(item.id);
      answered++;
    });
  };
  for (let id = 0; id < 100_000; id++) {
    const tenant = Math.floor(random() * 1000);
    const rows = 1 + Math.floor(random() * 3);
    const width = widths[Math.floor(random() * widths.length)];
    const values = Float64Array.from({ length: rows * width }, (_, k) => stamp(tenant, id, k));
    inputs.set(id, { name: 'x', datatype: 'FP64', shape: [rows, width], data: new Uint8Array(values.buffer) });
    const item = Object.assign(queueItem(id, { rows, shapeKey: `${width}`, priority: 1 + (id % 2) }), { tenant });
    assert.equal(queue.enqueue(item, 0), true);
    if (random() < 0.1) pump();
  }
  while (queue.size > 0) pump();
  assert.deepEqual([answered, crossed, inputs.size], [100_000, 0, 0]);
});

function stamp(tenant: number, id: number, element: number): number {
  return tenant * 1e9 + id * 16 + element;
}

function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
