import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { EnsembleStep, ModelConfig, TensorSpec } from '../config/model-config.ts';
import { PlacedTensor } from '../tensor/placed.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { modelConfig, spec } from '../testing/models.ts';
import { EnsembleRun } from './ensemble.ts';
import { planEnsemble } from './ensemble-plan.ts';

function step(modelName: string, inputMap: Record<string, string>, outputMap: Record<string, string>): EnsembleStep {
  return { modelName, modelVersion: '', inputMap, outputMap };
}

function ensemble(inputs: TensorSpec[], outputs: TensorSpec[], steps: EnsembleStep[], maxBatchSize = 8): ModelConfig {
  return modelConfig({ name: 'all', signature: { inputs, outputs, maxBatchSize }, ensemble: steps });
}

function tensor(name: string, value: number): Tensor {
  return { name, datatype: 'UINT8', shape: [1], data: Uint8Array.of(value) };
}

const x = (name: string, dims = [4]) => spec(name, 'FP32', dims);

/** pre feeds two classifiers side by side, whose answers are joined. */
const DIAMOND = ensemble(
  [x('image')],
  [x('label'), x('left')],
  [
    step('join', { l: 'left', r: 'right' }, { out: 'label' }),
    step('pre', { in: 'image' }, { out: 'features' }),
    step('a', { in: 'features' }, { out: 'left', debug: 'trace' }),
    step('b', { in: 'features' }, { out: 'right' }),
  ],
);
describe('EnsembleRun', () => {
  test('takes tensors whose bytes lie in a larger buffer', () => {
    const placed = new PlacedTensor('image', 'UINT8', [1], Uint8Array.of(7, 8, 9), 1, 1);
    const { ready } = new EnsembleRun(planEnsemble(DIAMOND)).start([placed]);
    assert.deepEqual(ready[0].inputs, [tensor('in', 8)]);
  });

  test('starts each step once its inputs are there, under its own names, and answers under the ensemble’s', () => {
    const run = new EnsembleRun(planEnsemble(DIAMOND));
    const { ready: first, done } = run.start([tensor('image', 1)]);
    assert.equal(done, undefined);
    assert.deepEqual(first, [
      {
        step: 1,
        modelName: 'pre',
        modelVersion: '',
        inputs: [tensor('in', 1)],
        outputs: ['out'],
        shared: false,
      },
    ]);
    const { ready: both } = run.complete(1, [tensor('out', 2)]);
    assert.deepEqual(
      both.map(({ modelName, inputs, outputs, shared }) => [modelName, inputs[0].data[0], outputs, shared]),
      [
        ['a', 2, ['out'], true],
        ['b', 2, ['out'], false],
      ],
    );
    assert.deepEqual(run.complete(3, [tensor('out', 4)]), { ready: [] });
    const { ready: last } = run.complete(2, [tensor('out', 3), tensor('debug', 9)]);
    assert.deepEqual(last[0].inputs, [tensor('l', 3), tensor('r', 4)]);
    assert.equal(last[0].shared, true, 'left is also part of the answer');
    assert.deepEqual(run.complete(0, [tensor('out', 5)]).done, [tensor('label', 5), tensor('left', 3)]);
  });

  test('lets go of a tensor when its last reader took it', () => {
    const run = new EnsembleRun(planEnsemble(DIAMOND), ['label']);
    run.start([tensor('image', 1)]);
    assert.equal(run.held, 0);
    run.complete(1, [tensor('out', 2)]);
    assert.equal(run.held, 0);
    run.complete(2, [tensor('out', 3)]);
    assert.equal(run.held, 1);
    run.complete(3, [tensor('out', 4)]);
    assert.equal(run.held, 0);
  });

  test('runs only the steps that the requested outputs need', () => {
    const run = new EnsembleRun(planEnsemble(DIAMOND), ['left']);
    run.start([tensor('image', 1)]);
    const { ready } = run.complete(1, [tensor('out', 2)]);
    assert.deepEqual(
      ready.map(({ modelName, shared }) => [modelName, shared]),
      [['a', false]],
    );
    assert.deepEqual(run.complete(2, [tensor('out', 3)]), { ready: [], done: [tensor('left', 3)] });
  });

  test('after a failure late answers change nothing', () => {
    const run = new EnsembleRun(planEnsemble(DIAMOND));
    run.start([tensor('image', 1)]);
    run.fail();
    assert.deepEqual([run.complete(1, [tensor('out', 2)]), run.held], [{ ready: [] }, 0]);
  });

  test('a step that answers twice is heard once', () => {
    const run = new EnsembleRun(planEnsemble(DIAMOND));
    run.start([tensor('image', 1)]);
    run.complete(1, [tensor('out', 2)]);
    assert.deepEqual(run.complete(1, [tensor('out', 7)]), { ready: [] });
    run.complete(2, [tensor('out', 3)]);
    const { ready } = run.complete(3, [tensor('out', 4)]);
    assert.equal(ready.length, 1);
  });

  test('names what a request or a step got wrong', () => {
    const plan = planEnsemble(DIAMOND);
    assert.throws(() => new EnsembleRun(plan, ['nope']), {
      code: 'invalid_argument',
      message: /"nope".*"label", "left"/,
    });
    assert.throws(() => new EnsembleRun(plan).start([]), { code: 'invalid_argument', message: /needs input "image"/ });
    assert.throws(() => new EnsembleRun(plan).start([tensor('features', 1)]), { message: /unknown input "features"/ });
    assert.throws(() => new EnsembleRun(plan).start([tensor('image', 1), tensor('image', 1)]), {
      message: /given twice/,
    });
    const run = new EnsembleRun(plan);
    run.start([tensor('image', 1)]);
    assert.throws(() => run.complete(1, []), { code: 'internal', message: /model "pre" did not answer output "out"/ });
    assert.equal(run.held, 0);
  });

  test('an optional input may be absent: the step runs without it', () => {
    const config = ensemble(
      [x('a'), spec('b', 'FP32', [4], true)],
      [x('y')],
      [step('m', { p: 'a', q: 'b' }, { r: 'y' })],
    );
    const { ready } = new EnsembleRun(planEnsemble(config)).start([tensor('a', 1)]);
    assert.deepEqual(ready[0].inputs, [tensor('p', 1)]);
  });

  test('any graph in any order of completion computes what its formula says', () => {
    // Step i reads two earlier tensors and writes their sum plus i.
    const shape = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat()), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(shape, fc.array(fc.nat(), { minLength: 40, maxLength: 40 }), fc.nat(), (edges, picks, wantedSeed) => {
        const steps = edges.map(([a, b], i) =>
          step('m', { a: `t${a % (i + 1)}`, b: `t${b % (i + 1)}` }, { y: `t${i + 1}` }),
        );
        const outputs = edges.map((_, i) => x(`t${i + 1}`));
        const values = [1];
        edges.forEach(([a, b], i) => {
          values.push((values[a % (i + 1)] + values[b % (i + 1)] + i) % 256);
        });
        const wanted = outputs.map((output) => output.name).filter((_, i) => ((wantedSeed >> i) & 1) === 1);
        const order = edges.map(([, , key], i) => ({ key, i })).sort((p, q) => p.key - q.key);
        const shuffled = order.map(({ i }) => steps[i]);
        const run = new EnsembleRun(planEnsemble(ensemble([x('t0')], outputs, shuffled)), wanted);
        let { ready, done } = run.start([tensor('t0', 1)]);
        const open = [...ready];
        for (let k = 0; done === undefined; k++) {
          const [next] = open.splice(picks[k] % open.length, 1);
          const [a, b] = next.inputs;
          const i = order[next.step].i;
          ({ ready, done } = run.complete(next.step, [tensor('y', (a.data[0] + b.data[0] + i) % 256)]));
          open.push(...ready);
        }
        const names = wanted.length > 0 ? wanted : outputs.map((output) => output.name);
        assert.deepEqual(
          done,
          names.map((name) => tensor(name, values[Number(name.slice(1))])),
        );
        assert.equal(run.held, 0);
      }),
    );
  });
});
