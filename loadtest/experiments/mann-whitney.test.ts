import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mannWhitney } from './mann-whitney.ts';

function near(actual: number, expected: number, within: number): void {
  assert.ok(Math.abs(actual - expected) <= within, `${actual} is not ${expected} to within ${within}`);
}

test('Mann and Whitney must flag seven of ten buckets a hundred times worse', () => {
  const base = new Array<number>(10).fill(1);
  const worse = [...new Array<number>(7).fill(100), 1, 1, 1];
  near(mannWhitney(base, worse).greater, 0.00155, 5e-6);
  near(mannWhitney(worse, base).greater, 1, 1e-12);
  assert.equal(mannWhitney(base, base).greater, 1);
});

test('Mann and Whitney without and with ties, exact and by its normal approximation', () => {
  // SciPy: mannwhitneyu([1,2,3,4],[3.5,5,6,7,8], alternative='less', method='exact')
  near(mannWhitney([1, 2, 3, 4], [3.5, 5, 6, 7, 8]).greater, 0.015873015873015872, 1e-12);
  const a = Array.from({ length: 80 }, (_, i) => i % 13);
  const b = Array.from({ length: 70 }, (_, i) => (i % 11) + 2);
  const result = mannWhitney(a, b);
  // SciPy: mannwhitneyu(b, a, alternative='greater' / 'two-sided', method='asymptotic')
  near(result.u, 3206, 1e-9);
  near(result.greater, 0.06270776026350618, 1e-12);
  near(result.twoSided, 0.12541552052701235, 1e-12);
});
