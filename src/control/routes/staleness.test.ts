import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Staleness } from './staleness.ts';

const limits = { staleMs: 120, gapMs: 10, backMs: 30 };

/** Somebody is heard of every 5 from `from` to `to`. */
function hear(staleness: Staleness, from: number, to: number): void {
  for (let now = from; now <= to; now += 5) staleness.heard(now);
}

test('what was decided is stale when nobody that decides was heard of for too long', () => {
  const staleness = new Staleness(limits);
  staleness.heard(0);
  assert.ok(!staleness.look(0), 'not at a start with Redis');
  hear(staleness, 5, 100);
  assert.ok(!staleness.look(220));
  assert.ok(staleness.look(221));
});

test('a gateway that starts and hears of nobody knows nothing that it could go by', () => {
  const staleness = new Staleness(limits);
  assert.ok(staleness.look(0));
  hear(staleness, 5, 35);
  assert.ok(!staleness.look(35));
});

test('moments in which somebody is heard of do not end it, a lasting return does', () => {
  const staleness = new Staleness(limits);
  staleness.heard(0);
  assert.ok(staleness.look(121));
  for (let now = 130; now < 1000; now += 11) {
    staleness.heard(now);
    assert.ok(staleness.look(now), `${now}: only for a moment`);
  }
  hear(staleness, 1000, 1025);
  assert.ok(staleness.look(1025));
  staleness.heard(1035);
  assert.ok(!staleness.look(1035), 'a gap no longer than a lease is none');
});

test('moments are enough before it is stale: somebody decides in them', () => {
  const staleness = new Staleness(limits);
  for (let now = 0; now < 1000; now += 100) {
    staleness.heard(now);
    assert.ok(!staleness.look(now + 99));
  }
});
