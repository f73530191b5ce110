import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { RegistryUnderTest } from '../../testing/registry.ts';

// A file system of 16 MiB; .ci/run mounts one.
const disk = process.env.SWITCHYARD_TEST_SMALL_DISK;

test('uploads that fill the disk are refused with 507, and everything else goes on', async () => {
  assert.ok(disk, 'SWITCHYARD_TEST_SMALL_DISK is not set; mount a small disk with .ci/services/small-disk.sh start');
  const served = await RegistryUnderTest.open(undefined, await mkdtemp(join(disk, 'data-')));
  try {
    const put = (name: string, body: Uint8Array<ArrayBuffer>) =>
      fetch(`${served.url}/api/2.0/mlflow-artifacts/artifacts/a/${name}`, { method: 'PUT', body });
    const big = new Uint8Array(24 * 1024 * 1024);
    assert.equal((await put('before', randomBytes(1000))).status, 200);
    const refused = await put('big', big);
    assert.deepEqual(
      [refused.status, ((await refused.json()) as { error_code: string }).error_code],
      [507, 'RESOURCE_EXHAUSTED'],
    );
    const { upload_id } = await served.ok('POST', '/api/v1/registry/uploads', { path: 'a/parts', size: big.length });
    const part = await fetch(`${served.url}/api/v1/registry/uploads/${upload_id}`, {
      method: 'PATCH',
      headers: { 'Upload-Offset': '0' },
      body: big,
    });
    assert.deepEqual([part.status, ((await part.json()) as { code: string }).code], [507, 'insufficient_storage']);
    assert.deepEqual(await readdir(join(served.dataDir, 'registry', 'staging')), []);
    assert.equal((await put('after', randomBytes(1000))).status, 200);
    const listed = await served.ok('GET', '/api/2.0/mlflow-artifacts/artifacts', { path: 'a' });
    assert.deepEqual(
      listed.files.map(({ path }: { path: string }) => path),
      ['after', 'before'],
    );
  } finally {
    await served.close();
  }
});
