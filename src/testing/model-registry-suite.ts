import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type { RegistryUnderTest } from './registry.ts';

const OWN = '/api/v1/registry';
const MODEL_ID = `m-${'0123456789abcdef'.repeat(2)}`;
const RUN_ID = 'c'.repeat(32);

/** The model half of the registry, on a database of its own. `open` gives a registry whose database is empty. */
export function modelRegistrySuite(open: () => Promise<RegistryUnderTest>): void {
  let registry: RegistryUnderTest;
  before(async () => {
    registry = await open();
    await seed(registry);
  });
  after(() => registry.close());

  const refused = async (
    method: string,
    path: string,
    values: Record<string, unknown>,
    [status, code]: readonly [number, string],
  ): Promise<string> => {
    const answer = await registry.call(method, path, values);
    const given = answer.json.error_code ?? answer.json.code;
    assert.deepEqual([answer.status, given], [status, code], JSON.stringify(answer.json));
    return (answer.json.message ?? answer.json.error) as string;
  };
  const INVALID = [400, 'INVALID_PARAMETER_VALUE'] as const;
  const MISSING = [404, 'RESOURCE_DOES_NOT_EXIST'] as const;
  let names = 0;
  /** A model with versions 1 to `versions`. */
  const model = async (versions = 0): Promise<string> => {
    const name = `model ${names++}`;
    await registry.ok('POST', 'registered-models/create', { name });
    for (let i = 0; i < versions; i++) await version(name);
    return name;
  };
  const version = async (name: string, more: Record<string, unknown> = {}): Promise<Record<string, never>> => {
    const values = { name, source: `models:/${MODEL_ID}`, ...more };
    return (await registry.ok('POST', 'model-versions/create', values)).model_version;
  };

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
    for (const name of ['', ' ', 'a/b', 'a:b', '.', '..', 'x'.repeat(257), 'line\nbreak', '\u0000'])
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

  test('aliases follow the rules of MLflow', async () => {
    const name = await model(2);
    const alias = (values: Record<string, unknown>) => ({ name, alias: 'champion', ...values });
    await registry.ok('POST', 'registered-models/alias', alias({ version: '1' }));
    await registry.ok('POST', 'registered-models/alias', alias({ version: '2' }));
    await registry.ok('POST', 'registered-models/alias', alias({ version: '2', alias: 'x'.repeat(255) }));
    const { model_version } = await registry.ok('GET', 'registered-models/alias', alias({}));
    assert.deepEqual([model_version.version, model_version.aliases], ['2', ['champion', 'x'.repeat(255)]]);
    const shown = (await registry.ok('GET', 'registered-models/get', { name })).registered_model;
    assert.deepEqual(shown.aliases[0], { alias: 'champion', version: '2' });
    assert.equal(
      (await registry.ok('GET', 'registered-models/alias', alias({ alias: 'latest' }))).model_version.version,
      '2',
    );
    for (const bad of ['latest', 'LATEST', 'v1', 'V22', 'a b', 'a/b', 'ä', '', 'x'.repeat(256), '__proto__!'])
      await refused('POST', 'registered-models/alias', alias({ alias: bad, version: '1' }), INVALID);
    await refused('POST', 'registered-models/alias', alias({ version: '9' }), MISSING);
    await refused('GET', 'registered-models/alias', alias({ alias: 'nobody' }), INVALID);
    await refused('GET', 'registered-models/alias', { name: 'no such model', alias: 'a' }, MISSING);
    await registry.ok('DELETE', 'registered-models/alias', alias({}));
    await registry.ok('DELETE', 'registered-models/alias', alias({}));
    await refused('DELETE', 'registered-models/alias', { name: 'no such model', alias: 'a' }, MISSING);
    await refused('GET', 'registered-models/alias', alias({}), INVALID);
  });

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
    assert.deepEqual(await search(`name = '${name}'`, { order_by: ['version_number ASC'], max_results: 2 }), [
      '1',
      '2',
    ]);
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

  test('an alias moves only if it points where the mover thinks, and every move is kept with its reason', async () => {
    const name = await model(3);
    const path = `${OWN}/models/${encodeURIComponent(name)}/aliases/champion`;
    const first = await registry.ok('PUT', path, { version: '1', expected_version: null, reason: 'first' });
    assert.deepEqual([first.moved, first.previous], [true, null]);
    await refused('PUT', path, { version: '2', expected_version: null }, [409, 'conflict']);
    await refused('PUT', path, { version: '2', expected_version: '3' }, [409, 'conflict']);
    const before = Date.now();
    await new Promise((resolve) => setTimeout(resolve, 5));
    await registry.ok('PUT', path, { version: '2', expected_version: '1', reason: 'gate passed', actor: 'gate-7' });
    assert.equal((await registry.ok('PUT', path, { version: '2' })).moved, false);
    await registry.ok('DELETE', 'registered-models/alias', { name, alias: 'champion' });
    const { moves } = await registry.ok('GET', `${path}/history`);
    assert.deepEqual(
      moves.map(({ version, previous, actor, reason }: Record<string, string>) => [version, previous, actor, reason]),
      [
        [null, '2', 'tester', ''],
        ['2', '1', 'tester for gate-7', 'gate passed'],
        ['1', null, 'tester', 'first'],
      ],
    );
    const page = await registry.ok('GET', `${path}/history`, { limit: 2 });
    const rest = await registry.ok('GET', `${path}/history`, { limit: 2, page_token: page.next_page_token });
    assert.deepEqual([...page.moves, ...rest.moves], moves);
    await registry.ok('PUT', `${OWN}/models/${encodeURIComponent(name)}/versions/1/approval`, {
      state: 'Approved',
      reason: 'later',
    });
    await registry.ok('DELETE', 'registered-models/delete', { name });
    const then = await registry.ok('GET', `${path}/served`, { at: before });
    assert.deepEqual([then.version, then.reason, then.until !== null, then.approvals], ['1', 'first', true, []]);
    assert.equal((await registry.ok('GET', `${path}/served`)).version, null);
    assert.equal((await registry.ok('GET', `${path}/served`, { at: new Date(before).toISOString() })).version, '1');
    await refused('GET', `${path}/served`, { at: '1000' }, [404, 'not_found']);
    await refused('GET', `${path}/served`, { at: 'yesterday' }, [400, 'invalid_argument']);
  });

  test('of many movers at once exactly one wins each step, and history is an unbroken chain', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 8, maxLength: 24 }), async (targets) => {
        const name = await model(4);
        const path = `${OWN}/models/${encodeURIComponent(name)}/aliases/champion`;
        let wins = 0;
        // Each mover reads, then moves on condition, all of them at once.
        await Promise.all(
          targets.map(async (target) => {
            const { aliases } = await registry.ok('GET', `${OWN}/models/${encodeURIComponent(name)}/aliases`);
            const expected = aliases.length === 0 ? null : aliases[0].version;
            const { status, json } = await registry.call('PUT', path, {
              version: String(target),
              expected_version: expected,
            });
            assert.ok(status === 200 || status === 409, String(status));
            if (status === 200 && json.moved) wins++;
          }),
        );
        const { moves } = await registry.ok('GET', `${path}/history`);
        assert.equal(moves.length, wins);
        const chain = moves.toReversed() as { version: string; previous: string | null }[];
        for (const [i, move] of chain.entries()) assert.equal(move.previous, i === 0 ? null : chain[i - 1].version);
        const { aliases } = await registry.ok('GET', `${OWN}/models/${encodeURIComponent(name)}/aliases`);
        assert.equal(aliases[0].version, chain.at(-1)?.version);
      }),
      { numRuns: 10 },
    );
  });

  test('versions created at once get a number each', async () => {
    const name = await model();
    const made = await Promise.all(Array.from({ length: 20 }, () => version(name)));
    assert.deepEqual(
      made.map(({ version: number }) => Number(number)).sort((a, b) => a - b),
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
  });

  test('a rejected version gets no alias, and some aliases are for approved ones', async () => {
    const name = await model(2);
    const approval = (number: number) => `${OWN}/models/${encodeURIComponent(name)}/versions/${number}/approval`;
    const set = (alias: string, number: string) => ({ name, alias, version: number });
    const path = 'registered-models/alias';
    assert.match(await refused('POST', path, set('approved-only', '1'), [400, 'INVALID_STATE']), /is not approved/);
    await registry.ok('PUT', approval(1), { state: 'Pending', reason: 'asked' });
    await refused('POST', path, set('approved-only', '1'), [400, 'INVALID_STATE']);
    await registry.ok('POST', path, set('other', '1'));
    await registry.ok('PUT', approval(1), { state: 'Approved', reason: 'fine', actor: 'ada' });
    await registry.ok('POST', path, set('approved-only', '1'));
    await registry.ok('PUT', approval(2), { state: 'Rejected', reason: 'biased' });
    assert.match(await refused('POST', path, set('other', '2'), [400, 'INVALID_STATE']), /is rejected/);
    await refused('PUT', approval(2), { state: 'Maybe' }, [400, 'invalid_argument']);
    await refused('PUT', approval(9), { state: 'Approved' }, [404, 'not_found']);
    for (const state of ['Rejected', 'Pending'])
      assert.match(
        await refused('PUT', approval(1), { state, reason: 'late' }, [400, 'failed_precondition']),
        /version 1 of model \d+ has the alias approved-only, .*move it to another version or remove it/,
      );
    const { state, decisions } = await registry.ok('GET', approval(1));
    assert.equal(state, 'Approved');
    assert.deepEqual(
      decisions.map((row: Record<string, string>) => [row.state, row.actor, row.reason]),
      [
        ['Approved', 'tester for ada', 'fine'],
        ['Pending', 'tester', 'asked'],
      ],
    );
    await registry.ok('DELETE', path, { name, alias: 'approved-only' });
    await registry.ok('PUT', approval(1), { state: 'Rejected', reason: 'found out' });
    const { model_version } = await registry.ok('GET', path, { name, alias: 'other' });
    assert.equal(model_version.version, '1', 'an alias for all stays until it is moved');
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
      (await registry.ok('POST', `${OWN}/serving/watch`, { models: [{ name, alias: 'a', served: 'late' }] }))
        .deployments;
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

  webhookTests(() => registry, refused);
}

type Refused = (
  method: string,
  path: string,
  values: Record<string, unknown>,
  expected: readonly [number, string],
) => Promise<string>;

function webhookTests(registry: () => RegistryUnderTest, refused: Refused): void {
  const received: { request: IncomingMessage; body: string }[] = [];
  let statuses: number[] = [];
  const receiver = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on('end', () => {
      received.push({ request, body });
      response.writeHead(statuses.shift() ?? 200).end('thanks');
    });
  });
  before(() => new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve)));
  after(() => {
    receiver.closeAllConnections();
    receiver.close();
  });
  const url = (path: string): string => `http://127.0.0.1:${(receiver.address() as AddressInfo).port}${path}`;
  const until = async (check: () => boolean | Promise<boolean>): Promise<void> => {
    for (let i = 0; i < 400; i++) {
      if (await check()) return;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    assert.fail('not within 10 s');
  };
  const events = [
    { entity: 'REGISTERED_MODEL', action: 'CREATED' },
    { entity: 'MODEL_VERSION_ALIAS', action: 'CREATED' },
  ];

  test('a webhook gets what it asked for, signed as MLflow signs, and nothing else', async () => {
    const { webhook } = await registry().ok('POST', 'webhooks', {
      name: 'hook',
      url: url('/a'),
      events,
      secret: 'geheim',
    });
    assert.equal(webhook.status, 'ACTIVE');
    assert.equal(JSON.stringify(webhook).includes('geheim'), false);
    statuses = [503];
    await registry().ok('POST', 'registered-models/create', { name: 'hooked', tags: [{ key: 'k', value: 'v' }] });
    await registry().ok('POST', 'model-versions/create', { name: 'hooked', source: `models:/${MODEL_ID}` });
    await registry().ok('POST', 'registered-models/alias', { name: 'hooked', alias: 'champion', version: '1' });
    await until(() => received.length >= 3);
    const bodies = received.map(({ body }) => JSON.parse(body) as { entity: string; action: string; data: object });
    const created = bodies.filter(({ entity }) => entity === 'registered_model');
    assert.equal(created.length, 2, 'the refused delivery came again');
    assert.deepEqual(created[0].data, { name: 'hooked', tags: { k: 'v' }, description: null });
    const alias = bodies.find(({ entity }) => entity === 'model_version_alias');
    assert.deepEqual(alias?.data, { name: 'hooked', alias: 'champion', version: '1' });
    for (const { request, body } of received) {
      const id = request.headers['x-mlflow-delivery-id'];
      const signed = `${id}.${request.headers['x-mlflow-timestamp']}.${body}`;
      const mac = createHmac('sha256', 'geheim').update(signed).digest('base64');
      assert.equal(request.headers['x-mlflow-signature'], `v1,${mac}`);
    }
    const tries = received.filter(({ body }) => body.includes('registered_model'));
    assert.equal(tries[0].request.headers['x-mlflow-delivery-id'], tries[1].request.headers['x-mlflow-delivery-id']);
    const path = `${OWN}/webhooks/${webhook.webhook_id}/deliveries`;
    await until(async () => {
      const { deliveries } = await registry().ok('GET', path);
      return deliveries.length === 2 && deliveries.every((row: { state: string }) => row.state === 'delivered');
    });
    const before = received.length;
    await registry().ok('PATCH', `webhooks/${webhook.webhook_id}`, { status: 'DISABLED' });
    await registry().ok('POST', 'registered-models/create', { name: 'not hooked' });
    await registry().ok('DELETE', `webhooks/${webhook.webhook_id}`);
    await refused('GET', `webhooks/${webhook.webhook_id}`, {}, [404, 'RESOURCE_DOES_NOT_EXIST']);
    assert.equal(received.length, before);
  });

  test('a test call tells what came back', async () => {
    const { webhook } = await registry().ok('POST', 'webhooks', { name: 'try', url: url('/t'), events });
    const path = `webhooks/${webhook.webhook_id}/test`;
    assert.deepEqual((await registry().ok('POST', path)).result, {
      success: true,
      response_status: 200,
      response_body: 'thanks',
    });
    statuses = [404];
    const event = { entity: 'MODEL_VERSION_TAG', action: 'SET' };
    assert.equal((await registry().ok('POST', path, { event })).result.success, false);
    assert.equal(JSON.parse(received.at(-1)!.body).data.key, 'example_key');
    await registry().ok('DELETE', `webhooks/${webhook.webhook_id}`);
  });

  test('runs are told in the write that changes them; jobs and drift when another part of the program emits them', async () => {
    const wanted = ['run.created', 'run.updated', 'run.deleted', 'job.created', 'job.updated', 'drift.set'];
    const { webhook } = await registry().ok('POST', `${OWN}/webhooks`, {
      name: 'life',
      url: url('/life'),
      secret: 'geheim',
      events: wanted.map((name) => ({ entity: name.split('.')[0], action: name.split('.')[1] })),
    });
    const of = (): { entity: string; action: string; data: Record<string, unknown> }[] =>
      received.filter(({ request }) => request.url === '/life').map(({ body }) => JSON.parse(body));
    const { run } = await registry().ok('POST', 'runs/create', { experiment_id: '0', run_name: 'told', start_time: 5 });
    const { run_id } = run.info;
    await registry().ok('POST', 'runs/update', { run_id, status: 'FINISHED', end_time: 7 });
    await registry().ok('POST', 'runs/delete', { run_id });
    const { events: told } = registry().registry;
    told.emit('job.created', { job_id: 'j1' });
    told.emit('job.updated', { job_id: 'j1', state: 'Succeeded' });
    told.emit('drift.set', { model: 'churn', feature: 'age', psi: 0.3 });
    // Not one that webhooks know.
    told.emit('run.outputs', { run_id });
    await until(() => of().length >= wanted.length);
    const bodies = new Map(of().map(({ entity, action, data }) => [`${entity}.${action}`, data]));
    assert.deepEqual([...bodies.keys()].sort(), wanted.toSorted());
    const common = { run_id, experiment_id: '0' };
    assert.deepEqual(bodies.get('run.created'), {
      ...common,
      run_name: 'told',
      user_id: '',
      start_time: 5,
      status: 'RUNNING',
    });
    assert.deepEqual(bodies.get('run.updated'), { ...common, run_name: 'told', status: 'FINISHED', end_time: 7 });
    assert.deepEqual(bodies.get('run.deleted'), { ...common, lifecycle_stage: 'deleted' });
    assert.deepEqual(bodies.get('job.updated'), { job_id: 'j1', state: 'Succeeded' });
    assert.deepEqual(bodies.get('drift.set'), { model: 'churn', feature: 'age', psi: 0.3 });
    for (const { request, body } of received.filter((each) => each.request.url === '/life')) {
      const signed = `${request.headers['x-mlflow-delivery-id']}.${request.headers['x-mlflow-timestamp']}.${body}`;
      const mac = createHmac('sha256', 'geheim').update(signed).digest('base64');
      assert.equal(request.headers['x-mlflow-signature'], `v1,${mac}`);
    }
    await registry().ok('DELETE', `${OWN}/webhooks/${webhook.webhook_id}`);
  });

  test('versions, aliases that go, decisions and gateways are told, once each', async () => {
    const wanted = [
      'gateway.created',
      'gateway.updated',
      'model_version.created',
      'model_version_alias.deleted',
      'model_version_approval.set',
      'model_version_evidence.created',
    ];
    const { webhook } = await registry().ok('POST', `${OWN}/webhooks`, {
      name: 'decisions',
      url: url('/decisions'),
      events: wanted.map((name) => ({ entity: name.split('.')[0], action: name.split('.')[1] })),
    });
    const name = 'decided upon';
    const version = `${OWN}/models/${encodeURIComponent(name)}/versions/1`;
    await registry().ok('POST', 'registered-models/create', { name });
    await registry().ok('POST', 'model-versions/create', { name, source: `models:/${MODEL_ID}` });
    await registry().ok('POST', 'registered-models/alias', { name, alias: 'champion', version: '1' });
    await registry().ok('DELETE', 'registered-models/alias', { name, alias: 'champion' });
    await registry().ok('PUT', `${version}/approval`, { state: 'Approved', reason: 'fine' });
    await registry().ok('POST', `${version}/evidence`, { kind: 'gate', outcome: 'pass' });
    const models = [{ served: 's', name, alias: 'champion', version: '1', digest: '', state: 'READY', problem: '' }];
    const report = { host: 'h', program_version: '1', started_at: 1, models };
    for (let i = 0; i < 2; i++) await registry().ok('PUT', `${OWN}/gateways/told-gateway`, report);
    const of = () => received.filter(({ request }) => request.url === '/decisions').map(({ body }) => JSON.parse(body));
    const path = `${OWN}/webhooks/${webhook.webhook_id}/deliveries`;
    await until(async () => {
      const { deliveries } = await registry().ok('GET', path);
      return (
        deliveries.length >= wanted.length && deliveries.every((row: { state: string }) => row.state === 'delivered')
      );
    });
    const told = new Map(of().map(({ entity, action, data }) => [`${entity}.${action}`, data]));
    assert.deepEqual(
      of()
        .map(({ entity, action }) => `${entity}.${action}`)
        .sort(),
      wanted,
    );
    assert.deepEqual(told.get('gateway.created'), { gateway_id: 'told-gateway', host: 'h', program_version: '1' });
    assert.equal(told.get('gateway.updated').version, '1');
    assert.deepEqual(told.get('model_version_alias.deleted'), { name, alias: 'champion' });
    assert.equal(told.get('model_version.created').version, '1');
    assert.deepEqual(
      [told.get('model_version_approval.set').state, told.get('model_version_approval.set').reason],
      ['Approved', 'fine'],
    );
    assert.equal(told.get('model_version_evidence.created').outcome, 'pass');
    await registry().ok('DELETE', `${OWN}/webhooks/${webhook.webhook_id}`);
  });

  test("MLflow's clients see only webhooks and events that they know", async () => {
    const mixed = [...events, { entity: 'RUN', action: 'CREATED' }];
    const { webhook } = await registry().ok('POST', `${OWN}/webhooks`, {
      name: 'mixed',
      url: url('/m'),
      events: mixed,
    });
    const own = await registry().ok('POST', `${OWN}/webhooks`, { name: 'own', url: url('/o'), events: mixed.slice(2) });
    assert.equal(webhook.events.length, 3);
    const listed = await registry().ok('GET', 'webhooks');
    assert.deepEqual(
      listed.webhooks.map(({ name }: { name: string }) => name),
      ['mixed'],
    );
    assert.equal(listed.webhooks[0].events.length, 2);
    assert.equal((await registry().ok('GET', `${OWN}/webhooks`)).webhooks.length, 2);
    await refused('GET', `webhooks/${own.webhook.webhook_id}`, {}, [404, 'RESOURCE_DOES_NOT_EXIST']);
    await registry().ok('DELETE', `webhooks/${webhook.webhook_id}`);
    await registry().ok('DELETE', `${OWN}/webhooks/${own.webhook.webhook_id}`);
  });

  test('webhooks that could reach what they must not, or ask for nothing, are refused', async () => {
    const invalid = [400, 'INVALID_PARAMETER_VALUE'] as const;
    const good = { name: 'good', url: url('/g'), events };
    for (const bad of [
      { url: 'http://10.0.0.1/' },
      { url: 'http://[::1]/' },
      { url: 'file:///etc/passwd' },
      { url: 'http://user:pass@127.0.0.1/' },
      { url: 'nonsense' },
      { name: '-bad-' },
      { name: 'x'.repeat(64) },
      { events: [] },
      { events: [{ entity: 'MODEL_VERSION', action: 'EXPLODED' }] },
      { events: ['model_version.created'] },
      { status: 'SLEEPY' },
    ])
      await refused('POST', 'webhooks', { ...good, ...bad }, invalid);
    await refused('PATCH', 'webhooks/none', { name: 'x' }, [404, 'RESOURCE_DOES_NOT_EXIST']);
    await refused('GET', 'webhooks', { page_token: '!' }, invalid);
  });
}

