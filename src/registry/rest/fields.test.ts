import assert from 'node:assert/strict';
import { test } from 'node:test';
import { double, flag, int64, jsonList } from './fields.ts';

test('64-bit integers come as numbers or text, within what JSON keeps', () => {
  for (const [given, value] of [
    [5, 5],
    ['-17', -17],
    ['9007199254740991', 9007199254740991],
  ] as const)
    assert.equal(int64.parse(given), value);
  for (const bad of [1.5, '1.5', '', 'x', '9007199254740993', 2 ** 60, null, true, '1e3'])
    assert.equal(int64.safeParse(bad).success, false, String(bad));
});

test('doubles take NaN and infinities as text', () => {
  assert.ok(Number.isNaN(double.parse('NaN')));
  assert.equal(double.parse('-Infinity'), Number.NEGATIVE_INFINITY);
  assert.equal(double.parse('1.5e3'), 1500);
  for (const bad of ['nan', '', '0x10', null, true, 'Infinity2', '1e400', '-1e400', Number.POSITIVE_INFINITY])
    assert.equal(double.safeParse(bad).success, false);
});

test('flags come as booleans or text', () => {
  assert.deepEqual([flag.parse(true), flag.parse('false')], [true, false]);
  assert.equal(flag.safeParse('yes').success, false);
});

test('lists in texts are read, and nothing else is one', () => {
  assert.deepEqual(jsonList('[1, {"a": 2}]'), [1, { a: 2 }]);
  for (const bad of ['x', '5', '{}', '', 'null', '"[]"', '['.repeat(10_000) + ']'.repeat(10_000)])
    assert.equal(jsonList(bad), undefined, bad.slice(0, 20));
});
