import assert from 'node:assert/strict';
import { test } from 'node:test';
import { servedAliases } from './served-aliases.ts';

test('aliases are read and moved by the names that models are served under', async () => {
  const asked: unknown[] = [];
  const source = servedAliases(
    {
      read: async (models) => {
        asked.push(models);
        return new Map([['churn', new Map([['champion', '3']])]]);
      },
      move: async (...wish) => {
        asked.push(wish);
        return '4';
      },
    },
    [{ name: 'churn', served: 'churn-edge' }, { name: 'churn', served: 'churn-shadow' }, { name: 'fraud' }],
  );
  const found = await source.read(['churn-edge', 'churn-shadow', 'fraud', 'own']);
  assert.deepEqual([...found.keys()], ['churn-edge', 'churn-shadow']);
  assert.equal(found.get('churn-edge')?.get('champion'), '3');
  assert.equal(await source.move('churn-edge', 'champion', '3', '4', 'why'), '4');
  assert.deepEqual(asked, [
    ['churn', 'fraud', 'own'],
    ['churn', 'champion', '3', '4', 'why'],
  ]);
});
