import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { AliasMemory } from './alias-memory.ts';
import { type AliasSource, RouteAliases } from './aliases.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-aliases-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const naming = (version: string) => new Map([['m', new Map([['champion', version]])]]);
const away = async (): Promise<never> => {
  throw new Error('the registry is away');
};
const memory = (file: string): AliasMemory =>
  new AliasMemory(join(folder, file), (error) => assert.fail(String(error)));

function routes(read: AliasSource['read'], loaded: string[], kept?: AliasMemory): RouteAliases {
  const table = () => ({ models: new Map([['m', { versions: loaded.map((version) => ({ version })) }]]) }) as never;
  return new RouteAliases(
    { read, move: away },
    table,
    () => {},
    () => {},
    kept,
  );
}

test('routes go on by what aliases meant last when the registry is away at a start', async () => {
  const before = routes(async () => naming('2'), ['2'], memory('kept/aliases.json'));
  assert.equal(await before.follow(['m']), true);
  const kept = memory('kept/aliases.json');
  await kept.keep(naming('3'));
  await kept.keep(naming('2'));
  const again = routes(away, ['2'], memory('kept/aliases.json'));
  assert.equal(await again.follow(['m']), false);
  again.settle();
  assert.equal(again.versionOf('m', 'champion'), '2');
});

test('what was kept gives way to what the registry says', async () => {
  await memory('old.json').keep(naming('1'));
  const aliases = routes(async () => naming('2'), ['1', '2'], memory('old.json'));
  aliases.settle();
  assert.equal(aliases.versionOf('m', 'champion'), '1');
  await aliases.follow(['m']);
  assert.equal(aliases.versionOf('m', 'champion'), '2');
  await memory('old.json').keep(naming('2'));
  assert.deepEqual(JSON.parse(readFileSync(join(folder, 'old.json'), 'utf8')), { m: { champion: '2' } });
});

test('a file that is missing or damaged is nothing kept', () => {
  assert.equal(memory('none.json').read().size, 0);
  for (const text of ['', '{"m": {"champ', '[]', '{"m": {"champion": 2}}', '{"m": "2"}', 'null']) {
    writeFileSync(join(folder, 'damaged.json'), text);
    assert.equal(memory('damaged.json').read().size, 0, text);
  }
});

test('a version that an alias left serves until the next one is loaded, and not without either', async () => {
  let named = '1';
  const loaded = ['1'];
  const aliases = routes(async () => naming(named), loaded);
  await aliases.follow(['m']);
  named = '2';
  await aliases.refresh();
  assert.equal(aliases.versionOf('m', 'champion'), '1');
  loaded.push('2');
  loaded.shift();
  aliases.settle();
  assert.equal(aliases.versionOf('m', 'champion'), '2');
  loaded.pop();
  aliases.settle();
  assert.equal(aliases.versionOf('m', 'champion'), '');
});
