import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { sql } from 'kysely';
import type { RegistryDatabase } from '../database/database.ts';
import { openSqlite } from '../database/sqlite.ts';
import { decodePageToken, encodePageToken, type Position, queryFingerprint } from './page-token.ts';
import { behind, condition, integerCondition, likeToGlob, orderClause, type SortKey } from './sql.ts';

const scratch = mkdtempSync(join(tmpdir(), 'search-sql-'));
let database: RegistryDatabase;
before(async () => {
  database = await openSqlite(join(scratch, 'x.db'));
});
after(async () => {
  await database.close();
  rmSync(scratch, { recursive: true, force: true });
});

const holds = (
  value: string | number,
  operator: 'LIKE' | 'ILIKE' | '>' | '=',
  other: string | number,
): Promise<boolean> =>
  database.read(async (db) => {
    const query = typeof value === 'number' ? integerCondition : condition;
    const { rows } = await sql<{
      x: number;
    }>`SELECT ${query(sql`${value}`, { operator, value: other }, 'sqlite')} AS x`.execute(db);
    return rows[0].x === 1;
  });

test('LIKE minds the case and ILIKE does not', async () => {
  assert.equal(await holds('Hello', 'LIKE', 'He%'), true);
  assert.equal(await holds('hello', 'LIKE', 'He%'), false);
  assert.equal(await holds('hello', 'ILIKE', 'HE_LO'), true);
  assert.equal(await holds('a[b]*?c', 'LIKE', 'a[b]*?_'), true);
  assert.equal(await holds('axb', 'LIKE', 'a?b'), false);
  assert.equal(likeToGlob('a%_[*?]'), 'a*?[[][*][?]]');
});

test('integers are compared with fractions', async () => {
  assert.equal(await holds(2, '>', 1.5), true);
  assert.equal(await holds(1, '=', 1.5), false);
});

test('pages by keyset give every row once and in order, whatever the order and the size', async () => {
  const value = fc.integer({ min: 0, max: 3 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(value, value), { maxLength: 30 }),
      fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()),
      fc.integer({ min: 1, max: 7 }),
      async (rows, [a, b, c], size) => {
        const keys: SortKey[] = [
          { expression: sql.ref('a'), ascending: a },
          { expression: sql.ref('b'), ascending: b },
          { expression: sql.ref('id'), ascending: c },
        ];
        const data = JSON.stringify(rows.map(([x, y], id) => [x, y, id]));
        const seen: Position[] = [];
        let position: Position | undefined;
        do {
          const after = position === undefined ? sql`1 = 1` : behind(keys, position);
          const { rows: page } = await database.read((db) =>
            sql<{ a: number; b: number; id: number }>`
              SELECT * FROM (SELECT value ->> 0 AS a, value ->> 1 AS b, value ->> 2 AS id FROM json_each(${data}))
              WHERE ${after} ORDER BY ${orderClause(keys)} LIMIT ${size}`.execute(db),
          );
          for (const row of page) seen.push([row.a, row.b, row.id]);
          position = page.length === size ? seen.at(-1) : undefined;
        } while (position !== undefined);
        const by = (x: number, y: number, ascending: boolean): number => (ascending ? x - y : y - x);
        const expected = rows
          .map(([x, y], id): number[] => [x, y, id])
          .sort((p, q) => by(p[0], q[0], a) || by(p[1], q[1], b) || by(p[2], q[2], c));
        assert.deepEqual(seen, expected);
      },
    ),
    { numRuns: 60 },
  );
});

test('page tokens belong to their query', () => {
  const mine = queryFingerprint({ filter: 'a' });
  const token = encodePageToken(mine, ['x', 1.5, null]);
  assert.deepEqual(decodePageToken(token, mine, 3), ['x', 1.5, null]);
  assert.equal(decodePageToken('', mine, 3), undefined);
  for (const [bad, print, length] of [
    [token, queryFingerprint({ filter: 'b' }), 3],
    [token, mine, 2],
    ['garbage', mine, 3],
    [Buffer.from('{}').toString('base64url'), mine, 3],
    [Buffer.from(JSON.stringify([mine, {}, 1, 2])).toString('base64url'), mine, 3],
  ] as const)
    assert.throws(() => decodePageToken(bad, print, length), /Invalid page token/);
});
