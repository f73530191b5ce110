import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyOf, type Place } from './places.ts';
import { registeredRows, reportedModels } from './report.ts';

function place(version: string, problem = '', served = 'm'): Place {
  const deployment = {
    name: 'registered',
    alias: 'champion',
    served,
    version,
    digest: `d${version}`,
    requirements: '',
  };
  return { deployment, local: undefined, problem };
}

const table = (...places: Place[]): Map<string, Place> => new Map(places.map((each) => [keyOf(each.deployment), each]));
const index = (...states: [version: string, state: 'READY' | 'UNAVAILABLE', reason: string][]) => [
  { name: 'm', versions: states.map(([version, state, reason]) => ({ version, state, reason })) },
];
const told = (...args: Parameters<typeof reportedModels>): string[] =>
  reportedModels(...args).map(({ version, state, problem }) => `${version} ${state} ${problem}`.trim());

test('a wanted version is told with its state, and the one that stands meanwhile before it', () => {
  const both = index(['1', 'READY', ''], ['2', 'UNAVAILABLE', 'does not load']);
  assert.deepEqual(told(table(place('2')), table(place('1')), both), ['1 READY', '2 UNAVAILABLE does not load']);
  assert.deepEqual(told(table(place('1')), table(place('1')), both), ['1 READY']);
  const [{ name, served, alias, digest }] = reportedModels(table(place('1')), new Map(), both);
  assert.deepEqual([name, served, alias, digest], ['registered', 'm', 'champion', 'd1']);
});

test('one that is still on its way is not told, one that cannot come is, with the reason', () => {
  assert.deepEqual(told(table(place('1')), new Map(), []), []);
  assert.deepEqual(told(table(place('1', 'its digest is wrong')), new Map(), []), [
    '1 UNAVAILABLE its digest is wrong',
  ]);
  const [{ problem }] = reportedModels(table(place('1', '', '../m')), new Map(), []);
  assert.match(problem, /cannot be served under its name/);
});

test('a reason longer than the registry takes is cut, and no character in halves', () => {
  const problemOf = (text: string): string => reportedModels(table(place('1', text)), new Map(), [])[0].problem;
  assert.equal(problemOf('x'.repeat(4000)), 'x'.repeat(4000));
  assert.equal(problemOf('x'.repeat(4001)), `${'x'.repeat(3999)}…`);
  assert.equal(problemOf(`${'x'.repeat(3998)}😀😀`), `${'x'.repeat(3998)}…`);
});

test("what routes lead to is told by the registered name; other models are none of the registry's", () => {
  const row = { route: 'r', variant: 'a', model: 'm', version: '1' };
  assert.deepEqual(registeredRows([row, { ...row, model: 'own' }], new Map([['m', 'registered']])), [
    { route: 'r', variant: 'a', version: '1', name: 'registered' },
  ]);
});
