import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { LoadSpec } from '../backends/backend.ts';
import type { ModelConfig } from '../config/model-config.ts';
import { modelConfig } from '../testing/load-spec.ts';
import { instanceOf, leastLoaded, placementOf, standingOf } from './placement.ts';

const sizes = { compute: 8, io: 4, defaultInstances: 2 };

function config(overrides: Partial<ModelConfig>): ModelConfig {
  return modelConfig('m', 'onnxruntime', overrides);
}

const instances = (count: number): ModelConfig['instanceGroups'] => [{ kind: 'cpu', count, gpus: [] }] as never;

test('a model that computes in its thread gets its instances, or the default, as far as there are threads', () => {
  assert.deepEqual(placementOf(config({}), sizes), { compute: true, count: 2 });
  assert.deepEqual(placementOf(config({ instanceGroups: instances(3) }), sizes), { compute: true, count: 3 });
  assert.deepEqual(placementOf(config({ instanceGroups: instances(30) }), sizes), { compute: true, count: 8 });
});

test('remote and isolated ones get one I/O executor, or one for each instance', () => {
  assert.deepEqual(placementOf(config({ backend: 'triton' }), sizes), { compute: false, count: 1 });
  const isolated = config({ isolation: 'process', instanceGroups: instances(3) });
  assert.deepEqual(placementOf(isolated, sizes), { compute: false, count: 3 });
  assert.deepEqual(placementOf(config({ isolation: 'process', instanceGroups: instances(9) }), sizes).count, 4);
});

test('many models spread evenly, whatever order they come in', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 40 }), (counts) => {
      const executors = Array.from({ length: 4 }, (_, id) => ({ id, load: 0 }));
      for (const count of counts) {
        const chosen = leastLoaded(executors, count);
        assert.equal(new Set(chosen.map(({ id }) => id)).size, count);
        for (const executor of chosen) executor.load++;
        const loads = executors.map(({ load }) => load);
        assert.ok(Math.max(...loads) - Math.min(...loads) <= 1, `loads ${loads}`);
      }
    }),
  );
});

test('each instance of a model on a GPU is loaded on the device of its turn', () => {
  const gpus = [{ kind: 'gpu', count: 1, gpus: [2, 5] }] as never;
  const spec = { model: 'm', version: '1', config: config({ instanceGroups: gpus }), device: 2 } as unknown as LoadSpec;
  assert.deepEqual(
    [0, 1, 2].map((k) => instanceOf(spec, k).device),
    [2, 5, 2],
  );
  assert.equal(instanceOf({ ...spec, device: -1 }, 1).device, -1);
});

test('a version is sent to the executors that can run it, and to all that hold it while none can, with the first reason', () => {
  const reasons = new Map([[3, 'its process ended']]);
  assert.deepEqual(
    standingOf([1, 3], (id) => reasons.get(id)),
    { executors: [1], absence: '' },
  );
  reasons.set(1, 'it is being loaded');
  assert.deepEqual(
    standingOf([1, 3], (id) => reasons.get(id)),
    { executors: [1, 3], absence: 'it is being loaded' },
  );
});
