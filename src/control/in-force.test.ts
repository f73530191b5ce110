import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InForce } from './in-force.ts';

/** Whether it has resolved by now. */
const resolved = (promise: Promise<void>): Promise<boolean> =>
  Promise.race([promise.then(() => true), new Promise<boolean>((resolve) => setImmediate(resolve, false))]);

test('a snapshot is in force once the last live thread has confirmed it, or a later one', async () => {
  const snapshots = new InForce();
  snapshots.confirm(0, 0);
  snapshots.confirm(1, 0);
  const [first, second] = [snapshots.everywhere(1), snapshots.everywhere(2)];
  snapshots.confirm(0, 2);
  assert.deepEqual([await resolved(first), await resolved(second)], [false, false]);
  snapshots.confirm(1, 1);
  assert.deepEqual([await resolved(first), await resolved(second)], [true, false]);
  snapshots.confirm(1, 3);
  assert.equal(await resolved(second), true);
  assert.equal(await resolved(snapshots.everywhere(2)), true, 'what all have confirmed is not waited for');
});

test('nobody waits for a thread that ends, nor where there is none', async () => {
  const snapshots = new InForce();
  assert.equal(await resolved(snapshots.everywhere(1)), true);
  snapshots.confirm(0, 1);
  snapshots.confirm(1, 0);
  const waiting = snapshots.everywhere(1);
  assert.equal(await resolved(waiting), false);
  snapshots.leave(1);
  assert.equal(await resolved(waiting), true);
});
