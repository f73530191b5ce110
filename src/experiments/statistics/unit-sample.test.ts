import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { murmur3 } from '../../routing/hash.ts';
import { lookAtUnits, NO_RATIO_EVIDENCE, type RatioEvidence, ratioPValue } from './sample-ratio.ts';
import { UnitSample } from './unit-sample.ts';

const WEIGHTS = [50, 50];
const armOf = (hash: number): string => (hash < 0x8000_0000 ? 'a' : 'b');
const countsOf = (sample: UnitSample): number[] => ['a', 'b'].map((arm) => sample.counts().get(arm) ?? 0);

test('a sample counts units once, keeps to its capacity, and the same units however they are put together', () => {
  const hash = fc.integer({ min: 0, max: 0xffff_ffff });
  fc.assert(
    fc.property(fc.array(fc.array(hash, { maxLength: 60 }), { maxLength: 4 }), (gateways) => {
      const whole = new UnitSample(32);
      const parts = gateways.map((units) => {
        const part = new UnitSample(32);
        for (const unit of units) for (const sample of [part, whole, part]) sample.add(armOf(unit), unit);
        return part;
      });
      const orders = [parts, [...parts].reverse()].map((order) => {
        const merged = new UnitSample(32);
        for (const part of order) merged.merge(UnitSample.decode(part.encode(), 32));
        return merged;
      });
      for (const merged of orders) {
        assert.equal(merged.level, whole.level);
        assert.deepEqual(countsOf(merged), countsOf(whole));
      }
      assert.ok(whole.size <= 32, 'more than the capacity');
      if (whole.level === 0) assert.equal(whole.size, new Set(gateways.flat()).size);
    }),
  );
});

test('a unit stays where it was first seen', () => {
  const sample = new UnitSample();
  sample.add('50:50 a', 7);
  sample.add('20:80 b', 7);
  sample.add('20:80 b', 8);
  const other = new UnitSample();
  other.add('20:80 b', 7);
  sample.merge(other);
  assert.deepEqual(Object.fromEntries(sample.counts()), { '50:50 a': 1, '20:80 b': 1 });
});

test('a full sample tells how many units there are, and its split is independent of what made it', () => {
  const sample = new UnitSample(1000);
  for (let i = 0; i < 100_000; i++) {
    const hash = murmur3(`user-${i}`, 1);
    sample.add(armOf(hash), hash);
  }
  const estimate = sample.size * 2 ** sample.level;
  assert.ok(Math.abs(estimate / 100_000 - 1) < 0.15, `estimate ${estimate}`);
  const [a, b] = countsOf(sample);
  assert.ok(Math.abs(a - b) < 4 * Math.sqrt(a + b), `${a} and ${b}`);
});

/** One experiment, looked at every 200 units; `lost`: the share of b's units that are never seen. */
function alarm(seed: number, units: number, capacity: number, lost: number, alpha: number): boolean {
  const sample = new UnitSample(capacity);
  let evidence: RatioEvidence = NO_RATIO_EVIDENCE;
  for (let i = 0; i < units; i++) {
    const hash = murmur3(`${i}`, seed);
    const arm = armOf(hash);
    if (arm === 'b' && lost > 0 && murmur3(`${i}`, ~seed) < lost * 0x1_0000_0000) continue;
    sample.add(arm, hash);
    if (i % 200 !== 199) continue;
    evidence = lookAtUnits(evidence, sample.level, [{ counts: countsOf(sample), weights: WEIGHTS }]);
    if (ratioPValue(evidence) < alpha) return true;
  }
  return false;
}

test('the check of distinct units alarms rarely without reason, over all looks and levels, and finds what is lost', () => {
  const share = (seeds: number, ...how: [number, number, number, number]): number =>
    Array.from({ length: seeds }, (_, seed) => alarm(seed, ...how)).filter(Boolean).length / seeds;
  // Up to level 2, at 30 looks.
  const falseAlarms = share(500, 6000, 2000, 0, 0.05);
  assert.ok(falseAlarms <= 0.05, `false alarms ${falseAlarms}`);
  // A tenth of one arm's units is lost; α is that of a route's default.
  const found = share(40, 15_000, 16_384, 0.1, 0.001);
  assert.ok(found >= 0.9, `found ${found}`);
});
