import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { cli } from '../testing/cli.ts';
import { openDatasets } from '../testing/datasets.ts';

const folder = mkdtempSync(join(tmpdir(), 'dataset-sharing-'));
const { server, services } = await openDatasets({ folders: [folder] });
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

const run = (...args: string[]) => cli(['datasets', ...args, '--admin', server.url]);

async function create(name: string, rows: string): Promise<void> {
  const file = join(folder, `${name}.csv`);
  writeFileSync(file, `a\n${rows}`);
  const { code, err } = await run('create', name, file);
  assert.equal(code, 0, err);
}

test('shares with people beside those who may read already, and takes it away again', async () => {
  await create('shared', '1\n');
  assert.equal((await run('share', 'shared', 'ann', 'jobs')).out, 'shared: everyone may read it');
  const unshared = await run('unshare', 'shared', '*');
  assert.match(unshared.out, /^shared: .+, ann, jobs may read it$/, unshared.err);
  await assert.rejects(services.datasets.get('shared', undefined, { actor: 'bob' }), /not shared with you/);
  assert.deepEqual(JSON.parse((await run('share', 'shared', 'bob', '-o', 'json')).out).readers, ['ann', 'jobs', 'bob']);
  assert.equal((await services.datasets.get('shared', undefined, { actor: 'bob' })).version, 1);
  const stranger = await run('unshare', 'shared', 'eve');
  assert.deepEqual(
    [stranger.code, stranger.err],
    [1, 'error: shared is not shared with eve; it is with ann, jobs, bob'],
  );
  assert.match((await run('unshare', 'shared')).out, /^shared: [^,]+ may read it$/);
  assert.match((await run('share', 'shared', 'not a name')).err, /the reader "not a name" is not allowed/);
});

test('sets tags of the version that is the latest when it begins', async () => {
  await create('tagged', '1\n');
  await create('tagged', '1\n2\n');
  const tagged = await run('tag', 'tagged', 'team=fraud', 'note=a=b');
  assert.equal(tagged.out, 'tagged version 2: note=a=b team=fraud', tagged.err);
  assert.match((await run('list', '--filter', "tags.note = 'a=b'")).out, /tagged +2/);
  const row = JSON.parse((await run('tag', 'tagged', 'team=geo', '--version', '1', '-o', 'json')).out);
  assert.deepEqual([row.version, row.tags], [1, { team: 'geo' }]);
  assert.equal((await run('tag', 'tagged', 'team')).code, 2);
  assert.match((await run('tag', 'nothing', 'a=b')).err, /there is no dataset "nothing"/);
});

test('removes tags of one version, all or none of those that are named', async () => {
  await create('untagged', '1\n');
  await run('tag', 'untagged', 'team=fraud', 'a/b c=1', 'left=x');
  const none = await run('untag', 'untagged', 'team', 'tema');
  assert.deepEqual([none.code, none.err], [1, 'error: untagged version 1 has no tag tema; it has a/b c, left, team']);
  const untagged = await run('untag', 'untagged', 'team', 'a/b c', 'team');
  assert.equal(untagged.out, 'untagged version 1: left=x', untagged.err);
  assert.equal((await run('untag', 'untagged', 'left', '--version', '1')).out, 'untagged version 1: no tags');
  assert.match((await run('untag', 'nothing', 'a')).err, /there is no dataset "nothing"/);
});

test('tells where a version comes from and what was made of it', async () => {
  await create('origin', '1\n');
  const body = 'a\n1\n2\n';
  const parents = encodeURIComponent(JSON.stringify([{ name: 'origin', version: 1 }]));
  const made = await fetch(`${server.url}/api/v1/datasets/made/versions?format=csv&parents=${parents}`, {
    method: 'POST',
    body,
  });
  assert.equal(made.status, 200, await made.text());
  assert.match((await run('lineage', 'origin')).out, /source +upload .*"csv".*\nbecame +made version 1$/);
  assert.match((await run('lineage', 'made', '--version', '1')).out, /made of +origin version 1/);
  assert.deepEqual(JSON.parse((await run('lineage', 'made', '-o', 'json')).out).parents, [
    { name: 'origin', version: 1 },
  ]);
  assert.match((await run('lineage', 'made', '--version', '9')).err, /of version 9/);
});
