import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { RegistryUnderTest } from '../../testing/registry.ts';

/** The same runs as plain data, searched by plain code: what the SQL must agree with. */
interface Known {
  id: string;
  start: number;
  end: number | undefined;
  status: string;
  acc: number | undefined;
  lr: string | undefined;
  team: string | undefined;
}

let registry: RegistryUnderTest;
let experiment_id: string;
const runs: Known[] = [];

before(async () => {
  registry = await RegistryUnderTest.open();
  experiment_id = (await registry.ok('POST', 'experiments/create', { name: 'searched' })).experiment_id;
  const random = (n: number): number => Math.floor(Math.random() * n);
  for (let i = 0; i < 60; i++) {
    const run: Known = {
      id: '',
      start: random(6),
      end: random(3) === 0 ? undefined : random(5),
      status: ['FINISHED', 'FAILED', 'RUNNING'][random(3)],
      acc: [undefined, Number.NaN, 0, 0.25, 0.5, 0.75][random(6)],
      lr: [undefined, '0.1', '0.2', 'Abc', 'abc', 'x'.repeat(150) + random(2)][random(6)],
      team: [undefined, 'red', 'Red', 'blue_1', 'blue%'][random(5)],
    };
    const created = await registry.ok('POST', 'runs/create', { experiment_id, start_time: run.start });
    run.id = created.run.info.run_id;
    const metrics =
      run.acc === undefined ? [] : [{ key: 'acc', value: Number.isNaN(run.acc) ? 'NaN' : run.acc, timestamp: 1 }];
    const params = run.lr === undefined ? [] : [{ key: 'lr', value: run.lr }];
    const tags = run.team === undefined ? [] : [{ key: 'my team', value: run.team }];
    await registry.ok('POST', 'runs/log-batch', { run_id: run.id, metrics, params, tags });
    await registry.ok('POST', 'runs/update', { run_id: run.id, status: run.status, end_time: run.end });
    runs.push(run);
  }
});
after(() => registry.close());

async function search(values: Record<string, unknown>, size = 1000): Promise<string[]> {
  const found: string[] = [];
  let page_token: string | undefined;
  do {
    const page = await registry.ok('POST', 'runs/search', {
      experiment_ids: [experiment_id],
      max_results: size,
      page_token,
      ...values,
    });
    const list = page.runs ?? [];
    assert.ok(list.length <= size);
    for (const { info } of list) found.push(info.run_id);
    page_token = page.next_page_token;
    if (page_token !== undefined) assert.equal(list.length, size);
  } while (page_token !== undefined);
  return found;
}

type Test = (run: Known) => boolean;
const like = (pattern: string, flags: string): RegExp =>
  new RegExp(
    `^${pattern
      .replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
      .replaceAll('%', '.*')
      .replaceAll('_', '.')}$`,
    flags,
  );
const number = (pick: (run: Known) => number | undefined, name: string) =>
  fc
    .tuple(fc.constantFrom('>', '>=', '=', '!=', '<', '<='), fc.constantFrom(0, 0.25, 0.3, 2, 4))
    .map(([operator, bound]): [string, Test] => [
      `${name} ${operator} ${bound}`,
      (run) => {
        const value = pick(run);
        if (value === undefined) return false;
        if (operator === '=') return value === bound;
        if (operator === '!=') return value !== bound;
        if (operator === '>') return value > bound;
        if (operator === '>=') return value >= bound;
        return operator === '<' ? value < bound : value <= bound;
      },
    ]);
const keyed = (pick: (run: Known) => string | undefined, name: string, values: string[]) =>
  fc.oneof(
    fc
      .tuple(fc.constantFrom('=', '!=', 'LIKE', 'ILIKE'), fc.constantFrom(...values))
      .map(([operator, bound]): [string, Test] => [
        `${name} ${operator} '${bound}'`,
        (run) => {
          const value = pick(run);
          if (value === undefined) return false;
          if (operator === '=') return value === bound;
          if (operator === '!=') return value !== bound;
          return like(bound, operator === 'ILIKE' ? 'is' : 's').test(value);
        },
      ]),
    fc
      .boolean()
      .map((missing): [string, Test] => [
        `${name} IS ${missing ? '' : 'NOT '}NULL`,
        (run) => (pick(run) === undefined) === missing,
      ]),
  );
