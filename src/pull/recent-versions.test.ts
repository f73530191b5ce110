import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentVersions } from './recent-versions.ts';

const deployment = (digest: string, served = 'm') => ({
  name: 'registered',
  alias: 'champion',
  served,
  version: '1',
  digest,
  requirements: '',
});

test('beside the version that is served, the last ones before it stay at hand', () => {
  const recent = new RecentVersions(2);
  for (const digest of ['a', 'b', 'c', 'd']) recent.remember(deployment(digest));
  assert.deepEqual([...recent.atHand([deployment('d')])].sort(), ['b', 'c', 'd']);
  // Served again, it is the newest.
  recent.remember(deployment('b'));
  recent.remember(deployment('e'));
  assert.deepEqual([...recent.atHand([deployment('e')])].sort(), ['b', 'd', 'e']);
});

test('of a model that is followed no more nothing stays', () => {
  const recent = new RecentVersions(2);
  recent.restore([
    ['m', ['a']],
    ['gone', ['x']],
  ]);
  assert.deepEqual([...recent.atHand([deployment('a')])], ['a']);
  assert.deepEqual(recent.list(), [['m', ['a']]]);
});
