import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cli } from '../../testing/cli.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';

let served: RegistryUnderTest;
before(async () => {
  served = await RegistryUnderTest.open();
});
after(() => served.close());

const OWN = '/api/v1/registry/models';
/** A time that no write shares with another. */
async function moment(): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 3));
  const now = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 3));
  return now;
}
const create = (name: string) => served.ok('POST', 'registered-models/create', { name });
const version = async (name: string): Promise<string> =>
  (await served.ok('POST', 'model-versions/create', { name, source: `mlflow-artifacts:/0/${name}` })).model_version
    .version;
const point = (name: string, alias: string, to: string, reason = '') =>
  served.ok('PUT', `${OWN}/${name}/aliases/${alias}`, { version: to, reason });
const at = async (name: string, alias: string, time: number): Promise<unknown[]> => {
  const answer = await served.ok('GET', `${OWN}/${name}/aliases/${alias}/served`, { at: time });
  return [answer.version, answer.reason];
};
const moves = async (name: string, alias: string): Promise<unknown[]> =>
  (await served.ok('GET', `${OWN}/${name}/aliases/${alias}/history`)).moves.map(
    (move: { name: string; version: string | null; previous: string | null }) => [
      move.name,
      move.version,
      move.previous,
    ],
  );

test('a name that is given again keeps the history of the model that had it before, and its version numbers', async () => {
  await create('reused');
  const first = await version('reused');
  await point('reused', 'champion', first, 'the first one');
  const then = await moment();
  await served.ok('DELETE', 'registered-models/delete', { name: 'reused' });
  const between = await moment();
  await create('reused');
  const second = await version('reused');
  assert.equal(second, '2', 'a number is not given twice');
  assert.deepEqual(await at('reused', 'champion', await moment()), [null, 'the model was deleted']);
  await point('reused', 'champion', second, 'the second one');
  assert.deepEqual(await at('reused', 'champion', then), ['1', 'the first one']);
  assert.deepEqual(await at('reused', 'champion', between), [null, 'the model was deleted']);
  assert.deepEqual(await at('reused', 'champion', await moment()), ['2', 'the second one']);
  assert.deepEqual(await moves('reused', 'champion'), [
    ['reused', '2', null],
    ['reused', null, '1'],
    ['reused', '1', null],
  ]);
  await served.ok('DELETE', 'registered-models/delete', { name: 'reused' });
  await create('reused');
  assert.equal(await version('reused'), '3');
});

test('a renamed model is followed under both names, each for its time', async () => {
  await create('old');
  await point('old', 'champion', await version('old'), 'first');
  const before = await moment();
  await served.ok('POST', 'registered-models/rename', { name: 'old', new_name: 'new' });
  const renamed = await moment();
  await create('old');
  const other = await version('old');
  assert.equal(other, '2');
  await point('old', 'champion', other, 'other');
  await point('new', 'champion', await version('new'), 'second');
  const last = await moment();
  assert.deepEqual(await at('old', 'champion', before), ['1', 'first']);
  assert.deepEqual(await at('new', 'champion', before), ['1', 'first']);
  assert.deepEqual(await at('old', 'champion', renamed), [null, 'the model was renamed to "new"']);
  assert.deepEqual(await at('new', 'champion', renamed), ['1', 'the model was renamed from "old"']);
  assert.deepEqual(await at('old', 'champion', last), ['2', 'other']);
  assert.deepEqual(await at('new', 'champion', last), ['2', 'second']);
  assert.deepEqual(await moves('new', 'champion'), [
    ['new', '2', '1'],
    ['new', '1', null],
    ['old', null, '1'],
    ['old', '1', null],
  ]);
  assert.deepEqual(await moves('old', 'champion'), [
    ['old', '2', null],
    ['old', null, '1'],
    ['old', '1', null],
  ]);
  // A name that comes by a rename goes on with its numbers, too.
  await served.ok('DELETE', 'registered-models/delete', { name: 'new' });
  await served.ok('POST', 'registered-models/rename', { name: 'old', new_name: 'new' });
  assert.equal(await version('new'), '3');
});

test('one query tells what every alias of a model meant at a time, and why', async () => {
  await create('many');
  const [one, two] = [await version('many'), await version('many')];
  await point('many', 'champion', one, 'gate passed');
  await point('many', 'challenger', two, 'newest');
  await point('many', 'gone', two);
  await served.ok('DELETE', `${OWN}/many/aliases/gone`, {});
  await served.ok('PUT', `${OWN}/many/versions/1/approval`, { state: 'Approved', reason: 'fine' });
  const then = await moment();
  await point('many', 'champion', two, 'promoted');
  await served.ok('DELETE', 'registered-models/delete', { name: 'many' });
  const answer = await served.ok('GET', `${OWN}/many/served`, { at: then });
  assert.deepEqual(
    answer.aliases.map(({ alias, version, reason, actor, until, approvals }: Record<string, unknown>) => [
      alias,
      version,
      reason,
      actor,
      typeof until,
      (approvals as unknown[]).length,
    ]),
    [
      ['challenger', '2', 'newest', 'tester', 'number', 0],
      ['champion', '1', 'gate passed', 'tester', 'number', 1],
    ],
  );
  assert.equal(answer.at, then);
  assert.deepEqual((await served.ok('GET', `${OWN}/many/served`)).aliases, []);
  assert.equal((await served.call('GET', `${OWN}/nobody/served`)).status, 404);
  assert.deepEqual((await served.ok('GET', `${OWN}/many/served`, { at: 1000 })).aliases, []);
  const time = new Date(then).toISOString();
  const { code, out, err } = await cli(['registry', 'served', 'many', '--at', time, '--admin', served.url]);
  assert.equal(code, 0, err);
  assert.match(out, /challenger +2 .*newest/);
  assert.match(out, /champion +1 .*tester +gate passed/);
});

test('what was known at a time is told, however much came later', async () => {
  await create('busy');
  const one = await version('busy');
  await point('busy', 'champion', one);
  const evidence = (kind: string) => served.ok('POST', `${OWN}/busy/versions/1/evidence`, { kind, outcome: 'pass' });
  await evidence('early');
  await served.ok('PUT', `${OWN}/busy/versions/1/approval`, { state: 'Approved', reason: 'early' });
  const then = await moment();
  await served.registry.database.write(async (db) => {
    const { model_key } = await db
      .selectFrom('registered_models')
      .select('model_key')
      .where('name', '=', 'busy')
      .executeTakeFirstOrThrow();
    const common = { model_key, version: 1, at: then + 1000, actor: 'tester' };
    const late = { ...common, kind: 'late', outcome: 'pass' as const, detail: '{}' };
    await db
      .insertInto('version_evidence')
      .values(Array.from({ length: 1001 }, () => late))
      .execute();
    const again = { ...common, state: 'Approved' as const, reason: 'late' };
    await db
      .insertInto('version_approvals')
      .values(Array.from({ length: 1001 }, () => again))
      .execute();
  });
  const [answer] = (await served.ok('GET', `${OWN}/busy/served`, { at: then })).aliases;
  assert.deepEqual(
    [
      ...answer.evidence.map(({ kind }: { kind: string }) => kind),
      ...answer.approvals.map((one: { reason: string }) => one.reason),
    ],
    ['early', 'early'],
  );
});
