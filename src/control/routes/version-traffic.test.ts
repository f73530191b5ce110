import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SliceActivity } from '../../gateway/route-activity.ts';
import { VersionTraffic } from './version-traffic.ts';

const slice = (changes: Partial<SliceActivity>): SliceActivity => ({
  ...{ route: 'r', variant: 'v', assigned: 'v', version: '1', role: 'arm', analysed: true, requests: 1, errors: 0 },
  ...{ assignedVersion: '1', clientErrors: 0, sheds: 0, cancelled: 0, fallbacks: 0, latency: [] },
  ...changes,
});

test('decisions add up by route, variant, version and role', () => {
  const traffic = new VersionTraffic();
  const add = (slices: SliceActivity[], now: number): void =>
    traffic.add({ slices, shadows: [], learning: [], lost: 0 }, (route) => (route === 'r' ? 'model' : undefined), now);
  add([slice({}), slice({ requests: 4, errors: 2, analysed: false }), slice({ version: '2' })], 10);
  add([slice({ version: '' }), slice({ route: 'gone' }), slice({ role: 'candidate' }), slice({ requests: 5 })], 20);
  assert.deepEqual(
    traffic
      .list()
      .map((row) => [row.model, row.version, row.role, row.requests, row.errors, row.first_at, row.last_at]),
    [
      ['model', '1', 'arm', 10, 2, 10, 20],
      ['model', '2', 'arm', 1, 0, 10, 10],
      ['model', '1', 'candidate', 1, 0, 20, 20],
    ],
  );
});
