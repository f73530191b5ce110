import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { hashApiKey } from '../admission/api-keys.ts';
import { ConfigError, loadConfig } from '../config/load.ts';
import { readAdmissionConfig } from './admission-config.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-admission-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const line = (tenant: string, key: string) => `- {tenant: ${tenant}, sha256: ${hashApiKey(key)}}\n`;

/** The configuration of an admission section beside a file that it names. */
function read(section: string, named: string) {
  writeFileSync(join(folder, 'named.yaml'), named);
  const file = join(folder, 'switchyard.yaml');
  writeFileSync(file, `admission:\n${section}`);
  return readAdmissionConfig(loadConfig(file).admission, folder, file);
}

const KEYS = '  keysFile: named.yaml\n';
const JWKS = '  jwt: [{issuer: i, audience: [a], jwksFile: named.yaml}]\n';

test('a keys file is a list or an object with keys, YAML or JSON, behind the keys of the section', () => {
  const expected = [{ tenant: 'acme', sha256: hashApiKey('k') }];
  assert.deepEqual(read(KEYS, line('acme', 'k')).apiKeys, expected);
  assert.deepEqual(read(KEYS, JSON.stringify({ keys: expected })).apiKeys, expected);
  const both = read(`${KEYS}  apiKeys:\n    ${line('inline', 'i')}`, line('acme', 'k'));
  assert.deepEqual(
    both.apiKeys?.map(({ tenant }) => tenant),
    ['inline', 'acme'],
  );
});

test('what is wrong is told with file, line and column, and without a key', () => {
  const good = line('acme', 'hunter2');
  const cases: [section: string, named: string, expected: RegExp][] = [
    [KEYS, '', /named\.yaml:1:1: admission\.keysFile: the file is empty/],
    [KEYS, `${good}- {`, /named\.yaml:2:\d+: /],
    [KEYS, 'keys: 3', /named\.yaml:1:1: admission\.keysFile: keys: .*expected array/],
    [KEYS, `${good}- 3`, /named\.yaml:2:3: admission\.keysFile: 1: .*expected object/],
    [KEYS, `${good}- {tenant: a, sha256: hunter2}`, /named\.yaml:2:15: admission\.keysFile: 1\.sha256: must be/],
    [KEYS, `${good}- {tenant: a, key: hunter2}`, /named\.yaml:2:15: .*unknown setting '1\.key'/],
    [KEYS, `keys:\n  ${good}  - {tenant: -a, sha256: ${hashApiKey('b')}}`, /named\.yaml:3:6: .*1\.tenant: "-a" is no/],
    [KEYS, `${good}${good}`, /named\.yaml:2:\d+: .*1\.sha256: the same key is already listed for tenant "acme"/],
    [`${KEYS}  apiKeys:\n    ${good}`, good, /named\.yaml:1:\d+: .*0\.sha256: the same key/],
    [`  apiKeys:\n    ${good}    ${good}`, '', /switchyard\.yaml:4:\d+: admission\.apiKeys\[1\]\.sha256: the same key/],
    [KEYS, `${good}---\n${good}`, /named\.yaml:\d+:\d+: .*a second document/],
    [KEYS, `- &a ${good.slice(2)}${'- *a\n'.repeat(200)}`, /named\.yaml:1:1: .*alias/i],
    [KEYS, '#'.repeat(8 * 1024 * 1024 + 1), /named\.yaml:1:1: larger than 8388608 bytes/],
    [JWKS, '[]', /named\.yaml:1:1: admission\.jwt\.jwksFile: .*expected object/],
    [JWKS, '{"keys": [1]}', /named\.yaml:1:11: admission\.jwt\.jwksFile: keys\.0: /],
  ];
  for (const [section, named, expected] of cases) {
    assert.throws(
      () => read(section, named),
      (error: Error) => {
        assert.ok(error instanceof ConfigError, String(error));
        assert.match(error.message, expected);
        assert.ok(!error.message.includes('hunter2'), error.message);
        return true;
      },
    );
  }
  assert.throws(() => readAdmissionConfig({ keysFile: 'absent.yaml' }, folder), /absent\.yaml: cannot be read/);
});
