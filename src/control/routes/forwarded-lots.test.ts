import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ForwardedLots } from './forwarded-lots.ts';

test('lots are due once their time is over, and stay so until it is known what became of them', () => {
  const lots = new ForwardedLots();
  assert.deepEqual(lots.due(1e9), []);
  for (const [i, now] of [0, 5000, 9000].entries()) lots.sent(`${i}`, 10, now);
  const due = (now: number): string =>
    lots
      .due(now)
      .map(({ id }) => id)
      .join();
  assert.equal(due(9999), '');
  assert.equal(due(15_000), '0,1');
  assert.equal(due(15_000), '0,1', 'Redis could not be asked');
  lots.settled(2);
  lots.sent('3', 1, 16_000);
  assert.equal(due(20_000), '2');
  assert.equal(due(30_000), '2,3');
});