const comparison = fc.oneof(
  number((run) => run.acc, 'metrics.acc'),
  number((run) => run.start, 'attributes.start_time'),
  number((run) => run.end, 'end_time'),
  keyed((run) => run.lr, 'params.lr', ['0.1', 'abc', 'ABC', 'a%', `${'x'.repeat(150)}0`, `${'x'.repeat(150)}%`]),
  keyed((run) => run.team, 'tags."my team"', ['red', 'Red', 'blue__', 'blue%', '%']),
  fc
    .tuple(fc.boolean(), fc.subarray(['FINISHED', 'FAILED', 'RUNNING'], { minLength: 1 }))
    .map(([not, list]): [string, Test] => [
      `status ${not ? 'NOT IN' : 'IN'} (${list.map((name) => `'${name}'`).join(', ')})`,
      (run) => list.includes(run.status) !== not,
    ]),
);

type Rank = [number, number | string];
const orders: Record<string, (run: Known) => Rank> = {
  'metrics.acc': ({ acc }) => (acc === undefined ? [2, 0] : Number.isNaN(acc) ? [1, 0] : [0, acc]),
  'params.lr': ({ lr }) => (lr === undefined ? [2, ''] : [0, lr]),
  'tags."my team"': ({ team }) => (team === undefined ? [2, ''] : [0, team]),
  start_time: ({ start }) => [0, start],
  'attribute.end_time': ({ end }) => (end === undefined ? [2, 0] : [0, end]),
  status: ({ status }) => [0, status],
};
const compare = (a: number | string, b: number | string): number => (a < b ? -1 : a > b ? 1 : 0);

function sorted(list: readonly Known[], by: readonly (readonly [string, boolean])[]): string[] {
  const full = by.some(([name]) => name === 'start_time') ? by : [...by, ['start_time', false] as const];
  return list
    .toSorted((a, b) => {
      for (const [name, ascending] of full) {
        const [rankA, valueA] = orders[name](a);
        const [rankB, valueB] = orders[name](b);
        const order = rankA - rankB || (ascending ? compare(valueA, valueB) : compare(valueB, valueA));
        if (order !== 0) return order;
      }
      return compare(a.id, b.id);
    })
    .map(({ id }) => id);
}

test('filters, orders and pages agree with plain code', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(comparison, { maxLength: 3 }),
      fc.uniqueArray(fc.tuple(fc.constantFrom(...Object.keys(orders)), fc.boolean()), {
        maxLength: 3,
        selector: ([name]) => name,
      }),
      fc.integer({ min: 1, max: 70 }),
      async (filters, by, size) => {
        const expected = sorted(
          runs.filter((run) => filters.every(([, holds]) => holds(run))),
          by,
        );
        const order_by = by.map(([name, ascending]) => `${name} ${ascending ? 'ASC' : 'DESC'}`);
        const filter = filters.map(([text]) => text).join(' AND ');
        assert.deepEqual(await search({ filter, order_by }, size), expected);
      },
    ),
    { numRuns: 200 },
  );
});

test('without an order the newest come first', async () => {
  assert.deepEqual(await search({}, 7), sorted(runs, []));
});

test('runs that come and go between two pages neither repeat nor hide others', async () => {
  const all = sorted(runs, []);
  const first = await registry.ok('POST', 'runs/search', { experiment_ids: [experiment_id], max_results: 10 });
  const created = await registry.ok('POST', 'runs/create', { experiment_id, start_time: 99 });
  await registry.ok('POST', 'runs/delete', { run_id: first.runs[3].info.run_id });
  const second = await registry.ok('POST', 'runs/search', {
    ...{ experiment_ids: [experiment_id], max_results: 10, page_token: first.next_page_token },
  });
  assert.deepEqual(
    second.runs.map((run: { info: { run_id: string } }) => run.info.run_id),
    all.slice(10, 20),
  );
  await registry.ok('POST', 'runs/restore', { run_id: first.runs[3].info.run_id });
  await registry.ok('POST', 'runs/delete', { run_id: created.run.info.run_id });
});

test('views show active, deleted or all runs', async () => {
  const run_id = runs[0].id;
  await registry.ok('POST', 'runs/delete', { run_id });
  assert.equal((await search({})).includes(run_id), false);
  assert.ok((await search({ run_view_type: 'DELETED_ONLY' })).includes(run_id));
  assert.equal((await search({ run_view_type: 'ALL' }, 9)).length, 61);
  await registry.ok('POST', 'runs/restore', { run_id });
});

