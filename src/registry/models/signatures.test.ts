import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cli } from '../../testing/cli.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';
import { type SignedManifest, trustedKey, verifyManifest } from '../manifest/signature.ts';

const folder = mkdtempSync(join(tmpdir(), 'signatures-'));
const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const signingKey = join(folder, 'signing.pem');
writeFileSync(signingKey, privateKey.export({ type: 'pkcs8', format: 'pem' }));
const trusted = [trustedKey(publicKey.export({ type: 'spki', format: 'pem' }))];
let served: RegistryUnderTest;
before(async () => {
  served = await RegistryUnderTest.open(undefined, undefined, undefined, undefined, { signingKey });
});
after(async () => {
  await served.close();
  rmSync(folder, { recursive: true, force: true });
});

const register = async (name: string, source: string): Promise<void> => {
  await served.call('POST', 'registered-models/create', { name });
  await served.ok('POST', 'model-versions/create', { name, source });
};
const put = (path: string, body: string) =>
  fetch(`${served.url}/api/2.0/mlflow-artifacts/artifacts/${path}`, { method: 'PUT', body });
const signedOf = async (name: string, version = '1'): Promise<SignedManifest | undefined> =>
  (await served.ok('GET', `/api/v1/registry/models/${name}/versions/${version}/manifest`)).signed;
const verified = async (name: string): Promise<string[]> =>
  verifyManifest((await signedOf(name)) as SignedManifest, trusted, { name, version: '1' }).files.map(
    ({ digest }) => digest,
  );
const tamper = (name: string): Promise<unknown> =>
  served.registry.database.write((db) =>
    db
      .updateTable('model_version_files')
      .set({ digest: `sha256:${'0'.repeat(64)}` })
      .where('model_key', 'in', (query) =>
        query.selectFrom('registered_models').select('model_key').where('name', '=', name),
      )
      .execute(),
  );

test('a version is signed when it is registered: rows changed later have no valid signature', async () => {
  await put('0/s/model.onnx', 'bytes');
  await register('signed', 'mlflow-artifacts:/0/s');
  assert.equal((await verified('signed')).length, 1);
  await tamper('signed');
  await assert.rejects(verified('signed'), /no trusted key has signed it/);
  // Neither a copy of what somebody changed nor another name makes it genuine.
  await served.ok('POST', 'registered-models/create', { name: 'laundered' });
  const copy = { name: 'laundered', source: 'models:/signed/1' };
  assert.match(await served.refused('POST', 'model-versions/create', copy, 'INVALID_STATE'), /not what was signed/);
  await served.ok('POST', 'registered-models/rename', { name: 'signed', new_name: 'renamed' });
  await assert.rejects(verified('renamed'), /no trusted key has signed it/);
});

test('a renamed model, a copy and files that came late are signed', async () => {
  await put('0/t/model.onnx', 'bytes');
  await register('before', 'mlflow-artifacts:/0/t');
  await register('copy', 'models:/before/1');
  const files = await verified('before');
  assert.deepEqual(await verified('copy'), files);
  await served.ok('POST', 'registered-models/rename', { name: 'before', new_name: 'after' });
  assert.deepEqual(await verified('after'), files);
  await register('late', 'mlflow-artifacts:/0/late');
  await put('0/late/model.onnx', 'late');
  assert.equal((await verified('late')).length, 1);
});

test('a version from a time without a key is unsigned until somebody signs it', async () => {
  await put('0/u/model.onnx', 'bytes');
  await register('old', 'mlflow-artifacts:/0/u');
  await served.registry.database.write((db) => db.deleteFrom('model_version_signatures').execute());
  assert.equal(await signedOf('old'), undefined);
  const { code, out, err } = await cli(['registry', 'sign', 'old', '1', '--admin', served.url]);
  assert.equal(code, 0, err);
  assert.match(out, /version 1 of old is signed with [0-9a-f]{16}/);
  assert.equal((await verified('old')).length, 1);
  await register('empty', 'mlflow-artifacts:/0/nothing');
  assert.equal((await served.call('POST', '/api/v1/registry/models/empty/versions/1/signature')).status, 404);
});

test('a package keeps the signature', async () => {
  await put('0/e/model.onnx', 'bytes');
  await register('packed', 'mlflow-artifacts:/0/e');
  const to = join(folder, 'packed');
  const { code, err } = await cli(['registry', 'export', 'packed', '1', '--to', to, '--admin', served.url]);
  assert.equal(code, 0, err);
  const read = (path: string) => JSON.parse(readFileSync(join(to, path), 'utf8'));
  const [{ digest }] = read('index.json').manifests;
  const { annotations } = read(`blobs/sha256/${digest.slice(7)}`);
  const signed = (await signedOf('packed')) as SignedManifest;
  assert.deepEqual(JSON.parse(annotations['dev.switchyard.signatures']), signed.signatures);
});

test('without a key nothing is signed, and asking for it says what to set', async () => {
  const plain = await RegistryUnderTest.open();
  try {
    await fetch(`${plain.url}/api/2.0/mlflow-artifacts/artifacts/0/p/m.onnx`, { method: 'PUT', body: 'x' });
    await plain.ok('POST', 'registered-models/create', { name: 'plain' });
    await plain.ok('POST', 'model-versions/create', { name: 'plain', source: 'mlflow-artifacts:/0/p' });
    const path = '/api/v1/registry/models/plain/versions/1';
    assert.equal('signed' in (await plain.ok('GET', `${path}/manifest`)), false);
    const { status, json } = await plain.call('POST', `${path}/signature`);
    assert.equal(status, 400);
    assert.match(json.error, /registry\.signingKey/);
  } finally {
    await plain.close();
  }
});
