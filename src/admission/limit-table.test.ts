import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import fc from 'fast-check';
import { monotonicMs } from '../shared/clock.ts';
import { allocateLimitTable, LimitTable, quotaDay } from './limit-table.ts';

interface Job {
  table: SharedArrayBuffer;
  /** 0 ready count, 1 go, 2 in flight as the workers see it, 3 highest in flight. */
  probe: SharedArrayBuffer;
  intervalNs: number;
  burst: number;
  quota: number;
  concurrency: number;
  attempts: number;
}

interface Outcome {
  slot: number;
  admittedAt: number[];
  quotaTaken: number;
}

const WORKERS = 3;

// tsx's loader does not reach worker threads by itself.
const BOOT = `import(${JSON.stringify(import.meta.resolve('tsx/esm/api'))}).then(({ register }) => {
  register();
  return import(${JSON.stringify(import.meta.url)});
})`;

function work(job: Job): Outcome {
  const table = new LimitTable(job.table);
  const probe = new Int32Array(job.probe);
  const slot = table.slotFor('tenant');
  Atomics.add(probe, 0, 1);
  Atomics.notify(probe, 0);
  Atomics.wait(probe, 1, 0);
  const admittedAt: number[] = [];
  let quotaTaken = 0;
  for (let i = 0; i < job.attempts; i++) {
    const now = Math.floor(monotonicMs() * 1e6);
    if (table.takeToken(slot, now, job.intervalNs, job.burst * job.intervalNs) === 0) admittedAt.push(now);
    if (table.takeQuota(slot, 7, job.quota)) quotaTaken++;
    if (!table.enter(slot, job.concurrency)) continue;
    const inside = Atomics.add(probe, 2, 1) + 1;
    for (let highest = Atomics.load(probe, 3); inside > highest; highest = Atomics.load(probe, 3)) {
      Atomics.compareExchange(probe, 3, highest, inside);
    }
    Atomics.sub(probe, 2, 1);
    table.leave(slot);
  }
  return { slot, admittedAt, quotaTaken };
}

async function race(
  job: Omit<Job, 'table' | 'probe'>,
): Promise<{ outcomes: Outcome[]; highest: number; left: number }> {
  const table = allocateLimitTable(64);
  const probe = new SharedArrayBuffer(16);
  const flags = new Int32Array(probe);
  const outcomes = Array.from({ length: WORKERS }, () => {
    const worker = new Worker(BOOT, { eval: true, workerData: { ...job, table, probe } });
    return new Promise<Outcome>((resolve, reject) => worker.once('message', resolve).once('error', reject));
  });
  while (Atomics.load(flags, 0) < WORKERS) await new Promise((resolve) => setTimeout(resolve, 5));
  Atomics.store(flags, 1, 1);
  Atomics.notify(flags, 1);
  const done = await Promise.all(outcomes);
  return { outcomes: done, highest: flags[3], left: new LimitTable(table).inFlight(done[0].slot) };
}

if (!isMainThread) parentPort!.postMessage(work(workerData as Job));
else {
  test('threads together never get more tokens, places or quota than there are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 500, max: 100_000 }),
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 1, max: 20_000 }),
        fc.integer({ min: 1, max: 2 }),
        async (intervalNs, burst, quota, concurrency) => {
          const attempts = 15_000;
          const { outcomes, highest, left } = await race({ intervalNs, burst, quota, concurrency, attempts });
          assert.equal(new Set(outcomes.map((outcome) => outcome.slot)).size, 1);
          const times = outcomes.flatMap((outcome) => outcome.admittedAt).sort((a, b) => a - b);
          assert.ok(times.length >= burst, 'the burst is there for the taking');
          let lowest = Number.POSITIVE_INFINITY;
          for (let k = 0; k < times.length; k++) {
            const level = k - (times[k] - times[0]) / intervalNs;
            lowest = Math.min(lowest, level);
            assert.ok(level - lowest + 1 <= burst + 1e-3, `a window admitted ${level - lowest + 1} over its rate`);
          }
          const taken = outcomes.reduce((sum, outcome) => sum + outcome.quotaTaken, 0);
          assert.equal(taken, Math.min(quota, WORKERS * attempts));
          assert.ok(highest >= 1 && highest <= concurrency, `${highest} inside, ${concurrency} allowed`);
          assert.equal(left, 0);
        },
      ),
      { numRuns: 5 },
    );
  });

  test('one thread: admits exactly as an ideal token bucket', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.integer({ min: 1, max: 20 }),
        fc.array(fc.integer({ min: 0, max: 3000 }), { maxLength: 200 }),
        (interval, burst, gaps) => {
          const table = new LimitTable(allocateLimitTable(16));
          const slot = table.slotFor('a');
          let now = 1_000_000;
          // In units of 1 / interval, so that the ideal is exact too.
          let tokens = burst * interval;
          for (const gap of gaps) {
            now += gap;
            tokens = Math.min(burst * interval, tokens + gap);
            const admitted = tokens >= interval;
            const expectedWait = admitted ? 0 : interval - tokens;
            assert.equal(table.peekToken(slot, now, interval, burst * interval), expectedWait);
            assert.equal(table.takeToken(slot, now, interval, burst * interval), expectedWait);
            if (admitted) tokens -= interval;
          }
        },
      ),
    );
  });

  test('a new day opens the quota again; a clock that steps back does not', () => {
    const table = new LimitTable(allocateLimitTable(16));
    const slot = table.slotFor('a');
    assert.equal(table.takeQuota(slot, 10, 1), true);
    assert.equal(table.takeQuota(slot, 10, 1), false);
    assert.equal(table.takeQuota(slot, 11, 1), true);
    assert.equal(table.takeQuota(slot, 10, 1), false);
    table.returnQuota(slot, 10);
    assert.equal(table.takeQuota(slot, 11, 1), false, 'a request of yesterday gives nothing back today');
    table.returnQuota(slot, 11);
    assert.equal(table.takeQuota(slot, 11, 1), true);
  });

  test('quota days follow UTC midnight', () => {
    assert.equal(quotaDay(Date.parse('2020-01-01T23:59:59.999Z')), 0);
    assert.equal(quotaDay(Date.parse('2020-01-02T00:00:00Z')), 1);
  });

  test('names keep their slots; a full table sends the rest to the overflow slot', () => {
    const table = new LimitTable(allocateLimitTable(8));
    const slots = Array.from({ length: 20 }, (_, i) => table.slotFor(`tenant ${i}`));
    assert.equal(new Set(slots.slice(0, 7)).size, 7);
    assert.deepEqual(slots.slice(7), Array(13).fill(table.overflow));
    assert.deepEqual(
      slots,
      slots.map((_, i) => table.slotFor(`tenant ${i}`)),
    );
  });

  test('leaving more often than entering goes no lower than zero', () => {
    const table = new LimitTable(allocateLimitTable(8));
    table.leave(0);
    assert.equal(table.enter(0, 1), true);
    assert.equal(table.enter(0, 1), false);
  });
}
