import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { INVALID, MISSING, ModelsUnderTest, OWN } from '../../testing/model-registry.ts';

const models = await ModelsUnderTest.open();
after(() => models.close());
const { registry, refused, model } = models;

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
  for (const none of [{}, { reason: '' }, { reason: ' ' }])
    assert.match(
      await refused('PUT', approval(2), { state: 'Rejected', ...none }, [400, 'invalid_argument']),
      /say why/,
    );
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