/** A run with a commit and a dataset, and a logged model, as a client would have left them. */
async function seed({ registry }: RegistryUnderTest): Promise<void> {
  await registry.database.write(async (db) => {
    const { run_key } = await db
      .insertInto('runs')
      .values({
        run_id: RUN_ID,
        experiment_id: 0,
        run_name: 'seed',
        user_id: 'tester',
        status: 'FINISHED',
        lifecycle_stage: 'active',
        start_time: 1,
        end_time: 2,
        deleted_time: null,
        artifact_uri: `mlflow-artifacts:/0/${RUN_ID}/artifacts`,
      })
      .returning('run_key')
      .executeTakeFirstOrThrow();
    await db
      .insertInto('tags')
      .values({ run_key, experiment_id: 0, key: 'mlflow.source.git.commit', value: 'abc123', json: '{}' })
      .execute();
    const { dataset_key } = await db
      .insertInto('datasets')
      .values({
        experiment_id: 0,
        name: 'iris',
        digest: 'd1g35t',
        source_type: 'local',
        source: '{}',
        schema: null,
        profile: null,
      })
      .returning('dataset_key')
      .executeTakeFirstOrThrow();
    await db.insertInto('run_datasets').values({ run_key, dataset_key, tags: '[]', context: 'training' }).execute();
    await db
      .insertInto('logged_models')
      .values({
        model_id: MODEL_ID,
        experiment_id: 0,
        name: 'classifier',
        artifact_uri: `mlflow-artifacts:/0/models/${MODEL_ID}/artifacts`,
        model_type: '',
        source_run_id: RUN_ID,
        status: 'LOGGED_MODEL_READY',
        status_message: '',
        lifecycle_stage: 'active',
        creation_time: 1,
        last_update_time: 1,
      })
      .execute();
  });
}
