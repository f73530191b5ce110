import assert from 'node:assert/strict';
import { test } from 'node:test';
import { service } from '../testing/kafka-consumer.ts';
import { brokerAway, diskFull, type FaultFigures, killedAtRandom } from '../testing/log-faults.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const disk = service('SWITCHYARD_TEST_SMALL_DISK', '.ci/services/small-disk.sh');
const KILLS = 4;

function check(figures: FaultFigures): void {
  assert.equal(figures.lost, 0, JSON.stringify(figures));
  assert.equal(figures.failed, 0, JSON.stringify(figures));
  assert.equal(figures.unaccounted, 0, JSON.stringify(figures));
  assert.ok(figures.committed > 0, JSON.stringify(figures));
}

test('killed with -9 at random moments: no committed record is lost, to files', { timeout: 300_000 }, async () => {
  const figures = await killedAtRandom(KILLS, undefined);
  check(figures);
  assert.equal(figures.duplicates, 0);
});

test('killed with -9 at random moments: no committed record is lost, to Kafka', { timeout: 300_000 }, async () => {
  check(await killedAtRandom(KILLS, broker));
});

test('a broker that is away for a while costs no record and no request', { timeout: 300_000 }, async () => {
  check(await brokerAway(broker, 5000));
});

test('a full disk costs records that are counted, and no request', { timeout: 300_000 }, async () => {
  const figures = await diskFull(disk);
  check(figures);
  assert.ok(figures.dropped > 0);
});
