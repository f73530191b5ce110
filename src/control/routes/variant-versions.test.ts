import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouteSpec } from '../../config/route-schema.ts';
import type { ServingTable } from '../../pipeline/types.ts';
import { variantVersions } from './variant-versions.ts';

const models = new Map([
  ['m', { versions: ['2', '10', '9'].map((version) => ({ version })) }],
]) as unknown as ServingTable['models'];
const of = (variant: object): string =>
  variantVersions({ variants: { v: variant } as RouteSpec['variants'] }, models, (_model, alias) =>
    alias === 'champion' ? '2' : '',
  ).v;

test('a variant is served by what its alias means, else by the version it names once that is loaded', () => {
  assert.equal(of({ model: 'm', alias: 'champion' }), '2');
  assert.equal(of({ model: 'm', alias: 'unknown' }), '');
  assert.equal(of({ model: 'm', version: '9' }), '9');
  assert.equal(of({ model: 'm', version: '3' }), '');
});

test('one that names neither is served by the newest version, by number, of a model that has one', () => {
  assert.equal(of({ model: 'm' }), '10');
  assert.equal(of({ model: 'nobody' }), '');
});
