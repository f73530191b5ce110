import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hungFrom, RunMark } from './run-mark.ts';

test('a run is hung behind its limit, behind twenty times what was learned, and behind every deadline in its batch', () => {
  const none = Number.POSITIVE_INFINITY;
  const due = (...deadlines: number[]) => deadlines.map((deadline) => ({ deadline }));
  assert.equal(hungFrom(1000, 500, none, []), 1500);
  assert.equal(hungFrom(1000, 500, none, due(none, 1200)), 1500, 'no deadline, and an earlier one, say nothing');
  assert.equal(hungFrom(1000, 500, 10, due(none)), 1500);
  assert.equal(hungFrom(1000, 500, 100, due(none)), 3000);
  assert.equal(hungFrom(1000, 500, 100, due(2000, 9000)), 9000);
});

test('the other thread sees what is overdue, and nothing once the run has ended', () => {
  const memory = RunMark.allocate();
  const executor = new RunMark(memory);
  const control = new RunMark(memory);
  assert.equal(control.overdue(1e9), undefined);
  executor.begin(7, 100, 200);
  assert.equal(control.overdue(199), undefined);
  assert.deepEqual(control.overdue(200), { handle: 7, begun: 100 });
  executor.end();
  assert.equal(control.overdue(1e9), undefined);
});
