import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_JSON_DEPTH, nestsTooDeeply } from './json-depth.ts';

function nested(depth: number, inner: string): string {
  return '[{"a":'.repeat(depth / 2) + inner + '}]'.repeat(depth / 2);
}

test('a hundred levels are let through, one more is not', () => {
  assert.equal(nestsTooDeeply(nested(MAX_JSON_DEPTH, '"x"')), false);
  assert.equal(nestsTooDeeply(nested(MAX_JSON_DEPTH, '[]')), true);
  assert.equal(nestsTooDeeply(`{"name":${'['.repeat(10_000)}${']'.repeat(10_000)}}`), true);
  assert.equal(nestsTooDeeply('['.repeat(250_000)), true);
});

test('brackets side by side and in texts are no depth', () => {
  assert.equal(nestsTooDeeply(`[${'[],'.repeat(1000)}[]]`), false);
  fc.assert(
    fc.property(fc.array(fc.constantFrom('[', '{', ']', '}', '"', '\\', 'x'), { minLength: 300 }), (letters) => {
      assert.equal(nestsTooDeeply(JSON.stringify({ text: letters.join(''), next: [] })), false);
    }),
  );
});
