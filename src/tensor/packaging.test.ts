import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { native, nativeProblem } from './native.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const skip = native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off');

// A package without a build of its own, as npm ci finds it.
const folder = mkdtempSync(join(tmpdir(), 'switchyard-packaging-'));
after(() => rmSync(folder, { recursive: true }));
cpSync(join(ROOT, 'native/src'), join(folder, 'native/src'), { recursive: true });
for (const name of ['build.mjs', 'platform.mjs'])
  copyFileSync(join(ROOT, 'native', name), join(folder, 'native', name));
for (const file of ['src/tensor/native.ts', 'src/shared/program-files.ts']) {
  mkdirSync(join(folder, file, '..'), { recursive: true });
  copyFileSync(join(ROOT, file), join(folder, file));
}
writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
const prebuilt = ((): string => {
  const script = "import('./native/platform.mjs').then(({ prebuiltName }) => console.log(prebuiltName()))";
  const { stdout } = spawnSync(process.execPath, ['-e', script], { cwd: folder, encoding: 'utf8' });
  return join(folder, 'native/prebuilds', stdout.trim());
})();

/** `npm ci`'s build where no compiler can be run. */
function install(...flags: string[]): { status: number | null; said: string } {
  const environment = { ...process.env, CXX: '/nowhere/c++' };
  const script = join(folder, 'native/build.mjs');
  const { status, stderr } = spawnSync(process.execPath, [script, ...flags], { env: environment, encoding: 'utf8' });
  return { status, said: stderr };
}

/** What a thread of this package says of its addon: '' when one is in use. */
function loaded(): string {
  const script = "import('./src/tensor/native.ts').then((m) => console.log(m.native ? '' : m.nativeProblem))";
  const { SWITCHYARD_NATIVE: _, ...environment } = process.env;
  const tsx = import.meta.resolve('tsx');
  const { stdout } = spawnSync(process.execPath, ['--import', tsx, '-e', script], {
    cwd: folder,
    env: environment,
    encoding: 'utf8',
  });
  return stdout.trim();
}

function place(bytes: string): void {
  mkdirSync(join(prebuilt, '..'), { recursive: true });
  writeFileSync(prebuilt, bytes);
}

test('without compiler and prebuilt, the installation succeeds and names the remedy; a wanted build fails', () => {
  const { status, said } = install();
  assert.equal(status, 0, said);
  assert.match(said, /not built: .*\n.*npm run build:native/);
  assert.equal(install('--required').status, 1);
  assert.equal(install('--prebuild').status, 1);
  assert.match(loaded(), /it is not built.*Remedy: /);
});

test('a prebuilt that does not load is named, then compiling is tried', () => {
  place('no library');
  const { status, said } = install();
  assert.equal(status, 0, said);
  assert.match(said, /The prebuilt addon is not used: \S.*\nThe native codecs were not built/);
  assert.match(loaded(), /are not in use \(\S.*\); JSON/);
});

test('a prebuilt of this platform is used, and nothing is compiled', { skip }, () => {
  const builds = ['build/switchyard.node', join('prebuilds', prebuilt.split('/').pop()!)];
  const built = builds.map((name) => join(ROOT, 'native', name)).find((path) => existsSync(path))!;
  place('');
  copyFileSync(built, prebuilt);
  assert.deepEqual(install(), { status: 0, said: '' });
  assert.deepEqual(readdirSync(join(folder, 'native')).sort(), ['build.mjs', 'platform.mjs', 'prebuilds', 'src']);
  assert.equal(loaded(), '');
});
