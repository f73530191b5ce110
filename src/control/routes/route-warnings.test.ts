import assert from 'node:assert/strict';
import { test } from 'node:test';
import { variantKey } from '../../config/load-routes.ts';
import type { RouteDocument } from '../../config/route-schema.ts';
import type { ServingTable } from '../../pipeline/types.ts';
import { warningsOf } from './route-warnings.ts';

const models = new Map([
  ['m', { versions: [{ version: '2' }, { version: '1' }] }],
]) as unknown as ServingTable['models'];

function told(variants: Record<string, object>, served: Record<string, string>): string[] {
  const document = { spec: { variants } } as unknown as RouteDocument;
  const places = new Map([[variantKey('r', 'v'), 'routes.yaml:7']]);
  const known = { models, names: new Set(['m', 'coming']), places, versions: () => served };
  return warningsOf([{ name: 'r', document }], known).map(({ message }) => message);
}

test('what is served is not warned about, and neither is what an alias still leads to', () => {
  assert.deepEqual(told({ v: { model: 'm', version: '1' }, w: { model: 'm', alias: 'a' } }, { v: '1', w: '2' }), []);
});

test('each thing that is not there is told with its place, its setting and what there is instead', () => {
  const place = 'routes.yaml:7: route r: spec.variants.v.';
  const one = (variant: object): string[] => told({ v: variant }, { v: '' });
  assert.deepEqual(one({ model: 'typo' }), [
    `${place}model: no model is called "typo" (yet); load it, or correct the name`,
  ]);
  assert.deepEqual(one({ model: 'coming' }), [`${place}model: no version is loaded (yet) of coming`]);
  assert.deepEqual(one({ model: 'm', version: '3' }), [
    `${place}version: version "3" is not loaded (yet); loaded of m: 1, 2`,
  ]);
  assert.deepEqual(one({ model: 'coming', alias: 'a' }), [
    `${place}alias: alias "a" leads to no loaded version (yet); loaded of coming: none`,
  ]);
});
