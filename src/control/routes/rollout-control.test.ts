import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRoutes } from '../../config/load-routes.ts';
import { newHistogram } from '../../experiments/statistics/latency-histogram.ts';
import { Ledger, noRouteSums, type RouteSums } from './ledger.ts';
import {
  beginIfDue,
  compareAnewIfDue,
  evidenceOf,
  type RolloutStanding,
  rolloutOf,
  stepRollout,
} from './rollout-control.ts';
import { resume, type Standing } from './standing.ts';

const specOf = (sample: string) =>
  parseRoutes([
    {
      file: 'routes.yaml',
      text: `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  shadow: {variant: next, sample: ${sample}}
  strategy:
    canary:
      stable: stable
      candidate: next
      steps: [{setWeight: 5}, {pause: {}}, {setMirror: {percent: 10}}, {pause: {}}]
      onFail: {rollback: immediate}
`,
    },
  ]).routes[0].spec;

test("a canary's mirror goes back to the shadow's own sample when it ends, and a reload changes the sample", () => {
  const spec = specOf('50%');
  const sums = noRouteSums();
  const begun = beginIfDue('m', spec, resume(spec, undefined), { stable: '1', candidate: '2' }, sums, 0) as Standing;
  const step = (standing: Standing, type: 'tick' | 'promote' | 'abort', now: number): Standing =>
    stepRollout(spec, standing, { type }, sums, new Map(), now).standing;
  let standing = step(begun, 'tick', 1);
  assert.deepEqual([standing.state.mirror, rolloutOf(standing)?.state.phase], [0.5, 'gated']);
  assert.equal(resume(specOf('20%'), standing).state.mirror, 0.2, 'nothing is mirrored by the canary yet');
  standing = step(standing, 'promote', 2);
  assert.equal(standing.state.mirror, 0.1);
  assert.equal(resume(specOf('20%'), standing).state.mirror, 0.1);
  standing = step(step(standing, 'abort', 3), 'tick', 4);
  assert.deepEqual([standing.state.mirror, rolloutOf(standing)?.state.phase], [0.5, 'rolledBack']);
});

test('a candidate that fails its copies does not agree with stable', () => {
  const spec = specOf('50%');
  const sums = noRouteSums();
  const standing = beginIfDue('m', spec, resume(spec, undefined), { stable: '1', candidate: '2' }, sums, 0) as Standing;
  const shadow = { route: 'm', variant: 'next', model: 'm', version: '2', match: 60, mismatch: 1, failed: 39 };
  const ledger = new Ledger();
  ledger.set('m', sums);
  const counted = { dropped: 7, uncompared: 5, examples: [] };
  // Of a gateway that has not read yet what the candidate is.
  const other = { ...shadow, ...counted, version: '1', mismatch: 500 };
  ledger.add({ slices: [], shadows: [{ ...shadow, ...counted }, other], learning: [], lost: 0 });
  const { compared, mismatched } = evidenceOf(spec, rolloutOf(standing) as RolloutStanding, sums).shadow;
  assert.deepEqual([compared, mismatched], [100, 40]);
});

function served(sums: RouteSums, version: string, requests: number, errors: number): void {
  const none = { clientErrors: 0, sheds: 0, cancelled: 0, fallbacks: 0, latency: newHistogram() };
  const slice = { variant: 'stable', assigned: 'stable', version, role: 'control' as const, analysed: true };
  const asked = { assignedVersion: version };
  sums.slices.set(version, { ...slice, ...asked, ...none, requests, errors });
}

test('a canary is compared with the version that stable has become, from nothing', () => {
  const spec = specOf('50%');
  const sums = noRouteSums();
  const begun = beginIfDue('m', spec, resume(spec, undefined), { stable: '1', candidate: '2' }, sums, 0) as Standing;
  assert.equal(compareAnewIfDue(begun, { stable: '1', candidate: '2' }, sums, 5), begun);
  assert.equal(compareAnewIfDue(begun, undefined, sums, 5), begun, 'nothing is loaded');
  served(sums, '1', 1000, 400);
  const moved = compareAnewIfDue(begun, { stable: '3', candidate: '2' }, sums, 5);
  // Another gateway has not read the alias yet.
  served(sums, '1', 1100, 450);
  served(sums, '3', 70, 2);
  const rollout = rolloutOf(moved) as RolloutStanding;
  const { control } = evidenceOf(spec, rollout, sums);
  assert.deepEqual([control.requests, control.errors], [70, 2]);
  assert.match(rollout.state.history.at(-1)?.message ?? '', /stable is version 3 now, not 1/);
  assert.equal(rollout.state.stableVersion, '1', 'its end moves the alias only if that names what it did');
  assert.equal(compareAnewIfDue(moved, { stable: '3', candidate: '2' }, sums, 6), moved);
  const over = stepRollout(spec, begun, { type: 'abort' }, sums, new Map(), 7).standing;
  assert.equal(compareAnewIfDue(over, { stable: '3', candidate: '2' }, sums, 8), over);
});

test('a candidate is charged with nothing of the version before it, not even of what another variant answered', () => {
  const spec = specOf('50%');
  const sums = noRouteSums();
  const standing = beginIfDue('m', spec, resume(spec, undefined), { stable: '1', candidate: '3' }, sums, 0) as Standing;
  const slice = { assigned: 'next', role: 'candidate' as const, analysed: true };
  const none = { clientErrors: 0, sheds: 0, cancelled: 0, latency: newHistogram() };
  const late = (variant: string, version: string, assignedVersion: string, counts: object): void => {
    const which = { ...slice, variant, version, assignedVersion };
    sums.slices.set(JSON.stringify(which), { ...which, ...none, requests: 100, errors: 0, fallbacks: 0, ...counts });
  };
  late('next', '2', '2', { errors: 100 });
  late('stable', '1', '2', { fallbacks: 100 });
  late('next', '3', '3', { requests: 40, errors: 1 });
  late('stable', '1', '3', { requests: 2, fallbacks: 2 });
  const { requests, errors } = evidenceOf(spec, rolloutOf(standing) as RolloutStanding, sums).candidate;
  assert.deepEqual([requests, errors], [42, 3]);
});
