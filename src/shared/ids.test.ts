import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RequestIds } from './ids.ts';

describe('ids', () => {
  it('count to base 36 behind a prefix of their own', () => {
    const ids = new RequestIds();
    const texts = Array.from({ length: 36 ** 3 + 2 }, () => ids.text(ids.next()));
    for (const [i, text] of texts.entries()) assert.equal(text, `${ids.prefix}${i.toString(36)}`);
    assert.equal(new Set(texts).size, texts.length);
    assert.match(ids.prefix, /^[\w-]{16}-$/);
    assert.notEqual(new RequestIds().prefix, ids.prefix);
  });

  it('have the same texts in any order', () => {
    const ids = new RequestIds();
    const number = fc.oneof(fc.nat(100), fc.nat(2 ** 31), fc.maxSafeNat());
    fc.assert(fc.property(number, (each) => assert.equal(ids.text(each), ids.prefix + each.toString(36))));
  });
});
