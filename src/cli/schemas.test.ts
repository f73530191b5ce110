import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { cli } from '../testing/cli.ts';
import { openDatasets } from '../testing/datasets.ts';

const folder = mkdtempSync(join(tmpdir(), 'schemas-cli-'));
const { server } = await openDatasets({ folders: [folder] });
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

const run = (...args: string[]) => cli(['schemas', ...args, '--admin', server.url]);

test('infers, shows, puts and lists versions of schemas', async () => {
  const rows = join(folder, 'rows.csv');
  writeFileSync(rows, 'age,city\n20,Bonn\n30,Bonn\n40,Mainz\n50,Mainz\n');
  assert.equal((await cli(['datasets', 'create', 'people', rows, '--admin', server.url])).code, 0);
  const inferred = await run('infer', 'adults', '--dataset', 'people');
  assert.equal(inferred.out, 'schema adults version 1', inferred.err);
  const file = join(folder, 'schema.yaml');
  const text = (await run('get', 'adults')).out;
  assert.match(text, /^fields:\n {2}age:\n/);
  writeFileSync(file, text.replace('max: 50', 'max: 120'));
  assert.equal((await run('put', 'adults', file)).out, 'schema adults version 2');
  assert.equal((await run('put', 'adults', file)).out, 'schema adults version 2', 'the same again is that version');
  assert.equal(JSON.parse((await run('get', 'adults', '-o', 'json')).out).schema.fields.age.max, 120);
  assert.equal(JSON.parse((await run('get', 'adults', '--version', '1', '-o', 'json')).out).schema.fields.age.max, 50);
  writeFileSync(file, 'fields: {a: {min: 1}}\n');
  await run('put', 'other', file);
  const listed = (await run('list')).out.split('\n');
  assert.match(listed[1], /^adults +2 +2 +- /);
  assert.match(listed[2], /^other +1 +1 +- /);
  assert.equal(listed.length, 3, 'of each name the latest version');
  const versions = (await run('versions', 'adults')).out.split('\n');
  assert.match(versions[1], /^adults +2 /);
  assert.match(versions[2], /^adults +1 +2 +people\/1 /);
  assert.equal(versions.length, 3);
  writeFileSync(file, 'fields: {a: {min: 5, max: 1}}\n');
  const refused = await run('put', 'other', file);
  assert.deepEqual([refused.code, /fields\.a: min is above max/.test(refused.err)], [1, true]);
  assert.equal((await run('put', 'other', join(folder, 'none.yaml'))).code, 2);
  assert.match((await run('versions', 'nothing')).err, /there is no schema "nothing"/);
});

test('edits a schema in an editor, and leaves what the server refuses', async () => {
  const file = join(folder, 'edited.yaml');
  writeFileSync(file, 'fields: {a: {max: 10}}\n');
  await run('put', 'edited', file);
  const editor = join(folder, 'editor.mjs');
  const editWith = async (line: string) => {
    writeFileSync(
      editor,
      `import { readFileSync, writeFileSync } from 'node:fs';\nconst file = process.argv.at(-1);\nlet text = readFileSync(file, 'utf8');\n${line}\nwriteFileSync(file, text);\n`,
    );
    const before = { VISUAL: process.env.VISUAL, EDITOR: process.env.EDITOR };
    process.env.VISUAL = '';
    process.env.EDITOR = `${process.execPath} ${editor}`;
    try {
      return await run('edit', 'edited');
    } finally {
      for (const [name, value] of Object.entries(before))
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
    }
  };
  assert.equal((await editWith('')).out, 'schema edited version 1', 'nothing was changed');
  const edited = await editWith("text = text.replace('max: 10', 'max: 20');");
  assert.equal(edited.out, 'schema edited version 2', edited.err);
  const refused = await editWith("text = text.replace('a:', 'a:\\n    min: 30');");
  assert.equal(refused.code, 1);
  const left = /what you wrote is in (.+)$/.exec(refused.err)?.[1] ?? '';
  assert.match(readFileSync(left, 'utf8'), /min: 30/);
  rmSync(left);
  const failed = await editWith('process.exit(1);');
  assert.deepEqual([failed.code, /nothing was kept/.test(failed.err)], [2, true]);
});
