import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { scriptRepository, times } from '../testing/script-models.ts';
import { ServerProcess } from '../testing/server-process.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-screen-'));
const root = scriptRepository(folder, { m: { versions: { 1: times(1) } } });
writeFileSync(
  join(folder, 'routes.yaml'),
  'apiVersion: switchyard/v1\nkind: Route\nmetadata: {name: m}\nspec: {variants: {stable: {model: m}}, strategy: {weighted: {stable: 100}}}\n',
);
writeFileSync(join(folder, 'switchyard.yaml'), `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml]}\n`);
const server = await ServerProcess.start(['--config', join(folder, 'switchyard.yaml')]);
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

const CLEAR = '\x1b[H\x1b[J';
const main = fileURLToPath(new URL('main.ts', import.meta.url));

/** What `routes get -w` writes on a terminal of its own, or into a pipe. */
function watched(terminal: boolean, ...flags: string[]): string {
  const words = ['--import', 'tsx', main, 'routes', 'get', 'm', '-w', '--timeout', '0.1', ...flags];
  const admin = ['--admin', `http://127.0.0.1:${server.ports.admin}`];
  const command = [process.execPath, ...words, ...admin].join(' ');
  return terminal
    ? execFileSync('script', ['-qec', command, '/dev/null'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
    : execFileSync('sh', ['-c', command], { encoding: 'utf8' });
}

test('a view is drawn in place on a terminal, and not where a program reads it', () => {
  const drawn = watched(true);
  assert.ok(drawn.startsWith(CLEAR), JSON.stringify(drawn.slice(0, 200)));
  assert.match(drawn, /stable/);
  const told = watched(false);
  assert.match(told, /stable/);
  assert.ok(!told.includes(CLEAR));
  const json = watched(true, '-o', 'json');
  assert.equal((JSON.parse(json) as { name: string }).name, 'm');
});
