import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Admin } from 'kafkajs';
import { LagWatch } from './lag.ts';

/** @param ends by partition: the oldest offset, the one behind the newest, and what was committed */
function brokers(ends: readonly (readonly [number, number, number])[]): Admin {
  return {
    fetchOffsets: async () => [
      { topic: 't', partitions: ends.map(([, , offset], partition) => ({ partition, offset: String(offset) })) },
    ],
    fetchTopicOffsets: async () =>
      ends.map(([low, high], partition) => ({ partition, offset: String(high), low: String(low), high: String(high) })),
  } as unknown as Admin;
}

const records = (lag: LagWatch) => lag.lags().map(({ partition, records: count }) => [partition, count]);

test('what was committed, or taken behind it, is behind the end by so many records', async () => {
  const lag = new LagWatch();
  lag.assign('g', { t: [0, 1, 2] });
  assert.deepEqual(records(lag), [], 'nothing is known yet');
  const at = [
    [5, 100, 40],
    [5, 100, -1],
    [0, 0, -1],
  ] as const;
  await lag.look(brokers(at));
  assert.deepEqual(records(lag), [
    [0, 60],
    [1, 95],
    [2, 0],
  ]);
  lag.saw('t', 0, { end: 120n });
  lag.saw('t', 0, { next: 110n });
  lag.saw('other', 0, { next: 7n, end: 9n });
  assert.deepEqual(records(lag)[0], [0, 10]);
  // What was taken is not committed yet.
  await lag.look(brokers([[5, 130, 40], at[1], at[2]]));
  assert.deepEqual(records(lag)[0], [0, 20]);
});

test('partitions that are another member’s are not told of, and a topic that was made anew begins again', async () => {
  const lag = new LagWatch();
  lag.assign('g', { t: [0, 1] });
  await lag.look(
    brokers([
      [0, 100, 90],
      [0, 10, 10],
    ]),
  );
  await lag.look(
    brokers([
      [0, 4, -1],
      [0, 10, 10],
    ]),
  );
  assert.deepEqual(records(lag), [
    [0, 4],
    [1, 0],
  ]);
  lag.assign('g', { t: [1] });
  assert.deepEqual(records(lag), [[1, 0]]);
  lag.clear();
  assert.deepEqual(records(lag), []);
});
