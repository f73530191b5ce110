import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { asymptoticDifference } from './asymptotic.ts';
import {
  addClusters,
  addToCluster,
  type Clusters,
  clusteredVariance,
  decodeClusters,
  effectiveMoments,
  encodeClusters,
  noClusters,
} from './clusters.ts';
import { type Moments, mean, NO_MOMENTS, variance, withValue } from './moments.ts';
import { logMsprt, msprtPValue } from './msprt.ts';

test('the variance of a mean is that of statsmodels, cluster-robust', () => {
  const clusters = noClusters();
  let moments: Moments = NO_MOMENTS;
  for (let g = 0; g < 40; g++) {
    for (let i = 0; i < 3 + ((g * 7) % 5); i++) {
      const value = ((g * 37) % 11) / 4 + ((i * 13 + g * 5) % 7) / 3;
      addToCluster(clusters, g, value);
      moments = withValue(moments, value);
    }
  }
  // statsmodels 0.15.0: OLS(y, 1).fit(cov_type='cluster', cov_kwds={'groups': g}), its params[0] and bse[0]**2.
  assert.ok(Math.abs(mean(moments) - 2.214583333333334) < 1e-12, String(mean(moments)));
  const robust = clusteredVariance(clusters) ?? Number.NaN;
  assert.ok(Math.abs(robust - 0.015250698896011406) < 1e-14, String(robust));
  const effective = effectiveMoments(moments, clusters);
  assert.ok(Math.abs(variance(effective) / effective.count - robust) < 1e-14, 'the mean varies as the clusters say');
  assert.ok(Math.abs(mean(effective) - mean(moments)) < 1e-12, 'the mean is kept');
});

test('clusters add up in any order, and come back as they were written', () => {
  const values = fc.array(fc.tuple(fc.integer({ min: 0, max: 9999 }), fc.double({ noNaN: true, min: -1e6, max: 1e6 })));
  fc.assert(
    fc.property(values, values, (first, second) => {
      const [a, b] = [first, second].map((list) => {
        const clusters = noClusters();
        for (const [bucket, value] of list) addToCluster(clusters, bucket, value);
        return clusters;
      });
      const [one, other] = [noClusters(), noClusters()];
      for (const part of [a, b]) addClusters(one, part);
      for (const part of [b, a]) addClusters(other, decodeClusters(encodeClusters(part)));
      assert.deepEqual(one, other);
    }),
  );
});

test('values of few clusters say nothing, and independent ones are worth what they are', () => {
  const few = noClusters();
  const many = noClusters();
  let moments: Moments = NO_MOMENTS;
  for (let i = 0; i < 1000; i++) {
    addToCluster(few, i % 19, i % 2);
    // Every cluster has as many of each value: less spread than by chance, which is not believed.
    addToCluster(many, i >> 1, i % 2);
    moments = withValue(moments, i % 2);
  }
  assert.equal(effectiveMoments(moments, few).count, 0);
  assert.equal(effectiveMoments(moments, many).count, 1000);
});

/** An arm whose users are unlike one another: each reward is the user's own level and some noise. */
class Arm {
  readonly clusters: Clusters = noClusters();
  moments: Moments = NO_MOMENTS;
  private readonly levels: number[];

  constructor(users: number, random: () => number) {
    this.levels = Array.from({ length: users }, () => (random() + random() + random() - 1.5) * 2);
  }

  reward(user: number, offset: number, noise: number): void {
    const value = this.levels[user] + noise;
    addToCluster(this.clusters, user * 2 + offset, value);
    this.moments = withValue(this.moments, value);
  }
}

test('in A/A experiments with users that come again and again, intervals are wrong at most as often as they say', () => {
  const alpha = 0.05;
  const seeds = 1000;
  const wrong = { clustered: 0, independent: 0, msprt: 0 };
  for (let seed = 1; seed <= seeds; seed++) {
    const generator = xoroshiro128plus(seed);
    const random = (): number => uniformFloat64(generator);
    const arms = [new Arm(150, random), new Arm(150, random)];
    const excluded = { clustered: false, independent: false };
    let p = 1;
    for (let look = 1; look <= 15; look++) {
      for (let i = 0; i < 200; i++)
        arms[i % 2].reward(Math.floor(random() * Math.min(150, look * 30)), i % 2, random() - 0.5);
      const [a, b] = arms.map(({ moments, clusters }) => effectiveMoments(moments, clusters));
      const misses = ({ low, high }: { low: number; high: number }): boolean => low > 0 || high < 0;
      excluded.clustered ||= misses(asymptoticDifference(a, b, alpha, 300));
      excluded.independent ||= misses(asymptoticDifference(arms[0].moments, arms[1].moments, alpha, 300));
      const n = 2 / (1 / a.count + 1 / b.count);
      const pooled = (n * (variance(a) / a.count + variance(b) / b.count)) / 2;
      p = msprtPValue(p, logMsprt(n, mean(b) - mean(a), pooled, 0.3));
    }
    if (excluded.clustered) wrong.clustered++;
    if (excluded.independent) wrong.independent++;
    if (p < alpha) wrong.msprt++;
  }
  const shown = JSON.stringify(wrong);
  assert.ok(wrong.clustered <= alpha * seeds, shown);
  assert.ok(wrong.msprt <= alpha * seeds, shown);
  assert.ok(wrong.independent > 3 * alpha * seeds, shown);
});
