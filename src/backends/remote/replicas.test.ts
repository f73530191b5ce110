import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SwitchyardError } from '../../shared/errors.ts';
import { RetryBudget } from '../../shared/retry-budget.ts';
import { ReplicaCaller } from './caller.ts';
import { DEFAULT_REPLICA_POLICY, type Replica, ReplicaSet } from './replicas.ts';
import { parseUrls } from './urls.ts';

const unavailable = () => new SwitchyardError('unavailable', 'gone');

function make(count: number, random: () => number = Math.random) {
  const time = { now: 1_000_000 };
  const addresses = Array.from({ length: count }, (_, i) => `r${i}:1`);
  const set = new ReplicaSet(addresses, DEFAULT_REPLICA_POLICY, () => time.now, random);
  return { set, time };
}

function fail(set: ReplicaSet, replica: Replica, times: number, kind: 'unreachable' | 'faulty' = 'faulty'): void {
  for (let i = 0; i < times; i++) {
    set.started(replica);
    set.failed(replica, kind);
  }
}

test('of two replicas the less loaded is chosen, and the pair is drawn at random', () => {
  const draws = [0, 0];
  const { set } = make(3, () => draws.shift() ?? 0);
  const [a, b, c] = set.replicas;
  a.inflight = 5;
  b.inflight = 2;
  assert.equal(set.pick(), b, 'a and b were drawn');
  c.inflight = 9;
  draws.push(0.9, 0);
  assert.equal(set.pick(), a, 'c and a were drawn, although b has less');
});

test('five failures in a row eject for 30 s, then 60 s; a success in between starts the count again', () => {
  const { set, time } = make(2);
  const [a, b] = set.replicas;
  fail(set, a, 4);
  set.started(a);
  set.succeeded(a);
  fail(set, a, 4);
  assert.equal(a.ejectedUntil, 0);
  fail(set, a, 1);
  assert.equal(a.ejectedUntil, time.now + 30_000);
  for (let i = 0; i < 50; i++) assert.equal(set.pick(), b);
  time.now += 30_000;
  const seen = new Set(Array.from({ length: 200 }, () => set.pick()));
  assert.ok(seen.has(b));
  fail(set, a, 5);
  assert.equal(a.ejectedUntil, time.now + 60_000);
});

test('a replica that behaves is forgiven one ejection each interval', () => {
  const { set, time } = make(2);
  const [a] = set.replicas;
  fail(set, a, 5);
  time.now += 30_000;
  fail(set, a, 5);
  assert.equal(a.ejections, 2);
  time.now += 60_000;
  set.started(a);
  set.succeeded(a);
  assert.equal(a.ejections, 2, 'not at once');
  time.now += 10_000;
  set.started(a);
  set.succeeded(a);
  assert.equal(a.ejections, 1);
});

test('the last usable replica is never ejected, whatever happens', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.record({ replica: fc.nat(3), event: fc.constantFrom('ok', 'fail', 'wait'), ms: fc.nat(20_000) }), {
        maxLength: 200,
      }),
      (count, events) => {
        const { set, time } = make(count);
        for (const { replica: index, event, ms } of events) {
          const replica = set.replicas[index % count];
          if (event === 'wait') time.now += ms;
          else if (event === 'fail') fail(set, replica, 3);
          else {
            set.started(replica);
            set.succeeded(replica);
          }
          assert.ok(set.replicas.some((other) => other.ejectedUntil <= time.now));
          assert.ok(set.pick().ejectedUntil <= time.now, 'an ejected replica is not chosen');
          assert.ok(set.replicas.every((other) => other.inflight === 0));
        }
      },
    ),
  );
});

test('a replica that comes back takes at most a tenth of the calls first and its full share after the slow start, busy or idle', () => {
  let seed = 1;
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  const { set, time } = make(2, random);
  const [a, b] = set.replicas;
  set.probed(a, false);
  assert.equal(set.pick(), b);
  set.probed(a, true);
  const share = (): number =>
    Array.from({ length: 1000 }, () => set.pick()).filter((replica) => replica === a).length / 1000;
  const between = (value: number, low: number, high: number) =>
    assert.ok(value >= low && value <= high, `${value} is not within ${low} and ${high}`);
  between(share(), 0.02, 0.08);
  b.inflight = 1;
  between(share(), 0.07, 0.13);
  time.now += DEFAULT_REPLICA_POLICY.slowStartMs / 2;
  between(share(), 0.45, 0.55);
  time.now += DEFAULT_REPLICA_POLICY.slowStartMs / 2;
  assert.equal(share(), 1, 'at full weight the less loaded one');
  b.inflight = 0;
  between(share(), 0.45, 0.55);
});

