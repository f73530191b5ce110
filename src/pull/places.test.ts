import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Deployment } from '../registry/serving/types.ts';
import { keyOf, type Place, servedVersions } from './places.ts';

const deployment = (version: string, alias = 'champion', served = 'm'): Deployment => ({
  name: 'm',
  alias,
  served,
  version,
  digest: `digest ${version}`,
  requirements: '',
});

function place(version: string, state: 'here' | 'coming' | 'broken', config = {}): Place {
  const scanned = { version, directory: `/v/${version}`, files: [] };
  const local = state === 'here' ? { scanned, config, files: new Map<string, string>() } : undefined;
  return { deployment: deployment(version), local, problem: state === 'broken' ? 'is broken' : '' };
}

const table = (...places: Place[]): Map<string, Place> => new Map(places.map((each) => [keyOf(each.deployment), each]));
const versionsOf = (wanted: Place, standing?: Place): string[] => {
  const found = servedVersions(table(wanted), standing === undefined ? new Map() : table(standing), () => '');
  return (found.get('m')?.versions ?? []).map(
    ({ version, problem }) => `${version}${problem === undefined ? '' : '!'}`,
  );
};

test('what stood before stands until its successor is ready', () => {
  assert.deepEqual(versionsOf(place('2', 'coming')), []);
  assert.deepEqual(versionsOf(place('2', 'here')), ['2']);
  assert.deepEqual(versionsOf(place('2', 'coming'), place('1', 'here')), ['1']);
  assert.deepEqual(versionsOf(place('2', 'here'), place('1', 'here')), ['2', '1']);
  assert.deepEqual(versionsOf(place('2', 'broken'), place('1', 'here')), ['2!', '1']);
  assert.deepEqual(versionsOf(place('2', 'here'), place('2', 'here')), ['2']);
});

test('the version that stands, asked for anew, goes on standing while it is brought', () => {
  assert.deepEqual(versionsOf(place('1', 'coming'), place('1', 'here')), ['1']);
});

test('a version whose successor needs another configuration is left to the manager', () => {
  assert.deepEqual(versionsOf(place('2', 'here', { max_batch_size: 4 }), place('1', 'here')), ['2']);
});

test('a model that has a good version standing is never without one, except that the manager holds it', () => {
  const states = fc.constantFrom('here', 'coming', 'broken') as fc.Arbitrary<'here' | 'coming' | 'broken'>;
  const version = fc.constantFrom('1', '2', '3');
  fc.assert(
    fc.property(version, states, version, (wanted, state, standing) => {
      const versions = versionsOf(place(wanted, state), place(standing, 'here'));
      assert.ok(versions.length > 0);
      if (state !== 'here' && !(state === 'broken' && wanted === standing)) assert.ok(versions.includes(standing));
    }),
  );
});
