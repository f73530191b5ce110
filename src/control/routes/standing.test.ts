import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRoutes } from '../../config/load-routes.ts';
import type { RouteSpec } from '../../config/route-schema.ts';
import { takeState } from '../../routing/live-route.ts';
import { newShared } from '../../routing/matchers.ts';
import { resume, type Standing, strategyPrint } from './standing.ts';

function specOf(strategy: string, names: readonly string[]): RouteSpec {
  const variants = names.map((name) => `${name}: {model: m, version: "1"}`).join(', ');
  return parseRoutes([
    {
      file: 'routes.yaml',
      text: `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec: {variants: {${variants}}, strategy: {${strategy}}}
`,
    },
  ]).routes[0].spec;
}

type Weights = [name: string, percent: number][];
const NAMES = ['a', 'b', 'c', 'd', 'e'];
const listed = (weights: Weights): string => `{${weights.map(([name, percent]) => `${name}: ${percent}`).join(', ')}}`;
const weighted = (weights: Weights): RouteSpec => specOf(`weighted: ${listed(weights)}`, NAMES);
const experiment = (weights: Weights, control = ''): RouteSpec =>
  specOf(`experiment: {split: ${listed(weights)}, ${control}primary: {metric: errors}}`, NAMES);

/** The variant of each bucket, as gateway threads see it. */
function variantsOf(spec: RouteSpec, { state }: Standing): string[] {
  const variants = Object.entries(spec.variants).map(([name, variant]) => ({ name, ...variant }));
  const live = takeState(spec, variants, state, newShared()) ?? assert.fail('the state fits its route');
  return Array.from(live.buckets, (slot) => variants[live.slots[slot].variant].name);
}

/** Whole percents of some variants in any order, adding up to 100. */
const weights: fc.Arbitrary<Weights> = fc.shuffledSubarray(NAMES, { minLength: 2 }).chain((names) =>
  fc
    .array(fc.integer({ min: 1, max: 99 }), { minLength: names.length - 1, maxLength: names.length - 1 })
    .map((cuts) => {
      const ends = [0, ...cuts.sort((a, b) => a - b), 100];
      return names.map((name, i): [string, number] => [name, ends[i + 1] - ends[i]]);
    }),
);

function leastMoves(before: Weights, after: Weights): number {
  const [from, to] = [new Map(before), new Map(after)];
  const distance = NAMES.reduce((sum, name) => sum + Math.abs((from.get(name) ?? 0) - (to.get(name) ?? 0)), 0);
  return (distance / 2) * 100;
}

test('as few buckets move as the weights allow, whichever variants are added, left out or written in another order', () => {
  fc.assert(
    fc.property(fc.array(weights, { minLength: 2, maxLength: 5 }), fc.boolean(), (steps, compare) => {
      // An experiment's arms all have a weight.
      const of = (step: Weights) => (compare && step.every(([, percent]) => percent > 0) ? experiment : weighted)(step);
      let standing = resume(of(steps[0]), undefined);
      let before = variantsOf(of(steps[0]), standing);
      for (let i = 1; i < steps.length; i++) {
        const spec = of(steps[i]);
        const next = JSON.parse(JSON.stringify(resume(spec, standing))) as Standing;
        const after = variantsOf(spec, next);
        const moved = after.filter((variant, bucket) => variant !== before[bucket]).length;
        assert.equal(moved, leastMoves(steps[i - 1], steps[i]));
        if (moved > 0) assert.ok(next.state.version > standing.state.version, 'decisions name the version');
        [standing, before] = [next, after];
      }
    }),
    { numRuns: 60 },
  );
});

test('a reordered split keeps its evidence, and a split of other arms begins anew without moving more than it must', () => {
  const spec = experiment([
    ['b', 90],
    ['a', 10],
  ]);
  const standing: Standing = { ...resume(spec, undefined), violated: ['a errors'] };
  const reordered = experiment(
    [
      ['a', 10],
      ['b', 90],
    ],
    'control: b, ',
  );
  assert.deepEqual(resume(reordered, standing), standing);
  const grown = experiment([
    ['b', 80],
    ['a', 10],
    ['c', 10],
  ]);
  assert.equal(resume(grown, standing).violated, undefined);
  const otherControl = experiment([
    ['a', 10],
    ['b', 90],
  ]);
  assert.equal(resume(otherControl, standing).violated, undefined, 'the first of the split is control');
});

test('a canary goes on when variants it does not compare come, go or are written in another order', () => {
  const canary = 'canary: {stable: a, candidate: b, steps: [{setWeight: 5}, {pause: {}}]}';
  const print = strategyPrint(specOf(canary, ['a', 'b']));
  assert.equal(strategyPrint(specOf(canary, ['c', 'b', 'a'])), print);
  assert.notEqual(strategyPrint(specOf(canary.replace('5', '6'), ['a', 'b'])), print);
});

test('an experiment begins anew when an arm is another version, model or alias; other variants do not matter to it', () => {
  const text = 'experiment: {split: {a: 50, b: 50}, primary: {metric: errors}}';
  const spec = specOf(text, ['a', 'b']);
  const changed = (variant: object): RouteSpec => ({
    ...spec,
    variants: { ...spec.variants, b: variant as RouteSpec['variants'][string] },
  });
  const standing: Standing = { ...resume(spec, undefined), violated: ['b errors'] };
  for (const variant of [
    { model: 'm', version: '2' },
    { model: 'n', version: '1' },
    { model: 'm', alias: 'next' },
  ]) {
    const after = resume(changed(variant), standing);
    assert.notEqual(after.print, standing.print, JSON.stringify(variant));
    assert.equal(after.violated, undefined);
    assert.deepEqual(after.state.buckets, standing.state.buckets, 'users stay where they are');
  }
  assert.equal(strategyPrint(specOf(text, ['c', 'b', 'a'])), standing.print);
});
