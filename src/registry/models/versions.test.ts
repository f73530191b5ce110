import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { INVALID, MISSING, MODEL_ID, ModelsUnderTest, OWN, RUN_ID } from '../../testing/model-registry.ts';

const models = await ModelsUnderTest.open();
after(() => models.close());
const { registry, refused, model, version } = models;

test('a version knows its files, its run and its logged model, from every kind of source', async () => {
  const name = await model();
  const uri = async (number: string) =>
    (await registry.ok('GET', 'model-versions/get-download-uri', { name, version: number })).artifact_uri;
  const fromModel = await version(name, { source: `models:/${MODEL_ID}` });
  assert.equal(fromModel.status, 'READY');
  assert.deepEqual([fromModel.run_id, fromModel.model_id], [RUN_ID, MODEL_ID]);
  assert.equal(await uri('1'), `mlflow-artifacts:/0/models/${MODEL_ID}/artifacts`);
  const fromRun = await version(name, { source: `runs:/${RUN_ID}/classifier`, run_id: RUN_ID });
  assert.deepEqual([fromRun.version, fromRun.model_id], ['2', MODEL_ID]);
  assert.equal(await uri('2'), `mlflow-artifacts:/0/models/${MODEL_ID}/artifacts`);
  await version(name, { source: `runs:/${RUN_ID}/old/style` });
  assert.equal(await uri('3'), `mlflow-artifacts:/0/${RUN_ID}/artifacts/old/style`);
  await version(name, { source: 'mlflow-artifacts:/0/some/folder/' });
  assert.equal(await uri('4'), 'mlflow-artifacts:/0/some/folder');
  const copy = await version(name, { source: `models:/${encodeURIComponent(name).replaceAll('%20', ' ')}/1` });
  assert.deepEqual([copy.source, copy.run_id, copy.model_id], [`models:/${name}/1`, RUN_ID, MODEL_ID]);
  assert.equal(await uri('5'), await uri('1'));
  await registry.ok('POST', 'registered-models/alias', { name, alias: 'champion', version: '4' });
  await version(name, { source: `models:/${name}@champion` });
  assert.equal(await uri('6'), 'mlflow-artifacts:/0/some/folder');
});

test('sources that lie elsewhere, lead out or contradict the request are refused', async () => {
  const name = await model();
  for (const source of [
    '/etc/passwd',
    'file:///etc/passwd',
    's3://bucket/model',
    'http://169.254.169.254/latest',
    'mlflow-artifacts:/../../etc',
    'mlflow-artifacts:/0/%2e%2e/%2e%2e/etc',
    'mlflow-artifacts:/0/%252e%252e/etc',
    'mlflow-artifacts:/0/a?b',
    'mlflow-artifacts:/0/a\\..\\b',
    `runs:/${RUN_ID}/../x`,
    `runs:/${RUN_ID}`,
    `runs://host/${RUN_ID}/x`,
    'models:/',
    'models:/a/b/c',
    `models:/${name}/latest`,
    'x'.repeat(3000),
  ])
    await refused('POST', 'model-versions/create', { name, source }, INVALID);
  for (const source of [
    `runs:/${'d'.repeat(32)}/m`,
    `models:/m-${'0'.repeat(32)}`,
    `models:/${name}/7`,
    `models:/${name}@nobody`,
  ])
    await refused('POST', 'model-versions/create', { name, source }, MISSING);
  await refused(
    'POST',
    'model-versions/create',
    { name, source: `runs:/${RUN_ID}/m`, run_id: 'e'.repeat(32) },
    INVALID,
  );
  const other = { name, source: `models:/${MODEL_ID}`, model_id: `m-${'f'.repeat(32)}` };
  await refused('POST', 'model-versions/create', other, INVALID);
  assert.equal((await version(name)).version, '1', 'a refused version takes no number');
});

