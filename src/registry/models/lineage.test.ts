import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { MODEL_ID, ModelsUnderTest, OWN } from '../../testing/model-registry.ts';

const models = await ModelsUnderTest.open();
after(() => models.close());
const { registry, refused, model } = models;

test('lineage leads from commit and data to what serves, and back', async () => {
  const name = await model(1);
  const base = `${OWN}/models/${encodeURIComponent(name)}/versions/1`;
  await registry.ok('POST', `${base}/evidence`, { kind: 'gate', outcome: 'pass', detail: { auc: 0.9 } });
  await refused('POST', `${base}/evidence`, { kind: 'gate', outcome: 'perhaps' }, [400, 'invalid_argument']);
  await registry.ok('POST', 'registered-models/alias', { name, alias: 'champion', version: '1' });
  const lineage = await registry.ok('GET', `${base}/lineage`);
  assert.equal(lineage.run.commit, 'abc123');
  assert.deepEqual(
    lineage.run.datasets.map((set: Record<string, string>) => [set.name, set.digest, set.context]),
    [['iris', 'd1g35t', 'training']],
  );
  assert.equal(lineage.logged_model.model_id, MODEL_ID);
  assert.deepEqual([lineage.evidence[0].kind, lineage.evidence[0].detail], ['gate', { auc: 0.9 }]);
  assert.equal(lineage.alias_moves[0].alias, 'champion');
  const count = { name, version: '1', route: 'r', variant: 'v', role: 'arm', first_at: 5, last_at: 9 };
  const report = (gateway: string, started_at: number, requests: number) =>
    registry.ok('PUT', `${OWN}/gateways/${gateway}`, {
      started_at,
      models: [],
      routes: [{ name, version: '1', route: 'r', variant: 'v' }],
      decisions: [
        { ...count, requests, errors: 1 },
        { ...count, name: 'nobody', requests: 1, errors: 1 },
      ],
    });
  // Two processes of one gateway, the first of which reports twice, and another gateway.
  for (const [gateway, started, requests] of [
    ['lineage-a', 1, 3],
    ['lineage-a', 1, 10],
    ['lineage-a', 2, 5],
    ['lineage-b', 1, 1],
  ] as const)
    await report(gateway, started, requests);
  const { routes, decisions } = await registry.ok('GET', `${base}/lineage`);
  assert.deepEqual(routes.map((row: Record<string, string>) => [row.route, row.variant, row.gateway_id]).sort(), [
    ['r', 'v', 'lineage-a'],
    ['r', 'v', 'lineage-b'],
  ]);
  const { name: _, version: __, ...where } = count;
  assert.deepEqual(decisions, [{ ...where, requests: 16, errors: 3, gateways: 2 }]);
  const bad = { started_at: 1, models: [], decisions: [{ ...count, requests: -1, errors: 0 }] };
  await refused('PUT', `${OWN}/gateways/lineage-a`, bad, [400, 'invalid_argument']);
  for (const from of [{ commit: 'abc123' }, { dataset: 'd1g35t' }, { dataset: 'iris' }]) {
    const { versions } = await registry.ok('GET', `${OWN}/lineage`, from);
    const found = versions.find((row: { name: string }) => row.name === name);
    assert.deepEqual([found.version, found.aliases], ['1', ['champion']]);
  }
  assert.deepEqual((await registry.ok('GET', `${OWN}/lineage`, { commit: 'other' })).versions, []);
  await refused('GET', `${OWN}/lineage`, {}, [400, 'invalid_argument']);
});

test('who moved a version to which stage is kept, also of versions that were archived by it', async () => {
  const name = await model(2);
  const told: Record<string, unknown>[] = [];
  const end = registry.registry.events.subscribe(({ type, data }) => {
    if (type === 'model_version_stage.set') told.push(data);
  });
  const move = (version: string, stage: string, archive_existing_versions = false) =>
    registry.ok('POST', 'model-versions/transition-stage', { name, version, stage, archive_existing_versions });
  const before = Date.now();
  await move('1', 'Staging');
  await move('1', 'Production');
  await move('1', 'production');
  await move('2', 'Production', true);
  end();
  const moves = async (version: string): Promise<string[]> => {
    const { stage_moves } = await registry.ok(
      'GET',
      `${OWN}/models/${encodeURIComponent(name)}/versions/${version}/lineage`,
    );
    for (const { at } of stage_moves) assert.ok(at >= before && at <= Date.now());
    return stage_moves.map((row: Record<string, string>) => `${row.previous} ${row.stage} ${row.actor}`);
  };
  assert.deepEqual(await moves('1'), [
    'None Staging tester',
    'Staging Production tester',
    'Production Archived tester',
  ]);
  assert.deepEqual(await moves('2'), ['None Production tester']);
  const common = { name, actor: 'tester' };
  assert.deepEqual(told, [
    { ...common, version: '1', stage: 'Staging', previous: 'None' },
    { ...common, version: '1', stage: 'Production', previous: 'Staging' },
    { ...common, version: '1', stage: 'Archived', previous: 'Production' },
    { ...common, version: '2', stage: 'Production', previous: 'None' },
  ]);
});
