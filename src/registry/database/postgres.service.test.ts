import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kysely, PostgresDialect, sql } from 'kysely';
import pg from 'pg';
import { service } from '../../testing/kafka-consumer.ts';
import { checkUpgraded, makeOlderRegistry } from '../../testing/older-registry.ts';
import { emptyPostgres, RegistryUnderTest } from '../../testing/registry.ts';
import { mlflowFiles, RegistryClient } from '../../testing/registry-client.ts';
import { infer, ServerProcess } from '../../testing/server-process.ts';
import type { RegistryError } from '../errors.ts';
import { openDatabase } from './database.ts';

const postgres = service('SWITCHYARD_TEST_SOURCE_POSTGRES_URL', '.ci/services/postgres.sh');
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-lost-'));
const ends: (() => Promise<unknown>)[] = [];
after(async () => {
  for (const end of ends.reverse()) await end();
  rmSync(scratch, { recursive: true, force: true });
});

/** Ends every connection to a database but its own, again and again, while something goes on. */
async function terminating<T>(database: string, work: () => Promise<T>): Promise<{ ended: number; result: T }> {
  const client = new pg.Client(postgres);
  await client.connect();
  const name = new URL(database).pathname.slice(1);
  let ended = 0;
  let on = true;
  const loop = (async () => {
    while (on) {
      const { rowCount } = await client.query(
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1',
        [name],
      );
      ended += rowCount ?? 0;
      await sleep(30);
    }
  })();
  try {
    return { result: await work(), ended };
  } finally {
    on = false;
    await loop;
    await client.end();
  }
}

test('writers whose connections PostgreSQL ends get 503 or success, and go on', async () => {
  const { database, drop } = await emptyPostgres(postgres);
  ends.push(drop);
  const registry = await RegistryUnderTest.open(database);
  ends.push(() => registry.close());
  const { run } = await registry.ok('POST', 'runs/create', { experiment_id: '0' });
  const { run_id } = run.info;
  const statuses = new Map<string, number>();
  const acknowledged = new Set<string>();
  const write = async (writer: number): Promise<void> => {
    for (let i = 0; i < 60; i++) {
      const key = `p${writer}.${i}`;
      const values = {
        run_id,
        params: [{ key, value: 'x' }],
        metrics: [{ key: 'm', value: i, timestamp: i, step: i }],
      };
      const { status, json } = await registry.call('POST', 'runs/log-batch', values);
      const told = status === 200 ? '200' : `${status} ${json.error_code}`;
      statuses.set(told, (statuses.get(told) ?? 0) + 1);
      if (status === 200) acknowledged.add(key);
    }
  };
  const { ended } = await terminating(database, () => Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(write)));
  assert.ok(ended > 20, `${ended} connections were ended`);
  for (const told of statuses.keys())
    assert.match(told, /^(200|503 TEMPORARILY_UNAVAILABLE)$/, JSON.stringify([...statuses]));
  assert.ok(acknowledged.size > 0, 'some batches were written');
  for (let i = 0; i < 20; i++)
    await registry.ok('POST', 'runs/log-batch', { run_id, params: [{ key: `after${i}`, value: 'y' }] });
  const { data } = (await registry.ok('GET', 'runs/get', { run_id })).run;
  const found = new Set(data.params.map(({ key }: { key: string }) => key));
  assert.deepEqual(
    [...acknowledged].filter((key) => !found.has(key)),
    [],
  );
});

test('a gateway that follows its own registry serves on while PostgreSQL ends its connections, and follows after', async () => {
  const { database, drop } = await emptyPostgres(postgres);
  ends.push(drop);
  const file = join(scratch, 'config.yaml');
  writeFileSync(file, `registry: {database: "${database}"}\nmodels: {source: registry}\n`);
  const server = await ServerProcess.start(['--config', file]);
  ends.push(() => server.stop());
  const client = new RegistryClient(`http://127.0.0.1:${server.ports.admin}`);
  const asked = () => infer(server, 'lost', [{ name: 'INPUT', shape: [1, 4], datatype: 'FP32', data: [1, 2, 3, 4] }]);
  const serves = async (version: string): Promise<void> => {
    for (let i = 0; i < 600; i++) {
      const { status, body } = await asked();
      if (status === 200 && body.model_version === version) return;
      await sleep(100);
    }
    assert.fail(`version ${version} is not served after a minute: ${JSON.stringify(server.log.slice(-5))}`);
  };
  for (const version of ['one', 'two']) await client.register('lost', mlflowFiles(version));
  await client.alias('lost', 'champion', '1');
  await serves('1');
  const pid = server.servingPid();
  const { result } = await terminating(database, async () => {
    const refusals: string[] = [];
    const failures: string[] = [];
    for (let i = 0; i < 100; i++) {
      await client.alias('lost', 'champion', String((i % 2) + 1)).catch((error: Error) => refusals.push(error.message));
      const { status, body } = await asked();
      if (status !== 200) failures.push(`${status} ${body.error}`);
    }
    return { refusals, failures };
  });
  assert.deepEqual(result.failures, []);
  for (const refusal of result.refusals) assert.match(refusal, /: 503 .*TEMPORARILY_UNAVAILABLE/);
  assert.equal(server.servingPid(), pid, 'the gateway is the same process');
  for (const version of ['1', '2']) {
    await client.alias('lost', 'champion', version);
    await serves(version);
  }
});

test('a write that is in conflict with others again and again is worth another try', async () => {
  const { database, drop } = await emptyPostgres(postgres);
  ends.push(drop);
  const node = await openDatabase({ kind: 'postgres', url: database });
  ends.push(() => node.close());
  for (const state of ['40P01', '40001']) {
    let tries = 0;
    const write = node.write(async (db) => {
      tries++;
      await sql.raw(`DO $$ BEGIN RAISE EXCEPTION 'in conflict' USING ERRCODE = '${state}'; END $$`).execute(db);
    });
    await assert.rejects(write, (error: RegistryError) => {
      assert.deepEqual([error.registryCode, error.httpStatus], ['TEMPORARILY_UNAVAILABLE', 503]);
      return true;
    });
    assert.equal(tries, 5);
  }
});

test('what an earlier program stored on PostgreSQL is there after the upgrade, and goes on', async () => {
  const { database, drop } = await emptyPostgres(postgres);
  ends.push(drop);
  const dataDir = mkdtempSync(join(tmpdir(), 'registry-upgrade-'));
  const db = new Kysely<never>({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: database }) }) });
  await makeOlderRegistry(db, 'postgres', dataDir);
  await db.destroy();
  const registry = await RegistryUnderTest.open(database, dataDir);
  ends.push(() => registry.close());
  await checkUpgraded(registry);
});

test('nodes that start at once on an empty database migrate it once', async () => {
  const { database, drop } = await emptyPostgres(postgres);
  ends.push(drop);
  const opened = await Promise.allSettled(
    Array.from({ length: 5 }, () => openDatabase({ kind: 'postgres', url: database })),
  );
  const nodes = opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  ends.push(() => Promise.all(nodes.map((node) => node.close())));
  assert.deepEqual(
    opened.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : [])),
    [],
  );
  for (const node of nodes) {
    const found = await node.read((db) => db.selectFrom('experiments').select('name').execute());
    assert.deepEqual(found, [{ name: 'Default' }]);
  }
});
