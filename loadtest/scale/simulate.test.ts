import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EventQueue } from './event-queue.ts';
import { type Costs, simulate } from './simulate.ts';

const costs: Costs = { request: 8, answer: 6, message: 10, batch: 40, row: 2 };
const load = { connections: 256, networkMicros: 30, requests: 20_000 };

test('events happen in the order of their times, and of their coming where these are equal', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 9 })), (times) => {
      const queue = new EventQueue();
      const happened: [number, number][] = [];
      for (const [order, at] of times.entries()) queue.add(at, () => happened.push([at, order]));
      queue.run();
      assert.deepEqual(
        happened,
        times.map((at, order) => [at, order] as [number, number]).sort((a, b) => a[0] - b[0] || a[1] - b[1]),
      );
    }),
  );
});

test('with free messages and batches a gateway thread is the bound: one request each request + answer', () => {
  const free = { ...costs, message: 0, batch: 0, row: 0 };
  const outcome = simulate(free, { gateways: 1, executors: 1, instances: 1, maxBatch: 64 }, load);
  assert.ok(Math.abs(outcome.requestsPerSecond / (1e6 / 14) - 1) < 0.01, `${outcome.requestsPerSecond}/s`);
  assert.ok(outcome.gatewayBusy > 0.99);
});

test('with free gateways an executor is the bound: full batches, one after the other', () => {
  const free = { ...costs, message: 0, request: 0, answer: 0 };
  const outcome = simulate(free, { gateways: 1, executors: 1, instances: 1, maxBatch: 64 }, load);
  const best = (64 / (40 + 64 * 2)) * 1e6;
  assert.ok(outcome.requestsPerSecond > 0.97 * best && outcome.requestsPerSecond < 1.03 * best);
});

test('threads that share nothing scale with their number; a model on one instance does not', () => {
  const at = (gateways: number, executors: number, instances: number) =>
    simulate(
      costs,
      { gateways, executors, instances, maxBatch: 64 },
      { ...load, connections: 256 * gateways, requests: 80_000 },
    );
  const one = at(1, 1, 1);
  const eight = at(8, 8, 8);
  assert.ok(
    eight.requestsPerSecond > 5 * one.requestsPerSecond,
    `${eight.requestsPerSecond} of ${one.requestsPerSecond}`,
  );
  assert.ok(at(8, 8, 1).requestsPerSecond < 0.7 * eight.requestsPerSecond);
  assert.equal(at(8, 8, 1).idleThreads, 7);
});