test('a probe brings back a replica that was unreachable, but not one that answered badly', () => {
  const { set, time } = make(3);
  const [a, b] = set.replicas;
  fail(set, a, 5, 'unreachable');
  fail(set, b, 5, 'faulty');
  set.probed(a, true);
  set.probed(b, true);
  assert.equal(a.ejectedUntil, 0);
  assert.equal(b.ejectedUntil, time.now + 30_000);
});

test('ready is false only while every replica fails probe after probe and no call; even then calls are tried', () => {
  const { set } = make(2);
  const [a, b] = set.replicas;
  const told: boolean[] = [];
  set.onReady = () => told.push(set.ready());
  const miss = (...replicas: Replica[]) => {
    for (const replica of replicas) for (let i = 0; i < 3; i++) set.probed(replica, false);
  };
  miss(a);
  set.probed(b, false);
  set.probed(b, false);
  assert.equal(set.ready(), true, 'two slow answers to probes');
  set.started(b);
  set.succeeded(b);
  set.probed(b, false);
  assert.equal(set.ready(), true, 'it answered a call meanwhile');
  miss(b);
  assert.equal(set.ready(), false);
  assert.ok(set.replicas.includes(set.pick()), 'trying is better than refusing on hearsay');
  set.started(a);
  set.succeeded(a);
  assert.equal(set.ready(), true, 'a call that succeeds is a proof');
  miss(a);
  set.probed(b, true);
  assert.deepEqual(told, [false, true, false, true]);
});

test('retries stay within a fifth of the calls in flight, and three are always allowed', () => {
  const budget = new RetryBudget();
  assert.deepEqual(
    [1, 2, 3, 4].map(() => budget.tryRetry()),
    [true, true, true, false],
  );
  budget.retried();
  for (let i = 0; i < 50; i++) budget.started();
  assert.deepEqual(
    Array.from({ length: 9 }, () => budget.tryRetry()),
    [...new Array(8).fill(true), false],
  );
});

test('a call that finds nobody is tried once more, elsewhere; a model error is not and ejects nobody', async () => {
  const { set, time } = make(2);
  const caller = new ReplicaCaller(set, { perTryMs: 60_000, tries: 2 }, () => time.now);
  const tried: Replica[] = [];
  const answer = await caller.call(Number.POSITIVE_INFINITY, undefined, async (replica) => {
    tried.push(replica);
    if (tried.length === 1) throw unavailable();
    return 'answer';
  });
  assert.equal(answer, 'answer');
  assert.notEqual(tried[0], tried[1]);
  let tries = 0;
  for (let i = 0; i < 20; i++) {
    await assert.rejects(
      caller.call(Number.POSITIVE_INFINITY, undefined, async () => {
        tries++;
        throw new SwitchyardError('internal', 'poison');
      }),
      { code: 'internal' },
    );
  }
  assert.equal(tries, 20);
  assert.ok(set.replicas.every((replica) => replica.ejectedUntil === 0 && replica.inflight === 0));
});

test('each try gets what is left of the deadline, at most the per-try limit; none is made after it', async () => {
  const { set, time } = make(2);
  const caller = new ReplicaCaller(set, { perTryMs: 1500, tries: 2 }, () => time.now);
  const limits: number[] = [];
  await assert.rejects(
    caller.call(time.now + 2000, undefined, async (_replica, timeoutMs) => {
      limits.push(timeoutMs);
      time.now += timeoutMs;
      throw new SwitchyardError('deadline_exceeded', 'late');
    }),
    { code: 'deadline_exceeded' },
  );
  assert.deepEqual(limits, [1500, 500]);
  await assert.rejects(
    caller.call(time.now, undefined, async () => assert.fail('was asked')),
    { code: 'deadline_exceeded', message: /before the remote server was asked/ },
  );
});

test('under an outage retries are bounded by the budget', async () => {
  const { set, time } = make(2);
  const caller = new ReplicaCaller(set, { perTryMs: 1000, tries: 2 }, () => time.now);
  let tries = 0;
  const calls = Array.from({ length: 100 }, () =>
    caller
      .call(Number.POSITIVE_INFINITY, undefined, async () => {
        tries++;
        await new Promise((resolve) => setImmediate(resolve));
        throw unavailable();
      })
      .catch(() => undefined),
  );
  await Promise.all(calls);
  assert.equal(tries, 120);
});

test('urls are read with or without scheme, and never mixed', () => {
  assert.deepEqual(parseUrls('grpc://a:1, b.c:22,[::1]:3', 'm'), {
    addresses: ['a:1', 'b.c:22', '[::1]:3'],
    tls: false,
  });
  assert.deepEqual(parseUrls('grpcs://a:1', 'm'), { addresses: ['a:1'], tls: true });
  for (const bad of ['', 'a', 'a:b', 'http://a:1', 'a:1/path', 'a:70000', 'grpc://a:1,grpcs://b:1']) {
    assert.throws(() => parseUrls(bad, 'm'), { code: 'invalid_argument' }, bad);
  }
});