test('several experiments, and ones that are not there', async () => {
  const other = (await registry.ok('POST', 'experiments/create', { name: 'other' })).experiment_id;
  const { run } = await registry.ok('POST', 'runs/create', { experiment_id: other, start_time: 3 });
  const experiment_ids = [experiment_id, other, '999', 'nonsense'];
  const found = await search({ experiment_ids }, 8);
  assert.deepEqual(found.toSorted(), [...runs.map(({ id }) => id), run.info.run_id].sort());
  assert.deepEqual(await search({ experiment_ids, order_by: ['metrics.acc'], filter: 'metrics.acc > 2' }), []);
  assert.deepEqual(await search({ experiment_ids: [] }), []);
});

test('runs are found by name however it was given, and when its tag is gone', async () => {
  const long = 'n'.repeat(120);
  const make = async (values: object): Promise<string> =>
    (await registry.ok('POST', 'runs/create', { experiment_id, start_time: 9, ...values })).run.info.run_id;
  const byName = await make({ run_name: 'by name' });
  const byTag = await make({ tags: [{ key: 'mlflow.runName', value: 'by tag' }] });
  const ends = [await make({ run_name: `${long}1` }), await make({ run_name: `${long}2` })];
  const renamed = await make({ run_name: 'old' });
  await registry.ok('POST', 'runs/set-tag', { run_id: renamed, key: 'mlflow.runName', value: 'new' });
  const found = (filter: string): Promise<string[]> => search({ filter: `attributes.run_name ${filter}` });
  assert.deepEqual(await found("= 'by name'"), [byName]);
  assert.deepEqual(await found(`= '${long}2'`), [ends[1]]);
  assert.deepEqual((await found("IN ('by tag', 'new')")).toSorted(), [byTag, renamed].sort());
  assert.deepEqual(await found("= 'old'"), []);
  await registry.ok('POST', 'runs/delete-tag', { run_id: byTag, key: 'mlflow.runName' });
  assert.deepEqual(await found("= 'by tag'"), [byTag], 'as with MLflow, the name stays');
  await registry.ok('POST', 'runs/set-tag', { run_id: byTag, key: 'mlflow.runName', value: 'again' });
  assert.deepEqual([await found("= 'by tag'"), await found("= 'again'")], [[], [byTag]]);
  for (const run_id of [byName, byTag, ...ends, renamed]) await registry.ok('POST', 'runs/delete', { run_id });
});

test('datasets filter runs', async () => {
  const dataset = { name: 'iris', digest: 'd1', source_type: 'x', source: 'y' };
  const tags = [{ key: 'mlflow.data.context', value: 'train' }];
  await registry.ok('POST', 'runs/log-inputs', { run_id: runs[5].id, datasets: [{ dataset, tags }] });
  assert.deepEqual(await search({ filter: "dataset.name = 'iris' AND datasets.context LIKE 'tr%'" }), [runs[5].id]);
  assert.deepEqual(await search({ filter: "dataset.digest IN ('d2')" }), []);
});

test('found runs come with all they have', async () => {
  const [first] = (
    await registry.ok('POST', 'runs/search', { experiment_ids: [experiment_id], filter: `run_id = '${runs[7].id}'` })
  ).runs;
  assert.deepEqual(first, (await registry.ok('GET', 'runs/get', { run_id: runs[7].id })).run);
});

test('bad searches are refused', async () => {
  for (const bad of [
    { max_results: 0 },
    { max_results: 50_001 },
    { filter: 'metrics.acc' },
    { filter: 'status > 1' },
    { order_by: ['nope'] },
    { order_by: ['datasets.name'] },
    { order_by: ['start_time', 'start_time DESC'] },
    { page_token: 'abc' },
    { run_view_type: 'NOPE' },
    { experiment_ids: 'x' },
    { experiment_ids: Array(5001).fill('1') },
  ])
    await registry.refused(
      'POST',
      'runs/search',
      { experiment_ids: [experiment_id], ...bad },
      'INVALID_PARAMETER_VALUE',
    );
  const { next_page_token } = await registry.ok('POST', 'runs/search', {
    experiment_ids: [experiment_id],
    max_results: 1,
  });
  const other = {
    experiment_ids: [experiment_id],
    max_results: 1,
    page_token: next_page_token,
    filter: 'start_time > 0',
  };
  assert.match(await registry.refused('POST', 'runs/search', other, 'INVALID_PARAMETER_VALUE'), /page token/);
  assert.deepEqual(registry.errors, []);
});
