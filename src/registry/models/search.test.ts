import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { sql } from 'kysely';
import { INVALID, ModelsUnderTest, RUN_ID } from '../../testing/model-registry.ts';

const models = await ModelsUnderTest.open();
after(() => models.close());
const { registry, refused, model } = models;

test('models are found by name and tags, ordered and paged; prompts only when asked for', async () => {
  const made: string[] = [];
  for (let i = 0; i < 7; i++) {
    const name = `find-${i}`;
    made.push(name);
    await registry.ok('POST', 'registered-models/create', {
      name,
      tags: [{ key: 'parity', value: i % 2 ? 'odd' : 'Even' }],
    });
  }
  const tags = [{ key: 'mlflow.prompt.is_prompt', value: 'true' }];
  await registry.ok('POST', 'registered-models/create', { name: 'find-prompt', tags });
  const search = async (filter: string, more: Record<string, unknown> = {}) => {
    const found = await registry.ok('GET', 'registered-models/search', { filter, ...more });
    return (found.registered_models ?? []).map(({ name }: { name: string }) => name);
  };
  const usual = "tags.`mlflow.prompt.is_prompt` != 'true'";
  assert.deepEqual(await search(`name LIKE 'find-%' AND ${usual}`), made);
  assert.deepEqual(await search("name LIKE 'find-%' AND tags.`mlflow.prompt.is_prompt` = 'true'"), ['find-prompt']);
  assert.deepEqual(await search("name = 'find-3'"), ['find-3']);
  assert.deepEqual(await search("name IN ('find-3', 'find-5', 'none')"), ['find-3', 'find-5']);
  assert.deepEqual(await search("name ILIKE 'FIND-_' AND tags.parity = 'odd'"), ['find-1', 'find-3', 'find-5']);
  assert.deepEqual(await search("name LIKE 'find-%' AND tags.parity != 'odd'", { order_by: ['name DESC'] }), [
    'find-6',
    'find-4',
    'find-2',
    'find-0',
  ]);
  const paged: string[] = [];
  let token = '';
  do {
    const found = await registry.ok('GET', 'registered-models/search', {
      filter: "name LIKE 'find-%'",
      max_results: 3,
      order_by: ['last_updated_timestamp DESC'],
      page_token: token,
    });
    paged.push(...found.registered_models.map(({ name }: { name: string }) => name));
    token = found.next_page_token ?? '';
  } while (token !== '');
  assert.deepEqual(paged.toSorted(), made);
  for (const bad of [
    { filter: 'nonsense' },
    { filter: "stage = 'x'" },
    { filter: "name = 'a' OR name = 'b'" },
    { max_results: 1001 },
    { max_results: -1 },
    { page_token: 'forged' },
    { order_by: ['tags.x'] },
  ])
    await refused('GET', 'registered-models/search', bad, INVALID);
});

test('versions are found by model, run, source and tags', async () => {
  const name = await model(3);
  await registry.ok('POST', 'model-versions/set-tag', { name, version: '2', key: 'gate', value: 'passed' });
  const search = async (filter: string, more: Record<string, unknown> = {}) => {
    const found = await registry.ok('GET', 'model-versions/search', { filter, ...more });
    return (found.model_versions ?? []).map((row: { version: string }) => row.version);
  };
  assert.deepEqual((await search(`name = '${name}'`)).toSorted(), ['1', '2', '3']);
  assert.deepEqual(await search(`name = '${name}'`, { order_by: ['version_number ASC'], max_results: 2 }), ['1', '2']);
  assert.deepEqual(await search(`name = '${name}' AND tags.gate = 'passed'`), ['2']);
  assert.deepEqual(await search(`name = '${name}' AND version_number > 1`, { order_by: ['version_number DESC'] }), [
    '3',
    '2',
  ]);
  assert.deepEqual(await search(`name = '${name}' AND run_id = '${RUN_ID}'`, { order_by: ['version_number'] }), [
    '1',
    '2',
    '3',
  ]);
  assert.deepEqual(
    await search(`name = '${name}' AND source_path LIKE 'models:/m-%' AND run_id IN ('${RUN_ID}')`, {
      order_by: ['version_number'],
    }),
    ['1', '2', '3'],
  );
  await refused('GET', 'model-versions/search', { filter: "current_stage = 'None'" }, INVALID);
  await refused('GET', 'model-versions/search', { filter: 'version_number > 1.5e400' }, INVALID);
});

test('a page holds versions of more models than a statement takes parameters', async () => {
  const models = 33_000;
  const { database } = registry.registry;
  await database.write(async (db) => {
    const { rows } = await sql<{ model_key: number }>`
      INSERT INTO registered_models (name, description, creation_time, last_updated_time, next_version)
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${sql.lit(models)})
      SELECT 'many ' || i, '', 1, 1, 2 FROM n RETURNING model_key`.execute(db);
    assert.equal(rows.length, models);
    await sql`
      INSERT INTO model_versions (model_key, version, creation_time, last_updated_time, description, user_id, stage, source,
        storage_location, run_id, run_link, model_id, approval)
      SELECT model_key, 1, 1, 1, '', '', 'None', 'models:/m', '', '', '', '', '' FROM registered_models
      WHERE name LIKE 'many %'`.execute(db);
    await sql`
      INSERT INTO model_version_tags (model_key, version, key, value)
      SELECT model_key, 1, 'of', name FROM registered_models WHERE name LIKE 'many %'`.execute(db);
  });
  const filter = "name LIKE 'many %'";
  const found = await registry.ok('GET', 'model-versions/search', { filter, max_results: 200_000 });
  assert.equal(found.model_versions.length, models);
  for (const { name, tags } of found.model_versions) assert.deepEqual(tags, [{ key: 'of', value: name }]);
});
