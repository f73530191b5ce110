import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { GroupCommit, type TransactionControl } from './group-commit.ts';
import { openSqlite } from './sqlite.ts';

const scratch = mkdtempSync(join(tmpdir(), 'group-commit-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** Control of an imaginary connection that notes what it is told. */
function recorder(fail?: string): TransactionControl & { log: string[] } {
  const log: string[] = [];
  return {
    log,
    inTransaction: true,
    exec: (text) => {
      log.push(text);
      if (text === fail) throw new Error('disk full');
    },
  };
}

test('writes of one turn share one commit, and none is answered before it', async () => {
  const control = recorder();
  const group = new GroupCommit({ ...control }, control.log);
  const write = (name: string) =>
    group.write(async (log) => void log.push(name)).then(() => control.log.push(`answered ${name}`));
  await Promise.all([write('a'), write('b'), write('c')]);
  const commits = control.log.filter((line) => line === 'COMMIT');
  assert.equal(commits.length, 1);
  const commit = control.log.indexOf('COMMIT');
  for (const name of ['a', 'b', 'c']) {
    assert.ok(control.log.indexOf(name) < commit);
    assert.ok(control.log.indexOf(`answered ${name}`) > commit);
  }
});

test('writes that come while a group commits make the next group', async () => {
  const control = recorder();
  const group = new GroupCommit<string[]>(control, control.log);
  let late: Promise<unknown> = Promise.resolve();
  await group.write(async () => {
    late = Promise.all([group.write(async (log) => log.push('x')), group.write(async (log) => log.push('y'))]);
  });
  await late;
  assert.equal(control.log.filter((line) => line === 'COMMIT').length, 2);
});

test('when the commit fails, every write of the group fails', async () => {
  const group = new GroupCommit<undefined>(recorder('COMMIT'), undefined);
  const results = await Promise.allSettled([group.write(async () => 1), group.write(async () => 2)]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
});

test('a failing write leaves nothing and spoils nobody else, also in the same group', async () => {
  const database = await openSqlite(join(scratch, 'alone.db'));
  const tag = (key: string, fail = false) =>
    database.write(async (db) => {
      await db.insertInto('experiment_tags').values({ experiment_id: 0, key, value: 'v' }).execute();
      if (fail) throw new Error('changed my mind');
      // A constraint: the second row of the same key.
      if (key === 'twice')
        await db.insertInto('experiment_tags').values({ experiment_id: 0, key, value: 'w' }).execute();
    });
  const results = await Promise.allSettled([tag('a'), tag('b', true), tag('twice'), tag('c')]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected', 'fulfilled'],
  );
  const rows = await database.read((db) => db.selectFrom('experiment_tags').select('key').orderBy('key').execute());
  assert.deepEqual(
    rows.map(({ key }) => key),
    ['a', 'c'],
  );
  await database.close();
  await assert.rejects(
    database.write(async () => 1),
    /closed/,
  );
});

test('reads see what is committed and nothing of a write on its way', async () => {
  const database = await openSqlite(join(scratch, 'snapshot.db'));
  const count = () => database.read((db) => db.selectFrom('experiment_tags').selectAll().execute());
  await database.write(async (db) => {
    await db.insertInto('experiment_tags').values({ experiment_id: 0, key: 'k', value: 'v' }).execute();
    assert.equal((await count()).length, 0);
  });
  assert.equal((await count()).length, 1);
  await database.close();
});

test('a database is opened again with what it had, and migrated once', async () => {
  const file = join(scratch, 'again.db');
  const first = await openSqlite(file);
  await first.write((db) =>
    db.insertInto('experiment_tags').values({ experiment_id: 0, key: 'k', value: 'v' }).execute(),
  );
  await first.close();
  const second = await openSqlite(file);
  const rows = await second.read((db) => db.selectFrom('experiment_tags').selectAll().execute());
  assert.deepEqual(rows, [{ experiment_id: 0, key: 'k', value: 'v' }]);
  await second.close();
});
