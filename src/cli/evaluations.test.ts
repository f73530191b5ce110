import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { cli } from '../testing/cli.ts';

const evaluation = {
  id: 'e1',
  model: 'churn',
  version: '2',
  dataset_name: 'held-out',
  result: {
    samples: 451,
    metrics: { accuracy: 0.980044, logLoss: 0.0712 },
    slices: [{ name: 'age=old', samples: 9, metrics: { accuracy: 1, logLoss: null } }],
    attribution: {
      method: 'permutation',
      features: [
        { feature: 'age', mean: 0.1, low: 0.05, high: 0.15 },
        { feature: 'income', mean: 0.3, low: 0.2, high: 0.4 },
      ],
    },
  },
};
const comparison = {
  dataset: { name: 'held-out', digest: 'd' },
  versions: [
    { version: '1', samples: 451 },
    { version: '2', samples: 451 },
  ],
  missing: ['3'],
  metrics: [
    { metric: 'accuracy', slice: null, values: { 1: 0.97, 2: 0.98 }, best: '2' },
    { metric: 'accuracy', slice: 'age=old', values: { 1: 1 }, best: '1' },
  ],
};

/** What the admin port answers by path; the pages themselves are tested there. */
const answers: Record<string, object> = {
  '/api/v1/evaluations': { evaluations: [evaluation] },
  '/api/v1/evaluations/e1': evaluation,
  '/api/v1/evaluations-compare/churn': comparison,
  '/api/v1/evaluations-compare/none': { ...comparison, dataset: null },
};
const asked: string[] = [];
const server = createServer((request, response) => {
  asked.push(request.url ?? '');
  const answer = answers[(request.url ?? '').split('?')[0]];
  response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(answer ?? { error: 'no such evaluation', code: 'not_found' }));
});
before(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
after(() => server.close());
const run = (...args: string[]) =>
  cli(['evaluations', ...args, '--admin', `http://127.0.0.1:${(server.address() as AddressInfo).port}`]);

test('evaluations are listed with their first metrics', async () => {
  const { code, out } = await run('list', '--model', 'churn', '--limit', '5');
  assert.equal(code, 0);
  assert.match(out, /e1 +churn +2 +451 +held-out +accuracy 0\.98004, logLoss 0\.0712/);
  assert.match(asked.at(-1) ?? '', /model=churn/);
  assert.deepEqual(JSON.parse((await run('list', '-o', 'json')).out), [evaluation]);
});

test('one evaluation is shown with its slices, and features by importance', async () => {
  const { out } = await run('get', 'e1');
  assert.match(out, /^churn 2, held-out\n/);
  assert.match(out, /age=old +9 +1 +-/);
  assert.match(out, /income +0\.3 +0\.2 to 0\.4\nage +0\.1 +0\.05 to 0\.15/);
  const unknown = await run('get', 'e2');
  assert.notEqual(unknown.code, 0);
  assert.match(unknown.err, /no such evaluation/);
});

test('versions stand side by side, the best of each row marked, the missing named', async () => {
  const { out } = await run('compare', 'churn', '1', '2', '3');
  assert.match(out, /accuracy +0\.97 +0\.98 \*/);
  assert.match(out, /accuracy on age=old +1 \* +-/);
  assert.match(out, /not evaluated on held-out: 3/);
  assert.match((await run('compare', 'none')).out, /none of these versions was evaluated/);
});
