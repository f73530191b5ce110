import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RegistryUnderTest } from '../../testing/registry.ts';

const FILES = '/api/2.0/mlflow-artifacts/artifacts';
let served: RegistryUnderTest;
before(async () => {
  served = await RegistryUnderTest.open();
});
after(() => served.close());

const put = async (path: string, body: string): Promise<void> => {
  const { status } = await fetch(`${served.url}${FILES}/${path}`, { method: 'PUT', body });
  assert.equal(status, 200, path);
};
const remove = (path: string) => fetch(`${served.url}${FILES}/${path}`, { method: 'DELETE' });
const read = async (path: string): Promise<string> => {
  const answer = await fetch(`${served.url}${FILES}/${path}`);
  return answer.ok ? answer.text() : String(answer.status);
};
/** The folder that clients download a version from. */
const folderOf = async (name: string, version = '1'): Promise<string> => {
  const { artifact_uri } = await served.ok('GET', 'model-versions/get-download-uri', { name, version });
  return artifact_uri.replace('mlflow-artifacts:/', '');
};
const register = async (name: string, source: string): Promise<void> => {
  await served.call('POST', 'registered-models/create', { name });
  await served.ok('POST', 'model-versions/create', { name, source });
};
const digestOf = async (name: string, version = '1'): Promise<unknown> =>
  (await served.ok('GET', `/api/v1/registry/models/${name}/versions/${version}/manifest`)).manifest;
const list = async (path: string): Promise<string[]> =>
  ((await served.ok('GET', FILES, { path })).files ?? []).map((file: { path: string; is_dir: boolean }) =>
    file.is_dir ? `${file.path}/` : file.path,
  );

test('what clients download of a version stays when its source is written anew and deleted', async () => {
  await put('0/a/MLmodel', 'one');
  await put('0/a/data/deep/weights.bin', 'weights');
  await put('0/a/data/z.bin', 'z');
  await register('fixed', 'mlflow-artifacts:/0/a');
  const folder = await folderOf('fixed');
  await put('0/a/MLmodel', 'two');
  await put('0/a/new.bin', 'new');
  assert.equal(await read(`${folder}/MLmodel`), 'one');
  assert.equal((await remove('0/a')).status, 200);
  assert.equal(await read(`${folder}/MLmodel`), 'one');
  assert.equal(await read(`${folder}/data/deep/weights.bin`), 'weights');
  assert.equal(await folderOf('fixed'), folder);
  assert.deepEqual(await list(folder), ['MLmodel', 'data/']);
  assert.deepEqual(await list(`${folder}/data`), ['deep/', 'z.bin']);
  assert.deepEqual(await list(`${folder}/MLmodel`), []);
  assert.equal(await read(`${folder}/new.bin`), '404');
  assert.equal(await read(`${folder}/data`), '404');
  const presigned = `/api/2.0/mlflow-artifacts/presigned/${folder}/MLmodel`;
  assert.equal((await served.ok('GET', presigned)).file_size, 3);
});

test('nobody writes to the files of a version', async () => {
  await put('0/b/MLmodel', 'one');
  await register('read-only', 'mlflow-artifacts:/0/b');
  const folder = await folderOf('read-only');
  const top = folder.split('/')[0];
  for (const path of [`${folder}/MLmodel`, `${folder}/more`, `${top}/x`, top, folder]) {
    const written = await fetch(`${served.url}${FILES}/${path}`, { method: 'PUT', body: 'two' });
    assert.equal(written.status, 400, path);
    assert.match(((await written.json()) as { message: string }).message, /read-only/);
    assert.equal((await remove(path)).status, 400, path);
    const announced = await served.call('POST', '/api/v1/registry/uploads', { path, size: 3 });
    assert.equal(announced.status, 400, path);
  }
  assert.equal(await read(`${folder}/MLmodel`), 'one');
  assert.deepEqual(await list(top), []);
  for (const path of [`${top}/0/1/MLmodel`, `${top}/x/y/z`, `${top}/99999999999999999999/1/a`])
    assert.equal(await read(path), '404', path);
});

test('a copy has the files of its original, not those that lie at the path now', async () => {
  await put('0/c/MLmodel', 'one');
  await register('original', 'mlflow-artifacts:/0/c');
  await served.ok('POST', 'registered-models/alias', { name: 'original', alias: 'champion', version: '1' });
  await put('0/c/MLmodel', 'two');
  await put('0/c/extra', 'extra');
  await register('by-number', 'models:/original/1');
  await register('by-alias', 'models:/original@champion');
  await register('by-uri', `mlflow-artifacts:/${await folderOf('original')}`);
  await remove('0/c');
  await register('copy-of-copy', 'models:/by-number/1');
  for (const name of ['by-number', 'by-alias', 'by-uri', 'copy-of-copy']) {
    assert.equal(await read(`${await folderOf(name)}/MLmodel`), 'one', name);
    assert.deepEqual(await list(await folderOf(name)), ['MLmodel'], name);
  }
  const files = async (name: string) =>
    JSON.parse(Buffer.from((await digestOf(name)) as string, 'base64').toString()).files;
  assert.deepEqual(await files('by-alias'), await files('original'));
  await served.ok('DELETE', 'registered-models/delete', { name: 'original' });
  assert.equal(await read(`${await folderOf('copy-of-copy')}/MLmodel`), 'one');
});

test('files that come after their version was registered are fixed when they are asked for', async () => {
  await register('late', 'mlflow-artifacts:/0/late');
  assert.equal(await folderOf('late'), '0/late');
  await put('0/late/MLmodel', 'one');
  const folder = await folderOf('late');
  await put('0/late/MLmodel', 'two');
  assert.equal(await read(`${folder}/MLmodel`), 'one');
  // A copy of a version whose files have not come has what comes to the original.
  await register('early', 'mlflow-artifacts:/0/early');
  await register('early-copy', 'models:/early/1');
  await put('0/early/MLmodel', 'late');
  assert.equal(await read(`${await folderOf('early-copy')}/MLmodel`), 'late');
});

test('a name given again is another model: its files are others', async () => {
  await put('0/d/MLmodel', 'first');
  await register('again', 'mlflow-artifacts:/0/d');
  const first = await folderOf('again');
  await served.ok('DELETE', 'registered-models/delete', { name: 'again' });
  assert.equal(await read(`${first}/MLmodel`), '404');
  await put('0/d/MLmodel', 'second');
  await register('again', 'mlflow-artifacts:/0/d');
  const { model_versions } = await served.ok('GET', 'model-versions/search', { filter: "name = 'again'" });
  const second = await folderOf('again', model_versions[0].version);
  assert.notEqual(second, first);
  assert.equal(await read(`${second}/MLmodel`), 'second');
  assert.equal(await read(`${first}/MLmodel`), '404');
});
