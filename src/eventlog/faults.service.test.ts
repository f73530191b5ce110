import assert from 'node:assert/strict';
import { test } from 'node:test';
import { service } from '../testing/kafka-consumer.ts';
import {
  brokerAway,
  brokerSlow,
  diskFull,
  type FaultFigures,
  killedAtRandom,
  rebalanced,
} from '../testing/log-faults.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const disk = service('SWITCHYARD_TEST_SMALL_DISK', '.ci/services/small-disk.sh');
const KILLS = 20;
const CALM_MS = 500;

function check(figures: FaultFigures): void {
  const shown = JSON.stringify(figures);
  for (const { lost } of figures.sinks) assert.equal(lost, 0, shown);
  assert.equal(figures.failed, 0, shown);
  assert.equal(figures.unaccounted, 0, shown);
  assert.ok(figures.committed > 0, shown);
}

test('killed with -9 at random moments: no committed record is lost', { timeout: 600_000 }, async () => {
  const figures = await killedAtRandom(KILLS, broker);
  check(figures);
  const files = figures.sinks.find(({ name }) => name === 'files');
  assert.equal(files?.duplicates, 0, JSON.stringify(figures));
});

test('a broker that is away for a while costs no record and no request', { timeout: 600_000 }, async () => {
  check(await brokerAway(broker, 5000, CALM_MS));
});

test('nor do partitions that move to a broker that joins, and back', { timeout: 600_000 }, async () => {
  check(await rebalanced(broker, CALM_MS));
});

test('nor does a way to it that is slow', { timeout: 600_000 }, async () => {
  check(await brokerSlow(broker, 3000, CALM_MS));
});

test('a full disk costs records that are counted, and no request', { timeout: 600_000 }, async () => {
  const figures = await diskFull(disk, 500, CALM_MS);
  check(figures);
  assert.ok(figures.dropped > 0, JSON.stringify(figures));
});
