import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { idSource } from './ids.ts';

describe('ids', () => {
  it('count to base 36 behind a prefix of their own', () => {
    const next = idSource();
    const ids = Array.from({ length: 36 ** 3 + 2 }, next);
    const [prefix] = ids[0].split('-0');
    for (const [i, id] of ids.entries()) assert.equal(id, `${prefix}-${i.toString(36)}`);
    assert.equal(new Set(ids).size, ids.length);
    assert.match(prefix, /^[\w-]{16}$/);
    assert.notEqual(idSource()(), ids[0]);
  });
});