test('versions are described, staged, tagged and deleted; numbers are not given twice', async () => {
  const name = await model(3);
  await registry.ok('PATCH', 'model-versions/update', { name, version: '1', description: 'first' });
  await registry.ok('POST', 'model-versions/set-tag', { name, version: '1', key: 'k', value: 'v' });
  const one = (await registry.ok('GET', 'model-versions/get', { name, version: '1' })).model_version;
  assert.deepEqual([one.description, one.tags, one.current_stage], ['first', [{ key: 'k', value: 'v' }], 'None']);
  const stage = (number: string, to: string, archive = false) =>
    registry.ok('POST', 'model-versions/transition-stage', {
      name,
      version: number,
      stage: to,
      archive_existing_versions: archive,
    });
  await stage('1', 'production');
  await stage('2', 'Production', true);
  await refused('POST', 'model-versions/transition-stage', { name, version: '1', stage: 'Somewhere' }, INVALID);
  await refused(
    'POST',
    'model-versions/transition-stage',
    { name, version: '1', stage: 'None', archive_existing_versions: true },
    INVALID,
  );
  const latest = async (stages?: string[]) =>
    ((await registry.ok('POST', 'registered-models/get-latest-versions', { name, stages })).model_versions ?? []).map(
      (found: { version: string; current_stage: string }) => `${found.version} ${found.current_stage}`,
    );
  assert.deepEqual(await latest(), ['1 Archived', '2 Production', '3 None']);
  assert.deepEqual(await latest(['Production', 'staging']), ['2 Production']);
  await registry.ok('POST', 'registered-models/alias', { name, alias: 'champion', version: '3' });
  await registry.ok('DELETE', 'model-versions/delete', { name, version: '3' });
  await refused('GET', 'registered-models/alias', { name, alias: 'champion' }, INVALID);
  await refused('GET', 'model-versions/get', { name, version: '3' }, MISSING);
  assert.equal((await version(name)).version, '4');
});

test('versions created at once get a number each', async () => {
  const name = await model();
  const made = await Promise.all(Array.from({ length: 20 }, () => version(name)));
  assert.deepEqual(
    made.map(({ version: number }) => Number(number)).sort((a, b) => a - b),
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
});

test('files that come after a version was registered are its own once it is approved or gets an alias', async () => {
  const name = await model();
  const folder = `late/${name.replace(' ', '-')}`;
  const source = `mlflow-artifacts:/${folder}`;
  for (let i = 0; i < 2; i++) await registry.ok('POST', 'model-versions/create', { name, source });
  const put = (path: string) =>
    fetch(`${registry.url}/api/2.0/mlflow-artifacts/artifacts/${folder}/${path}`, { method: 'PUT', body: path });
  const filesOf = async (number: number): Promise<string[]> => {
    const rows = await registry.registry.database.read((db) =>
      db
        .selectFrom('model_version_files as f')
        .innerJoin('registered_models as m', 'm.model_key', 'f.model_key')
        .select('f.path')
        .where('m.name', '=', name)
        .where('f.version', '=', number)
        .orderBy('f.path')
        .execute(),
    );
    return rows.map(({ path }) => path);
  };
  const watched = async () =>
    (await registry.ok('POST', `${OWN}/serving/watch`, { models: [{ name, alias: 'a', served: 'late' }] })).deployments;
  await put('one');
  await registry.ok('POST', 'registered-models/alias', { name, alias: 'a', version: '1' });
  assert.deepEqual([await filesOf(1), await filesOf(2)], [['one'], []]);
  assert.match((await watched())[0].digest, /^sha256:/);
  await put('two');
  const decision = { state: 'Approved', reason: 'as it is' };
  await registry.ok('PUT', `${OWN}/models/${encodeURIComponent(name)}/versions/2/approval`, decision);
  assert.deepEqual([await filesOf(1), await filesOf(2)], [['one'], ['one', 'two']]);
});

test('requirements are checked where they are set, by either way', async () => {
  const name = await model(1);
  const path = `${OWN}/models/${encodeURIComponent(name)}/versions/1/requirements`;
  await registry.ok('PUT', path, { requirements: { provider: 'cuda' } });
  const tag = async () =>
    ((await registry.ok('GET', 'model-versions/get', { name, version: '1' })).model_version.tags ?? [])[0];
  assert.deepEqual(await tag(), { key: 'switchyard.requirements', value: '{"provider":"cuda"}' });
  await refused('PUT', path, { requirements: { memory: 3 } }, [400, 'invalid_argument']);
  const bad = { name, version: '1', key: 'switchyard.requirements', value: '{' };
  await refused('POST', 'model-versions/set-tag', bad, INVALID);
  await registry.ok('PUT', path, { requirements: {} });
  assert.equal(await tag(), undefined);
});
