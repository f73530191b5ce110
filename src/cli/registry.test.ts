import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cli } from '../testing/cli.ts';
import { RegistryUnderTest } from '../testing/registry.ts';

let registry: RegistryUnderTest;
before(async () => {
  registry = await RegistryUnderTest.open();
  await registry.ok('POST', 'registered-models/create', { name: 'churn' });
  for (let i = 0; i < 2; i++)
    await registry.ok('POST', 'model-versions/create', { name: 'churn', source: 'mlflow-artifacts:/0/x' });
});
after(() => registry.close());
const run = (...args: string[]) => cli(['registry', ...args, '--admin', registry.url]);

test('an alias is promoted on condition, and its history tells who and why', async () => {
  const first = await run('promote', 'churn', 'champion', '1', '--expect', 'none', '--reason', 'first');
  assert.deepEqual([first.code, first.out], [0, 'champion of churn points to version 1']);
  const late = await run('promote', 'churn', 'champion', '2', '--expect', 'none');
  assert.equal(late.code, 1);
  assert.match(late.err, /points to version 1, not to no version as expected/);
  assert.equal((await run('promote', 'churn', 'champion', '2', '--expect', '1')).code, 0);
  assert.match((await run('promote', 'churn', 'champion', '2')).out, /pointed already/);
  const { out } = await run('history', 'churn', 'champion');
  assert.deepEqual(
    out.split('\n').map((line) => line.split(/ {2,}/).slice(1)),
    [
      ['MODEL', 'VERSION', 'BEFORE', 'ACTOR', 'REASON'],
      ['churn', '2', '1', 'tester'],
      ['churn', '1', 'none', 'tester', 'first'],
    ],
  );
});

test('approvals, what served, lineage and gateways are told', async () => {
  assert.match((await run('approve', 'churn', '2', '--reason', 'good')).out, /version 2 of churn is Approved/);
  assert.equal((await run('approve', 'churn', '2', '--state', 'Perhaps')).code, 2);
  await registry.ok('PUT', '/api/v1/registry/gateways/gw-1', {
    started_at: 1,
    models: [{ served: 'c', name: 'churn', alias: 'champion', version: '2', digest: '', state: 'READY', problem: '' }],
  });
  const { out } = await run('served', 'churn', 'champion');
  assert.match(out, /version +2\n/);
  assert.match(out, /approval +Approved by tester/);
  assert.match(out, /served by +gw-1 as c/);
  assert.equal((await run('served', 'churn', 'champion', '--at', '1970-01-02')).code, 1);
  assert.equal(JSON.parse((await run('lineage', 'churn', '2')).out).approval, 'Approved');
  assert.match((await run('gateways')).out, /gw-1 +c +churn +2 +champion +READY/);
  assert.match((await run('gateways', 'churn')).out, /gw-1 +c +churn +2/);
  const there = await run('forget', 'gw-1');
  assert.equal(there.code, 1);
  assert.match(there.err, /gateway "gw-1" reports; stop it/);
  await registry.registry.database.write((db) => db.updateTable('gateways').set({ last_seen: 1 }).execute());
  assert.doesNotMatch((await run('gateways')).out, /gw-1/);
  assert.match((await run('gateways', '--all')).out, /gw-1 \(away since 1970/);
  assert.match((await run('forget', 'gw-1')).out, /forgotten/);
  assert.doesNotMatch((await run('gateways', '--all')).out, /gw-1/);
  assert.match((await run('gateways', 'churn')).out, /gw-1 +c +churn +2/, 'its history stays');
  for (const args of [
    ['gateways'],
    ['gateways', 'churn'],
    ['history', 'churn', 'champion'],
    ['served', 'churn', 'champion'],
  ])
    assert.equal(typeof JSON.parse((await run(...args, '-o', 'json')).out), 'object');
});
