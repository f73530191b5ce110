import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { service } from '../../testing/kafka-consumer.ts';
import { emptyPostgres, RegistryUnderTest } from '../../testing/registry.ts';
import { moveAlias } from '../models/aliases.ts';
import type { Resolution } from './types.ts';

const postgres = service('SWITCHYARD_TEST_SOURCE_POSTGRES_URL', '.ci/services/postgres.sh');
const ends: (() => Promise<unknown>)[] = [];
let a: RegistryUnderTest;
let b: RegistryUnderTest;
before(async () => {
  const { database, drop } = await emptyPostgres(postgres);
  ends.push(drop);
  [a, b] = [await RegistryUnderTest.open(database), await RegistryUnderTest.open(database)];
  ends.push(() => Promise.all([a.close(), b.close()]));
  for (const name of ['one', 'two']) {
    await a.ok('POST', 'registered-models/create', { name });
    for (let i = 0; i < 2; i++)
      await a.ok('POST', 'model-versions/create', { name, source: `mlflow-artifacts:/${name}` });
  }
});
after(async () => {
  for (const end of ends.reverse()) await end();
});

const FOLLOW = { models: [], everyAlias: 'champion' };
const move = (name: string, version: string) =>
  a.ok('POST', 'registered-models/alias', { name, alias: 'champion', version });
const onB = (): Promise<Resolution> => b.registry.models.serving.watch(FOLLOW, '', 0, new AbortController().signal);
const served = ({ deployments }: Resolution) => deployments.map(({ name, version }) => `${name} ${version}`);

/** What a watch on node B tells after a change on node A, and does not only find by its last look. */
async function toldByB(mark: string, change: () => Promise<unknown>): Promise<Resolution> {
  const over = AbortSignal.timeout(240_000);
  const answer = b.registry.models.serving.watch(FOLLOW, mark, 3_600_000, over);
  await change();
  const told = await answer;
  assert.equal(over.aborted, false, 'nothing was told for four minutes');
  return told;
}

test('what one node commits, a watch on another one tells', async () => {
  let now = await onB();
  for (const version of ['1', '2', '1', '2']) {
    now = await toldByB(now.mark, () => move('one', version));
    assert.deepEqual(served(now), [`one ${version}`]);
  }
});

test('of moves that overlap, the one that commits last is told, too', async () => {
  await move('one', '1');
  await move('two', '1');
  const before = await onB();
  let commit = (): void => {};
  const held = new Promise<void>((resolve) => {
    commit = resolve;
  });
  let begun = (): void => {};
  const started = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const wish = { name: 'one', alias: 'champion', version: '2', actor: 'tester', reason: '' };
  const { database, commits } = a.registry;
  const early = database.write(async (db) => {
    const context = { policy: { approvedOnly: [] }, signingKey: undefined };
    await moveAlias(db, commits.now(), wish, context, () => {});
    begun();
    await held;
  });
  await started;
  const between = await toldByB(before.mark, () => move('two', '2'));
  assert.deepEqual(served(between), ['one 1', 'two 2']);
  const last = await toldByB(between.mark, async () => {
    commit();
    await early;
  });
  assert.deepEqual(served(last), ['one 2', 'two 2']);
});

test('moves are told beside models that a node with a clock ahead has written', async () => {
  const ahead = Date.now() + 3_600_000;
  await b.registry.database.write((db) =>
    db.updateTable('registered_models').set({ last_updated_time: ahead }).where('name', '=', 'two').execute(),
  );
  const before = await onB();
  const tagged = await toldByB(before.mark, () =>
    a.ok('POST', 'model-versions/set-tag', {
      name: 'one',
      version: '2',
      key: 'switchyard.requirements',
      value: '{"provider":"cuda"}',
    }),
  );
  assert.match(tagged.deployments[0].requirements, /cuda/);
  const moved = await toldByB(tagged.mark, () => move('two', '1'));
  assert.deepEqual(served(moved), ['one 2', 'two 1']);
});
