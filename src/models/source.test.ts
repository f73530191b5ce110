import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ScannedVersion } from './repository/scan.ts';
import { readSource } from './source.ts';

const absent = (version: string, problem: string): ScannedVersion => ({ version, directory: '', files: [], problem });

async function reasonOf(versions: ScannedVersion[]): Promise<string> {
  const scanned = { name: 'm', directory: '', configFile: '', versions, files: [], fingerprint: '', error: '' };
  const error: Error = await readSource({ scanned, configJson: '' }, { gpus: 0, defaultIsolation: 'thread' }).then(
    () => assert.fail('it was read'),
    (thrown) => thrown,
  );
  return error.message;
}

test('a model none of whose versions may be served says why, not that it has no backend', async () => {
  assert.equal(await reasonOf([absent('3', 'needs 8 GPUs; this gateway has 0')]), 'needs 8 GPUs; this gateway has 0');
  assert.equal(
    await reasonOf([absent('3', 'needs 8 GPUs'), absent('4', 'its digest differs')]),
    'version 3: needs 8 GPUs; version 4: its digest differs',
  );
  const here = { version: '5', directory: '/v/5', files: [] };
  assert.match(await reasonOf([absent('3', 'needs 8 GPUs'), here]), /no backend is named/);
});
