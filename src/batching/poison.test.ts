import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SwitchyardError } from '../shared/errors.ts';
import { PoisonPolicy } from './poison.ts';

const BAD_ROW = new SwitchyardError('internal', 'row 17 holds a NaN');

/** Drives one failed batch as the executor does. */
function rescue(policy: PoisonPolicy, items: number, poisoned: ReadonlySet<number>, error = BAD_ROW) {
  const search = policy.batchFailed(items, error);
  if (search === undefined) return undefined;
  const fate = new Array<string>(items).fill('');
  let runs = 0;
  const settle = (start: number, end: number, how: string) => {
    for (let i = start; i < end; i++) {
      assert.equal(fate[i], '', `item ${i} settled twice`);
      fate[i] = how;
    }
  };
  for (let range = search.next(); range !== undefined; range = search.next()) {
    runs++;
    let fails = false;
    for (let i = range.start; i < range.end; i++) fails ||= poisoned.has(i);
    if (fails) for (const { start, end } of search.failed()) settle(start, end, 'failed');
    else {
      search.succeeded();
      settle(range.start, range.end, 'ran');
    }
  }
  policy.rescueEnded(search, error);
  return { fate, runs };
}

test('one poisoned item fails alone, in about twice log2 re-runs', () => {
  for (const items of [2, 3, 5, 16, 64, 200]) {
    for (let at = 0; at < items; at++) {
      const { fate, runs } = rescue(new PoisonPolicy(), items, new Set([at])) ?? assert.fail();
      assert.deepEqual([fate.indexOf('failed'), fate.lastIndexOf('failed'), fate.includes('')], [at, at, false]);
      assert.ok(runs <= 2 * Math.ceil(Math.log2(items)) + 2, `${runs} runs for ${items} items`);
    }
  }
});

test('a client that sends a handful of bad items in a row harms nobody else', () => {
  const bad = new Set([0, 1, 2, 3, 4, 5, 6, 7]);
  const { fate } = rescue(new PoisonPolicy(), 64, bad) ?? assert.fail();
  for (const [i, how] of fate.entries()) assert.equal(how, bad.has(i) ? 'failed' : 'ran', `item ${i}`);
});

test('every item is settled once, poisoned ones never run, and the re-runs are bounded', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 130 }),
      fc.array(fc.nat(129)),
      fc.constantFrom(0, 4, 9),
      (items, bad, limit) => {
        const { fate, runs } = rescue(new PoisonPolicy(limit), items, new Set(bad)) ?? assert.fail();
        for (const [i, how] of fate.entries()) assert.ok(how === 'failed' || (how === 'ran' && !bad.includes(i)));
        const budget = limit > 0 ? limit : Math.min(2 * items, 8 + 4 * Math.ceil(Math.log2(items)));
        assert.ok(runs <= budget + 4, `${runs} runs for a budget of ${budget}`);
      },
    ),
  );
});

test('a model that fails every item stops being searched, and a success brings the search back', () => {
  const policy = new PoisonPolicy();
  const all = new Set(Array.from({ length: 64 }, (_, i) => i));
  for (let batch = 0; batch < 3; batch++) {
    assert.equal(policy.broken, false);
    // The figures differ from batch to batch, the error is the same.
    rescue(policy, 64, all, new SwitchyardError('internal', `cannot allocate ${batch} bytes`));
  }
  assert.equal(policy.broken, true);
  const again = new SwitchyardError('internal', 'cannot allocate 99 bytes');
  assert.equal(policy.batchFailed(64, again), undefined);
  policy.batchSucceeded();
  assert.notEqual(policy.batchFailed(64, again), undefined);
});

test('a broken model is searched now and then, and one survivor clears it', () => {
  const policy = new PoisonPolicy();
  const all = new Set([0, 1, 2, 3]);
  for (let batch = 0; batch < 3; batch++) rescue(policy, 4, all);
  const outcomes = Array.from({ length: 8 }, () => rescue(policy, 4, new Set([1])));
  assert.deepEqual(
    outcomes.map((outcome) => outcome?.fate),
    [...new Array(7).fill(undefined), ['ran', 'failed', 'ran', 'ran']],
  );
  assert.equal(policy.broken, false);
});

test('three different errors in a row are no sign of a broken model', () => {
  const policy = new PoisonPolicy();
  for (const message of ['a', 'b', 'a', 'b']) {
    rescue(policy, 2, new Set([0, 1]), new SwitchyardError('internal', message));
  }
  assert.equal(policy.broken, false);
});

test('single items and errors of the moment are not searched', () => {
  const policy = new PoisonPolicy();
  assert.equal(policy.batchFailed(1, BAD_ROW), undefined);
  assert.equal(policy.batchFailed(8, new SwitchyardError('unavailable', 'replica away')), undefined);
  assert.equal(policy.batchFailed(8, new SwitchyardError('deadline_exceeded', 'late')), undefined);
  assert.notEqual(policy.batchFailed(8, new SwitchyardError('invalid_argument', 'bad row')), undefined);
});
