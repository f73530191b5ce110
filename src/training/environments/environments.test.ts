import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { tinyWheel } from '../../testing/wheel.ts';
import { EnvironmentError, type EnvironmentSettings, Environments } from './environments.ts';
import { environmentKey, requirementsProblem } from './requirements.ts';

const root = mkdtempSync(join(tmpdir(), 'environments-'));
after(() => rmSync(root, { recursive: true, force: true }));

/** A package index of this machine: a folder with one package, so that no test needs a network. */
const wheels = join(root, 'wheels');

function environments(changes: Partial<EnvironmentSettings> = {}): Environments {
  return new Environments({
    folder: join(root, 'kept'),
    pythons: { default: 'python3' },
    installer: 'pip',
    arguments: ['--no-index', '--find-links', wheels],
    timeoutMs: 120_000,
    keepMs: 1000,
    ...changes,
  });
}

const count = (): number => readdirSync(join(root, 'kept', '.builds')).length;

describe('environments', { timeout: 600_000 }, () => {
  tinyWheel(wheels);
  const shared = environments();
  let first = '';

  test('is built once for all who ask at a time, also from two servers, and its scripts run', async () => {
    const other = environments();
    const asked = [shared, shared, other].map((one) => one.provide('tiny-sy==1.0\n', 'default'));
    const found = new Set(await Promise.all(asked));
    assert.equal(found.size, 1);
    [first] = found;
    assert.equal(count(), 1);
    assert.equal(execFileSync(join(first, 'bin', 'tiny-sy'), { encoding: 'utf8' }), 'tiny at work\n');
    assert.equal(await environments().provide('# the same\n\ntiny-sy==1.0', 'default'), first);
  });

  test('what does not resolve: why, the end of the output, the next step, and nothing left behind', async () => {
    const failing = shared.provide('no-such-package-sy==9', 'default');
    await assert.rejects(failing, (error: EnvironmentError) => {
      assert.ok(error instanceof EnvironmentError);
      assert.match(error.message, /the requirements could not be installed: ERROR: No matching distribution/);
      assert.match(error.tail, /no-such-package-sy/);
      assert.match(error.nextStep, /correct spec\.environment\.requirements/);
      assert.equal(error.passing, false);
      return true;
    });
    assert.equal(count(), 1);
  });

  test('an interpreter that is not there, and one that is not known', async () => {
    const missing = environments({ pythons: { default: '/no/such/python' } });
    await assert.rejects(missing.provide('', 'default'), /the interpreter \/no\/such\/python does not run/);
    await assert.rejects(shared.provide('', 'other'), /"other" is not in training\.pythons; there are: default/);
  });

  test('what nobody has used for long is collected, what was used is not', async () => {
    const old = new Date(Date.now() - 5000);
    utimesSync(join(first, '.switchyard-used'), old, old);
    await shared.provide('tiny-sy==1.0', 'default');
    assert.equal(await shared.collect(Date.now()), 0);
    utimesSync(join(first, '.switchyard-used'), old, old);
    assert.equal(await shared.collect(Date.now()), 1);
    assert.equal(existsSync(first), false);
  });
});

test('a key follows packages, Python and platform, and neither order nor comments', () => {
  const python = { program: 'python3', version: '3.11.7 cpython', platform: 'linux-x86_64' };
  const key = (text: string, more: object = {}): string => environmentKey(text, { ...python, ...more }, []);
  assert.equal(key('a==1\nb==2'), key('# first\nb==2  # second\n\na==1\n'));
  assert.notEqual(key('a==1'), key('a==2'));
  assert.notEqual(key('a==1'), key('a==1', { version: '3.12.0 cpython' }));
  assert.notEqual(key('a==1'), key('a==1', { platform: 'linux-aarch64' }));
  assert.notEqual(key('a==1'), environmentKey('a==1', python, ['--pre']));
});

test('requirements are packages: no options, no paths of the server, no shell', () => {
  assert.equal(
    requirementsProblem('numpy>=1.26 # x\ntorch==2.4 ; python_version < "3.13"\npkg @ https://host/a.whl'),
    undefined,
  );
  assert.equal(requirementsProblem('a==1 \\\n  --hash=sha256:00ff'), undefined);
  assert.match(requirementsProblem('--index-url http://evil') ?? '', /is an option of pip/);
  assert.match(requirementsProblem('-e .') ?? '', /is an option of pip/);
  assert.match(requirementsProblem('x\n-r other.txt') ?? '', /is an option of pip/);
  for (const path of ['./local', '/etc', 'pkg @ file:///etc/passwd'])
    assert.match(requirementsProblem(path) ?? '', /is a path of the server/);
  assert.match(requirementsProblem('pkg$(id)') ?? '', /no shell runs here/);
});
