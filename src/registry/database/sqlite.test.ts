import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { openSqlite } from './sqlite.ts';

/** Has the file to itself for a moment, as a process that was killed and has not quite gone. */
const HOLDER = `
const { parentPort, workerData } = require('node:worker_threads');
const Database = require('libsql');
const connection = new Database(workerData);
connection.exec('PRAGMA journal_mode = WAL');
connection.exec('PRAGMA locking_mode = EXCLUSIVE');
connection.exec('BEGIN EXCLUSIVE');
connection.exec('CREATE TABLE held (held)');
parentPort.postMessage('held');
setTimeout(() => {
  connection.exec('ROLLBACK');
  connection.close();
}, 200);
`;

test('a file that somebody else has at the moment is opened when it is free', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sqlite-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'registry.db');
  const holder = new Worker(HOLDER, { eval: true, workerData: file });
  t.after(() => holder.terminate());
  await once(holder, 'message');
  const database = await openSqlite(file);
  assert.equal(database.kind, 'sqlite');
  await database.close();
});
