import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRoutes } from '../../config/load-routes.ts';
import type { CanarySpec } from '../../config/strategy-schema.ts';
import { noRouteSums } from './ledger.ts';
import { beginIfDue, evidenceOf, type RolloutStanding, rolloutOf, stepRollout } from './rollout-control.ts';
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
  const canary = spec.strategy.canary as CanarySpec;
  const sums = noRouteSums();
  const standing = beginIfDue('m', spec, resume(spec, undefined), { stable: '1', candidate: '2' }, sums, 0) as Standing;
  const shadow = { variant: 'next', match: 60, mismatch: 1, failed: 39, dropped: 7, uncompared: 5, examples: [] };
  sums.shadows.set('next', shadow);
  const { compared, mismatched } = evidenceOf(canary, rolloutOf(standing) as RolloutStanding, sums).shadow;
  assert.deepEqual([compared, mismatched], [100, 40]);
});
