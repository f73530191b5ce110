import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import Database from 'libsql';
import { openSqlite } from './sqlite.ts';

const scratch = mkdtempSync(join(tmpdir(), 'migrations-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** A database of this program's, changed behind its back. */
async function changed(name: string, ...statements: string[]): Promise<string> {
  const file = join(scratch, name);
  await (await openSqlite(file)).close();
  const raw = new Database(file);
  for (const statement of statements) raw.exec(statement);
  raw.close();
  return file;
}

test('a migration with a smaller number that came later is made up for', async () => {
  const file = await changed(
    'late.db',
    "DELETE FROM kysely_migration WHERE name = '0005-routes'",
    'DROP TABLE route_documents',
    'DROP TABLE route_standings',
  );
  const database = await openSqlite(file);
  assert.deepEqual(await database.read((db) => db.selectFrom('route_documents').selectAll().execute()), []);
  await database.close();
});

test('a database that a newer program has migrated is not opened', async () => {
  const file = await changed('newer.db', "INSERT INTO kysely_migration VALUES ('9999-future', '2030-01-01')");
  await assert.rejects(openSqlite(file), /9999-future/);
});

test('a migration that fails leaves the database as it was', async () => {
  const file = await changed('failing.db', "DELETE FROM kysely_migration WHERE name >= '0002'");
  await assert.rejects(openSqlite(file), /already exists/);
  const raw = new Database(file);
  assert.deepEqual(raw.prepare('SELECT name FROM kysely_migration').all(), [{ name: '0001-tracking' }]);
  raw.close();
});
