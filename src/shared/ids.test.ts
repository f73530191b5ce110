import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { printIdNumber, RequestIds } from './ids.ts';

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

  it('are printed by their number as their texts have it', () => {
    const number = fc.oneof(
      fc.nat(100),
      fc.nat(2 ** 31),
      fc.integer({ min: 2 ** 31 - 2, max: 2 ** 31 + 2 }),
      fc.maxSafeNat(),
    );
    fc.assert(
      fc.property(number, (each) => {
        const bytes = Buffer.alloc(16, '.');
        const end = printIdNumber(bytes, 3, each);
        assert.equal(bytes.toString(), `...${each.toString(36)}`.padEnd(16, '.'));
        assert.equal(end, 3 + each.toString(36).length);
      }),
    );
  });
});
