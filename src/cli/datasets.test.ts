import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { cli } from '../testing/cli.ts';
import { openDatasets } from '../testing/datasets.ts';

const folder = mkdtempSync(join(tmpdir(), 'datasets-cli-'));
const { server } = await openDatasets({ folders: [folder] });
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

const run = (...args: string[]) => cli(['datasets', ...args, '--admin', server.url]);

test('creates, lists, shows and exports', async () => {
  const file = join(folder, 'trips.csv.gz');
  writeFileSync(file, gzipSync('km,city\n1.5,Bonn\n2.5,Köln\nfar,Bonn\n'));
  const created = await run('create', 'trips', file, '--tag', 'team=geo', '--type', 'km=number', '--max-rejects', '1');
  assert.match(created.out, /^trips version 1: 2 rows, 1 rejected, sha256:/, created.err);
  const listed = await run('list', '--filter', "tags.team = 'geo'");
  assert.match(listed.out, /trips +1 +tabular +2 +2 .* team=geo$/);
  assert.match((await run('get', 'trips')).out, /km +number\ncity +string$/);
  assert.match((await run('profile', 'trips')).out, /km +number +2 +0 +2 +1\.5 +2 +2 +2\.5 +0\.5/);
  const to = join(folder, 'out.jsonl');
  assert.equal((await run('export', 'trips', '--to', to)).code, 0);
  assert.equal(readFileSync(to, 'utf8'), '{"km":1.5,"city":"Bonn"}\n{"km":2.5,"city":"Köln"}\n');
  assert.match((await run('versions', 'trips')).out, /trips +1/);
  assert.match((await run('get', 'trips', '--version', '1')).out, /trips +1 +tabular/);
  assert.match((await run('get', 'trips', '--version', '2')).err, /of version 2/);
});

test('keeps an inferred schema, and finds what a later version has against it', async () => {
  const write = (rows: string) => {
    const file = join(folder, 'checked.csv');
    writeFileSync(file, `age,city\n${rows}`);
    return run('create', 'checked', file);
  };
  await write('20,Bonn\n30,Bonn\n40,Mainz\n50,Mainz\n');
  assert.match((await run('infer-schema', 'checked')).out, /^schema checked version 1\n[\s\S]*"Bonn"/);
  const good = await run('validate', 'checked');
  assert.deepEqual([good.code, good.out], [0, '4 rows are as they must be']);
  await write('20,Bonn\n130,Ulm\n');
  const bad = await run('validate', 'checked', '--training', 'checked');
  assert.equal(bad.code, 1);
  assert.match(bad.out, /error +age +ABOVE_MAX +130 is above 50\nerror +city +VOCABULARY +50\.00 % .*"Ulm"/);
  const file = join(folder, 'schema.yaml');
  writeFileSync(file, 'fields: {age: {max: 200}}\nextra: allow\n');
  assert.equal((await run('validate', 'checked', '--schema', file)).code, 0);
  writeFileSync(file, 'fields: {age: {min: 5, max: 2}}\n');
  assert.match((await run('validate', 'checked', '--schema', file)).err, /fields\.age: min is above max/);
  const { schemas } = await server.ok('GET', '/api/v1/data-schemas', { max_results: 1 });
  assert.deepEqual([schemas[0].name, schemas[0].dataset], ['checked', 'checked/1']);
});

test('has the server read a source and write a target, and says what is wrong', async () => {
  writeFileSync(join(folder, 'in.jsonl'), '{"a":1}\n');
  const source = join(folder, 'source.yaml');
  writeFileSync(source, 'kind: file\npath: in.jsonl\n');
  assert.match((await run('create', 'read', '--source', source)).out, /^read version 1: 1 rows/);
  const target = join(folder, 'target.yaml');
  writeFileSync(target, `kind: file\npath: ${join(folder, 'written.parquet')}\n`);
  assert.equal((await run('export', 'read', '--target', target)).out, '1 rows written');
  writeFileSync(source, 'kind: file\npath: none.jsonl\n');
  const failed = await run('create', 'read', '--source', source);
  assert.equal(failed.code, 1);
  assert.match(failed.err, /there is no such file/);
  assert.match((await run('get', 'nothing')).err, /there is no dataset "nothing"/);
  assert.equal((await run('create', 'x', join(folder, 'none.csv'))).code, 2);
  assert.equal((await run('create', 'x')).code, 2);
});
