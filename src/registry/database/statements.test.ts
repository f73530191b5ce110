import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type { RegistryDatabase } from './database.ts';
import { openSqlite } from './sqlite.ts';
import { BulkInsert, run } from './statements.ts';

const scratch = mkdtempSync(join(tmpdir(), 'statements-'));
let database: RegistryDatabase;
before(async () => {
  database = await openSqlite(join(scratch, 'statements.db'));
});
after(async () => {
  await database.close();
  rmSync(scratch, { recursive: true, force: true });
});

const TAGS = new BulkInsert('experiment_tags', ['experiment_id', 'value', 'key'], 'RETURNING key');

const tagsOf = (experiment: number) =>
  database.read((db) =>
    run<{ key: string; value: string }>(db, 'SELECT key, value FROM experiment_tags WHERE experiment_id = $1', [
      experiment,
    ]),
  );

test('rows are all inserted, however many, and also when their first columns are given once', async () => {
  let experiment = 0;
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 140 }), fc.integer({ min: 0, max: 2 }), async (count, alike) => {
      experiment++;
      const keys = Array.from({ length: count }, (_, i) => `k${i}`);
      const common = [experiment, 'v'].slice(0, alike);
      const rows = keys.map((key) => [experiment, 'v', key].slice(alike));
      const returned = await database.write((db) => TAGS.runAlike<{ key: string }>(db, common, rows));
      assert.deepEqual(returned.map(({ key }) => key).sort(), [...keys].sort());
      const stored = await tagsOf(experiment);
      assert.deepEqual(stored.map(({ key, value }) => `${key} ${value}`).sort(), keys.map((key) => `${key} v`).sort());
    }),
    { numRuns: 40 },
  );
});

test('of an insert that fails half-way nothing stays, alone and beside other writes', async () => {
  const rows = ['a', 'b', 'a'].map((key) => [-1, 'v', key]);
  const bad = () => database.write((db) => TAGS.run(db, rows));
  await assert.rejects(bad(), /UNIQUE/);
  const results = await Promise.allSettled([
    bad(),
    database.write((db) => TAGS.run(db, [[-1, 'good', 'c']])),
    bad(),
    database.write((db) => TAGS.run(db, [[-1, 'good', 'd']])),
  ]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'fulfilled', 'rejected', 'fulfilled'],
  );
  assert.deepEqual((await tagsOf(-1)).map(({ key }) => key).sort(), ['c', 'd']);
});
