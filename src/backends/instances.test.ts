import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { InstanceGroup } from '../config/model-config.ts';
import { testModelConfig } from '../testing/model-config.ts';
import { gpuInstances, hasFixedTensors, instanceDevices, machineGpus, slotsFor } from './instances.ts';

const group = (kind: InstanceGroup['kind'], count: number, gpus: number[] = []): InstanceGroup => ({
  kind,
  count,
  gpus,
});

test('instances are counted as Triton counts them: so many on each GPU', () => {
  const two = () => [0, 1];
  assert.deepEqual(instanceDevices([group('gpu', 2, [0, 3])], two), [0, 0, 3, 3]);
  assert.deepEqual(instanceDevices([group('gpu', 1)], two), [0, 1]);
  assert.deepEqual(
    instanceDevices([group('gpu', 1)], () => []),
    [0],
  );
  assert.deepEqual(instanceDevices([group('cpu', 2), group('gpu', 1, [1])], two), [-1, -1, 1]);
  assert.deepEqual(instanceDevices([group('cpu', 0)], two), []);
});

test('a model is staged where all of its instances are on GPUs', () => {
  assert.deepEqual(gpuInstances([0, 0, 3]), [
    { device: 0, instances: 2 },
    { device: 3, instances: 1 },
  ]);
  assert.deepEqual(gpuInstances([-1, 0]), []);
  assert.deepEqual(gpuInstances([]), []);
  assert.deepEqual([0, 1, 2, 9].map(slotsFor), [2, 2, 3, 3]);
});

test('slots hold tensors of fixed size only', () => {
  const fixed = { name: 'x', datatype: 'FP32' as const, dims: [3, 2] };
  const fits = (input: object) =>
    hasFixedTensors(
      testModelConfig({ signature: { inputs: [{ ...fixed, ...input }], outputs: [fixed], maxBatchSize: 8 } }),
    );
  assert.ok(fits({}), 'fixed');
  for (const other of [{ dims: [-1] }, { datatype: 'BYTES' }, { optional: true }, { ragged: true }, { reshape: [6] }])
    assert.ok(!fits(other), JSON.stringify(other));
  const empty = { signature: { inputs: [], outputs: [], maxBatchSize: 8 } };
  assert.ok(!hasFixedTensors(testModelConfig(empty)), 'nothing is known yet');
});

test('the GPUs of a machine are its device files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-gpus-'));
  try {
    for (const name of ['nvidia10', 'nvidia2', 'nvidiactl', 'nvidia-uvm']) writeFileSync(join(folder, name), '');
    assert.deepEqual(machineGpus(folder), [2, 10]);
    assert.deepEqual(machineGpus(join(folder, 'none')), []);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
