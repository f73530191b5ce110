import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentIds } from './recent-ids.ts';

test('an id is new once, and of many the latest are remembered', () => {
  const ids = new RecentIds(100);
  for (let i = 0; i < 1000; i++) {
    assert.equal(ids.add(`id-${i}`), true);
    assert.equal(ids.add(`id-${i}`), false);
    if (i >= 99) assert.equal(ids.add(`id-${i - 99}`), false, `${i - 99} after ${i}`);
  }
  assert.equal(ids.add('id-0'), true, 'long ago');
});
