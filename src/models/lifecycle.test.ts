import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { chooseVictims, fitAtStart } from './budget.ts';
import { type LoadedFact, planVersions, recordCrash } from './lifecycle.ts';
import { Coalesced, Semaphore, Serial } from './serial.ts';
import { chooseVersions, compareVersions } from './version-policy.ts';

test('version policies, with bad versions passed over', () => {
  const all = ['10', '2', '9', '1'];
  assert.deepEqual(chooseVersions(all, { kind: 'latest', count: 2 }), ['9', '10']);
  assert.deepEqual(chooseVersions(all, { kind: 'latest', count: 1 }, new Set(['10'])), ['9']);
  assert.deepEqual(chooseVersions(all, { kind: 'all' }), ['1', '2', '9', '10']);
  assert.deepEqual(chooseVersions(all, { kind: 'specific', versions: [2, 7] }), ['2']);
  assert.ok(compareVersions('9223372036854775806', '9223372036854775807') < 0);
});

test('old content stays until the new one is loaded, or when it is bad', () => {
  const old = { version: '1', key: 'old', handle: 7 };
  const want = [{ version: '1', key: 'new' }];
  assert.deepEqual(planVersions(want, [old], new Set()), { load: want, keep: [7], drop: [] });
  assert.deepEqual(planVersions(want, [old], new Set(['new'])), { load: [], keep: [7], drop: [] });
  const fresh = { version: '1', key: 'new', handle: 8 };
  assert.deepEqual(planVersions(want, [old, fresh], new Set()), { load: [], keep: [8], drop: [7] });
  assert.deepEqual(planVersions(want, [fresh], new Set(['new']), new Set(['new'])), { load: [], keep: [], drop: [8] });
});

test('a plan, carried out, leads to a plan with nothing to do', () => {
  const version = fc.record({ version: fc.constantFrom('1', '2', '3'), key: fc.constantFrom('a', 'b', 'c') });
  const input = fc.record({
    wanted: fc.uniqueArray(version, { selector: (v) => v.version }),
    loaded: fc.uniqueArray(version, { selector: (v) => v.version + v.key }),
    bad: fc.subarray(['a', 'b', 'c']),
  });
  fc.assert(
    fc.property(input, ({ wanted, loaded, bad }) => {
      const facts: LoadedFact[] = loaded.map((fact, handle) => ({ ...fact, handle }));
      const keys = new Set(bad);
      const first = planVersions(wanted, facts, keys);
      assert.equal(first.keep.length + first.drop.length, facts.length);
      assert.ok(first.load.every(({ key }) => !keys.has(key)));
      const next = facts
        .filter(({ handle }) => first.keep.includes(handle))
        .concat(first.load.map((fact, i) => ({ ...fact, handle: 100 + i })));
      const second = planVersions(wanted, next, keys);
      assert.deepEqual(second.load, []);
      assert.deepEqual(
        planVersions(
          wanted,
          next.filter(({ handle }) => second.keep.includes(handle)),
          keys,
        ).drop,
        [],
      );
    }),
  );
});

test('three crashes within a minute, not spread over more', () => {
  const times: number[] = [];
  assert.deepEqual(
    [0, 30_000, 60_000, 89_999].map((when) => recordCrash(times, when)),
    [false, false, false, true],
  );
  const hung: number[] = [];
  assert.deepEqual(
    [30_000, 70_000, 110_000, 400_000].map((when) => recordCrash(hung, when, 30_000)),
    [false, false, true, false],
    'the time it took to notice a hang makes the window longer',
  );
});

test('victims are the least recently used, and no more than needed', () => {
  const models = [
    { name: 'a', bytes: 10, lastUsed: 3 },
    { name: 'b', bytes: 10, lastUsed: 1 },
    { name: 'c', bytes: 0, lastUsed: 0 },
    { name: 'd', bytes: 10, lastUsed: 2 },
  ];
  assert.deepEqual(chooseVictims(models, 0), []);
  assert.deepEqual(chooseVictims(models, 11), ['b', 'd']);
  assert.equal(chooseVictims(models, 31), undefined);
  const start = ['x', 'y', 'z'].map((name) => ({ name, bytes: 10, pinned: name === 'z' }));
  assert.deepEqual([...fitAtStart(start, 20)], ['z', 'x']);
  assert.equal(fitAtStart(start, 0).size, 3);
});

test('coalesced calls always wait for a run that began after them', async () => {
  let value = 0;
  let seen = -1;
  let runs = 0;
  const coalesced = new Coalesced(async () => {
    const read = value;
    runs++;
    await new Promise((resolve) => setImmediate(resolve));
    seen = read;
  });
  const checks: Promise<void>[] = [];
  for (let i = 0; i < 100; i++) {
    const mine = ++value;
    checks.push(coalesced.request().then(() => assert.ok(seen >= mine, `${seen} < ${mine}`)));
    if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(checks);
  assert.ok(runs < 40, `${runs} runs`);
});

test('a slow run is followed by a rest, whose callers share the next run', async () => {
  let runs = 0;
  const coalesced = new Coalesced(async () => {
    runs++;
    await new Promise((resolve) => setTimeout(resolve, 300));
  });
  await coalesced.request();
  const later: Promise<void>[] = [];
  for (let i = 0; i < 5; i++) {
    later.push(coalesced.request());
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(later);
  assert.equal(runs, 2);
});

test('a failing run fails its callers and nobody after them', async () => {
  let fail = true;
  const coalesced = new Coalesced(() => (fail ? Promise.reject(new Error('no')) : Promise.resolve()));
  await assert.rejects(coalesced.request());
  fail = false;
  await coalesced.request();
});

test('serial runs in order past failures; a semaphore bounds its width', async () => {
  const serial = new Serial();
  const order: number[] = [];
  const failing = serial.run(async () => {
    order.push(1);
    throw new Error('x');
  });
  const second = serial.run(async () => void order.push(2));
  await assert.rejects(failing);
  await second;
  assert.deepEqual(order, [1, 2]);
  assert.equal(serial.busy, false);
  const semaphore = new Semaphore(2);
  let active = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 10 }, () =>
      semaphore.run(async () => {
        most = Math.max(most, ++active);
        await new Promise((resolve) => setImmediate(resolve));
        active--;
      }),
    ),
  );
  assert.equal(most, 2);
});
