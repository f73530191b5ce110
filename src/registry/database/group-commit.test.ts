import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import type { Db } from './database.ts';
import { GroupCommit, type SharedWrite, type TransactionControl } from './group-commit.ts';
import { openSqlite } from './sqlite.ts';

const scratch = mkdtempSync(join(tmpdir(), 'group-commit-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** Control of an imaginary connection that notes what it is told. */
function recorder(fail?: string): TransactionControl & { log: string[] } {
  const log: string[] = [];
  const exec = (text: string): void => {
    log.push(text);
    if (text === fail) throw new Error('disk full');
  };
  return { log, inTransaction: true, exec, commit: async () => exec('COMMIT') };
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

test('writes of one kind run together, and each gets its own result', async () => {
  const control = recorder();
  const group = new GroupCommit(control, control.log);
  const doubles: SharedWrite<string[], number, number> = {
    run: async (log, items) => {
      log.push(`together ${items.join(' ')}`);
      return items.map((item) => item * 2);
    },
  };
  const write = group.write(async (log) => log.push('between'));
  const results = await Promise.all([1, 2, 3].map((item) => group.writeShared(doubles, item)));
  await write;
  assert.deepEqual(results, [2, 4, 6]);
  assert.deepEqual(
    control.log.filter((line) => !/SAVEPOINT|RELEASE/.test(line)),
    ['BEGIN IMMEDIATE', 'between', 'together 1 2 3', 'COMMIT'],
  );
});

test('whatever is written at once, what fails leaves nothing, and all else is there', async () => {
  const database = await openSqlite(join(scratch, 'together.db'));
  let round = 0;
  const kinds = ['a', 'b'].map((kind) => ({
    run: async (db: Db, items: readonly { key: string; fails: boolean }[]) => {
      for (const { key } of items)
        await db.insertInto('experiment_tags').values({ experiment_id: round, key, value: kind }).execute();
      if (items.some(({ fails }) => fails)) throw new Error('one of them is bad');
      return items.map(({ key }) => `${kind} ${key}`);
    },
  }));
  const writes = fc.array(fc.record({ kind: fc.nat(2), fails: fc.boolean() }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(writes, async (given) => {
      round++;
      const results = await Promise.allSettled(
        given.map(({ kind, fails }, i) => {
          const item = { key: String(i), fails };
          if (kind < 2) return database.writeShared(kinds[kind], item);
          return database.write(async (db) => (await kinds[0].run(db, [item]))[0]);
        }),
      );
      const wanted = given.map(({ kind, fails }, i) => (fails ? undefined : `${'aba'[kind]} ${i}`));
      assert.deepEqual(
        results.map((result) => (result.status === 'fulfilled' ? result.value : undefined)),
        wanted,
      );
      const rows = await database.read((db) =>
        db.selectFrom('experiment_tags').select(['key', 'value']).where('experiment_id', '=', round).execute(),
      );
      assert.deepEqual(
        rows.map(({ key, value }) => `${value} ${key}`).sort(),
        wanted.filter((result) => result !== undefined).sort(),
      );
    }),
    { numRuns: 30 },
  );
  await database.close();
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
