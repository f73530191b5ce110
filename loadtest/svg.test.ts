import assert from 'node:assert/strict';
import { test } from 'node:test';
import { barChart, humanNumber } from './svg.ts';

test('numbers keep three digits', () => {
  assert.deepEqual([0.4567, 12, 999.4, 999.6, 77421, 999_600, 12_345_678].map(humanNumber), [
    '0.457',
    '12',
    '999',
    '1k',
    '77.4k',
    '1M',
    '12.3M',
  ]);
});

test('bar lengths are proportional to values', () => {
  const svg = barChart('t', 'u', [
    { label: 'a', value: 100, low: 90, high: 110, role: 'subject' },
    { label: 'b', value: 50, low: 50, high: 50, role: 'peer' },
  ]);
  const widths = [...svg.matchAll(/<rect x="190" y="\d+" width="([\d.]+)"/g)].map((match) => Number(match[1]));
  assert.equal(widths.length, 2);
  assert.ok(Math.abs(widths[0] / widths[1] - 2) < 0.01);
});

test('labels cannot break out of the markup', () => {
  const svg = barChart('a<b', '"u"', [{ label: '<script>&', value: 1, low: 1, high: 1, role: 'limit' }]);
  assert.ok(svg.includes('a&lt;b') && svg.includes('&lt;script&gt;&amp;') && !svg.includes('<script'));
});

test('values that cannot be drawn are refused, all-zero charts are drawn', () => {
  assert.throws(() => barChart('t', 'u', [{ label: 'a', value: Number.NaN, low: 0, high: 1, role: 'peer' }]), /"a"/);
  assert.ok(!barChart('t', 'u', [{ label: 'a', value: 0, low: 0, high: 0, role: 'peer' }]).includes('NaN'));
});
