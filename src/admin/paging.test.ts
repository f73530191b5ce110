import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { page } from './paging.ts';

test('pages give every row once, in order, whatever the limit', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string({ minLength: 1 })), fc.integer({ min: 1, max: 7 }), (names, limit) => {
      const rows = names.toSorted((a, b) => (a < b ? -1 : 1));
      const seen: string[] = [];
      const query = new URLSearchParams({ limit: String(limit) });
      for (let pages = 0; pages <= rows.length; pages++) {
        const { rows: found, next } = page(rows, (row) => row, query);
        seen.push(...found);
        if (next === undefined) break;
        query.set('page_token', next);
      }
      assert.deepEqual(seen, rows);
    }),
  );
});

test('a row that goes away between pages hides no other', () => {
  const query = new URLSearchParams({ limit: '2' });
  const { next } = page(['a', 'b', 'c', 'd'], (row) => row, query);
  query.set('page_token', next ?? '');
  assert.deepEqual(page(['a', 'c', 'd'], (row) => row, query).rows, ['c', 'd']);
});
