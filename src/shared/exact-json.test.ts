import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { exactText, parseBig, parseExact } from './exact-json.ts';

/** Any JSON value in which whole numbers beyond 2^53 are bigints. */
const { value: values } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false),
    // JSON has no -0, and writes whole floats up to 10^21 like integers.
    fc.double({ noNaN: true, noDefaultInfinity: true, min: -9e15, max: 9e15 }).map((one) => one + 0),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 70n }),
    fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
    fc.string({ unit: fc.constantFrom('\u0000', '"', '\\', '1', '2', 'a', 'ä', ':', ' '), maxLength: 30 }),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(fc.string({ unit: fc.constantFrom('\u0000', '"', '\\', '7', 'b'), maxLength: 25 }), tie('value'), {
      noNullPrototype: true,
    }),
  ),
}));

test('what is written is read again, digit by digit', () => {
  fc.assert(fc.property(values, (value) => assert.deepEqual(parseBig(exactText(value)), value)));
});

test('long integers become bigints or texts, whatever stands beside them', () => {
  const text =
    '{"a": [12345678901234567890, -9007199254740993, 1.2345678901234567, 10000000000000000e1, 5],' +
    ' "b\\"1234567890123456789": "1234567890123456789", "\\u0000": "\\u00001"}';
  const others = { 'b"1234567890123456789': '1234567890123456789', '\u0000': '\u00001' };
  const floats = [1.2345678901234567, 1e17, 5];
  assert.deepEqual(parseBig(text), { a: [12345678901234567890n, -9007199254740993n, ...floats], ...others });
  assert.deepEqual(parseExact(text), { a: ['12345678901234567890', '-9007199254740993', ...floats], ...others });
  assert.equal(parseBig('9007199254740993'), 9007199254740993n);
  assert.equal(parseBig('9007199254740991'), 9007199254740991);
  for (const broken of ['01234567890123456789', '{12345678901234567: 1}', '[12345678901234567', '12345678901234567 8'])
    for (const parse of [parseBig, parseExact]) assert.throws(() => parse(broken), SyntaxError, broken);
});
