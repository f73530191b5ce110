import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { INVALID, MISSING, MODEL_ID, ModelsUnderTest } from '../../testing/model-registry.ts';

const models = await ModelsUnderTest.open();
after(() => models.close());
const { registry, refused, model, version } = models;

test('a registered model is created, renamed, described, tagged and deleted', async () => {
  const tags = [{ key: 'team', value: 'a' }];
  const created = await registry.ok('POST', 'registered-models/create', { name: 'life', tags, description: 'one' });
  assert.deepEqual(created.registered_model.tags, tags);
  assert.equal(created.registered_model.description, 'one');
  assert.equal('latest_versions' in created.registered_model, false);
  await refused('POST', 'registered-models/create', { name: 'life' }, [400, 'RESOURCE_ALREADY_EXISTS']);
  await registry.ok('POST', 'registered-models/create', { name: 'taken' });
  await refused('POST', 'registered-models/rename', { name: 'life', new_name: 'taken' }, [
    400,
    'RESOURCE_ALREADY_EXISTS',
  ]);
  await version('life');
  const renamed = await registry.ok('POST', 'registered-models/rename', { name: 'life', new_name: 'after life' });
  assert.equal(renamed.registered_model.name, 'after life');
  assert.equal(renamed.registered_model.latest_versions[0].name, 'after life');
  await refused('GET', 'registered-models/get', { name: 'life' }, MISSING);
  const name = 'after life';
  await registry.ok('PATCH', 'registered-models/update', { name, description: 'two' });
  await registry.ok('POST', 'registered-models/set-tag', { name, key: 'team', value: 'b' });
  await registry.ok('DELETE', 'registered-models/delete-tag', { name, key: 'none' });
  const { registered_model } = await registry.ok('GET', 'registered-models/get', { name });
  assert.deepEqual([registered_model.description, registered_model.tags], ['two', [{ key: 'team', value: 'b' }]]);
  await registry.ok('DELETE', 'registered-models/delete', { name });
  await refused('GET', 'registered-models/get', { name }, MISSING);
  await refused('DELETE', 'registered-models/delete', { name }, MISSING);
  await registry.ok('POST', 'registered-models/create', { name });
  assert.equal((await version(name)).version, '2', 'numbers of a name are not given twice');
});

test('names, tags and descriptions that no model may have are refused', async () => {
  for (const name of [
    '',
    ' ',
    'a/b',
    'a:b',
    '.',
    '..',
    'x'.repeat(257),
    'line\nbreak',
    '\u0000',
    '__proto__',
    'constructor',
    'prototype',
  ])
    await refused('POST', 'registered-models/create', { name }, INVALID);
  const name = await model(1);
  await refused('POST', 'registered-models/set-tag', { name, key: '../up', value: '' }, INVALID);
  await refused('POST', 'model-versions/set-tag', { name, version: '1', key: 'k'.repeat(251), value: '' }, INVALID);
  await refused(
    'POST',
    'model-versions/set-tag',
    { name, version: '1', key: 'k', value: 'v'.repeat(100_001) },
    INVALID,
  );
  await refused('PATCH', 'registered-models/update', { name, description: 'd'.repeat(5001) }, INVALID);
  await refused('GET', 'model-versions/get', { name, version: 'one' }, INVALID);
  await refused('GET', 'model-versions/get', { name, version: '2' }, MISSING);
  await refused('POST', 'model-versions/create', { name: 'no such model', source: `models:/${MODEL_ID}` }, MISSING);
});
