import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { planCores } from './core-plan.ts';

const usable = fc.uniqueArray(fc.nat(1023), { maxLength: 64 }).map((cores) => cores.toSorted((a, b) => a - b));
const counts = fc.tuple(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 1, max: 70 }));

test('no core of an executor or of a run is shared, none is used that may not be, and none is left idle', () => {
  fc.assert(
    fc.property(usable, counts, (cores, [executors, runThreads]) => {
      const plan = planCores(cores, executors, runThreads);
      if (cores.length < executors + runThreads) {
        assert.equal(plan, undefined);
        return;
      }
      assert.ok(plan);
      assert.equal(plan.executors.length, executors);
      assert.equal(plan.runs.length, runThreads - 1);
      assert.ok(plan.shared.length >= 1);
      assert.deepEqual([...plan.shared, ...plan.runs, ...plan.executors], cores);
    }),
  );
});

test('executors have the last cores', () => {
  assert.deepEqual(planCores([0, 1], 1, 1), { shared: [0], runs: [], executors: [1] });
  assert.deepEqual(planCores([2, 3, 8, 9], 2, 2), { shared: [2], runs: [3], executors: [8, 9] });
  assert.equal(planCores([0, 1], 2, 1), undefined);
});
