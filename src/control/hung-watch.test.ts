import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RunMark } from '../executor/run-mark.ts';
import { HungWatch } from './hung-watch.ts';

function watched(): { executor: RunMark; watch: HungWatch } {
  const memory = RunMark.allocate();
  return { executor: new RunMark(memory), watch: new HungWatch(memory) };
}

test('a run hangs when two looks in a row find it overdue', () => {
  const { executor, watch } = watched();
  executor.begin(7, 1000, 2000);
  assert.equal(watch.look(1999), undefined);
  assert.equal(watch.look(2000), undefined);
  assert.deepEqual(watch.look(2250), { handle: 7, begun: 1000 });
});

test('one that ends in between, or another one that is overdue next, is not sure yet', () => {
  const { executor, watch } = watched();
  executor.begin(7, 1000, 2000);
  assert.equal(watch.look(2000), undefined);
  executor.begin(7, 2100, 2200);
  assert.equal(watch.look(2250), undefined);
  executor.end();
  assert.equal(watch.look(2500), undefined);
  executor.begin(8, 2100, 2200);
  assert.equal(watch.look(2750), undefined);
  assert.deepEqual(watch.look(3000), { handle: 8, begun: 2100 });
});
