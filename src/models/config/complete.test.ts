import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RuntimeSignature } from '../../backends/backend.ts';
import type { TensorSpec } from '../../config/model-config.ts';
import { completeConfig, completeEnsemble } from './complete.ts';
import { normaliseConfig, plainContext } from './normalise.ts';
import type { RawModel } from './raw-types.ts';
import { readModelConfig } from './read.ts';

const tensor = (name: string, dims: number[], datatype: TensorSpec['datatype'] = 'FP32'): TensorSpec => ({
  name,
  dims,
  datatype,
});
const BATCHABLE: RuntimeSignature = {
  inputs: [tensor('x', [-1, 3])],
  outputs: [tensor('y', [-1, 2]), tensor('z', [-1], 'INT64')],
};
const FIXED: RuntimeSignature = { inputs: [tensor('x', [1, 3])], outputs: [tensor('y', [1, 2])] };

const normalise = (pbtxt: string, files = ['model.onnx']) =>
  normaliseConfig(readModelConfig(pbtxt, 'm/config.pbtxt'), { ...plainContext('m'), files });
const complete = (pbtxt: string, signature = BATCHABLE) => completeConfig(normalise(pbtxt), signature);

test('without a configuration everything follows from the file and the runtime', () => {
  const config = complete('');
  assert.equal(config.backend, 'onnxruntime');
  assert.equal(config.platform, 'onnxruntime_onnx');
  assert.deepEqual(config.signature, {
    inputs: [tensor('x', [3])],
    outputs: [tensor('y', [2]), tensor('z', [], 'INT64')],
    maxBatchSize: 64,
  });
  assert.equal(config.batching.enabled, true);
  assert.deepEqual(config.versionPolicy, { kind: 'latest', count: 1 });
  assert.deepEqual(config.instanceGroups, [{ kind: 'cpu', count: 0, gpus: [] }]);
});

test('raw holds what clients read without asking whether it exists', () => {
  const raw = complete('response_cache { }').raw as RawModel;
  assert.equal(raw.name, 'm');
  assert.equal(raw.max_batch_size, 64);
  assert.equal(raw.response_cache?.enable, false);
  assert.equal(raw.model_transaction_policy?.decoupled, false);
  assert.deepEqual(raw.version_policy, { latest: { num_versions: 1 } });
  assert.equal(raw.instance_group?.[0].kind, 'KIND_CPU');
  assert.deepEqual(raw.dynamic_batching?.preferred_batch_size, []);
  assert.equal(raw.input?.[0].data_type, 'TYPE_FP32');
  assert.equal(raw.input?.[0].optional, false);
  assert.equal('sequence_batching' in raw, false);
  assert.equal('optimization' in raw, false);
});

test('completing twice changes nothing', () => {
  const once = complete('max_batch_size: 4 output { name: "z" data_type: TYPE_INT64 dims: [1] }');
  assert.deepEqual(completeConfig(once, BATCHABLE), once);
  const bare = complete('', FIXED);
  assert.deepEqual(completeConfig(bare, FIXED), bare);
});

test('a model with a fixed first dimension is not batched', () => {
  const config = complete('', FIXED);
  assert.equal(config.signature.maxBatchSize, 0);
  assert.deepEqual(config.signature.inputs[0].dims, [1, 3]);
  assert.equal(config.batching.enabled, false);
});

test('max_batch_size: 0 and full-rank dims both mean no batching; a given size keeps the default scheduler', () => {
  assert.equal(complete('max_batch_size: 0').signature.maxBatchSize, 0);
  assert.deepEqual(complete('max_batch_size: 0').signature.inputs[0].dims, [-1, 3]);
  assert.equal(complete('input { name: "x" dims: [-1, 3] }').signature.maxBatchSize, 0);
  assert.equal(complete('input { name: "x" dims: [3] }').signature.maxBatchSize, 64);
  assert.equal(complete('max_batch_size: 8').batching.enabled, false);
  assert.equal(complete('max_batch_size: 8 dynamic_batching { }').batching.enabled, true);
});

test('missing inputs are added, given outputs are a choice', () => {
  const config = complete('output { name: "z" }');
  assert.deepEqual(
    config.signature.inputs.map((i) => i.name),
    ['x'],
  );
  assert.deepEqual(
    config.signature.outputs.map((o) => o.name),
    ['z'],
  );
});

test('contradictions name both values', () => {
  const cases: [string, RuntimeSignature, RegExp][] = [
    [
      'input { name: "x" data_type: TYPE_INT32 }',
      BATCHABLE,
      /input "x" has data_type TYPE_INT32 in the configuration and TYPE_FP32 in the model/,
    ],
    [
      'max_batch_size: 2 input { name: "x" dims: [4] }',
      BATCHABLE,
      /dims \[4\] in the configuration and \[3\] in the model after its batch/,
    ],
    ['input { name: "q" }', BATCHABLE, /input "q" is in the configuration but not in the model; the model has x/],
    ['max_batch_size: 8', FIXED, /max_batch_size is 8, but the model's tensor "x" has shape \[1,3\]/],
    ['max_batch_size: 8', { ...BATCHABLE, maxBatchSize: 4 }, /takes batches up to 4/],
  ];
  for (const [source, signature, message] of cases) {
    assert.throws(() => complete(source, signature), { code: 'invalid_argument', message }, source);
  }
});

test('a configuration may narrow variable dims but not widen fixed ones', () => {
  const signature: RuntimeSignature = { inputs: [tensor('x', [-1, -1, 8])], outputs: [tensor('y', [-1, -1])] };
  assert.deepEqual(
    complete('max_batch_size: 2 input { name: "x" dims: [16, 8] }', signature).signature.inputs[0].dims,
    [16, 8],
  );
  assert.throws(
    () => complete('max_batch_size: 2 input { name: "x" dims: [-1, -1] }', signature),
    /\[-1,-1\].*\[-1,8\]/,
  );
});

test('extensions, ragged inputs, priorities and optimisation reach the normal form', () => {
  const config = complete(`
    max_batch_size: 16
    input { name: "x" allow_ragged_batch: true }
    dynamic_batching {
      priority_levels: 2 default_priority_level: 2 preferred_batch_size: [8, 4]
      default_queue_policy { max_queue_size: 100 timeout_action: DELAY }
      priority_queue_policy { key: 1 value { default_timeout_microseconds: 5 allow_timeout_override: true } }
    }
    model_transaction_policy { decoupled: true }
    response_cache { enable: true }
    parameters { key: "switchyard.allowed_batch_sizes" value { string_value: "4, 16" } }
    parameters { key: "switchyard.ragged_pad_value" value { string_value: "-1" } }
    parameters { key: "switchyard.latency_target_ms" value { string_value: "20" } }
    parameters { key: "switchyard.version_labels" value { string_value: "stable=3,canary=4" } }
    parameters { key: "switchyard.isolation" value { string_value: "process" } }`);
  assert.equal(config.signature.inputs[0].ragged, true);
  assert.equal(config.signature.inputs[0].padValue, -1);
  assert.deepEqual(config.batching.preferredBatchSizes, [4, 8]);
  assert.deepEqual(config.batching.allowedBatchSizes, [4, 16]);
  assert.deepEqual(config.batching.defaultQueuePolicy, {
    timeoutAction: 'DELAY',
    defaultTimeoutMicros: 0,
    allowTimeoutOverride: false,
    maxQueueSize: 100,
  });
  assert.equal(config.batching.priorityQueuePolicy.get(1)?.allowTimeoutOverride, true);
  assert.deepEqual(config.versionLabels, { stable: '3', canary: '4' });
  assert.deepEqual(
    [config.latencyTargetMs, config.isolation, config.decoupled, config.responseCache],
    [20, 'process', true, true],
  );
});

test('settings that cannot be served are refused with a remedy', () => {
  const cases: [string, RegExp][] = [
    ['name: "other"', /name is "other" but the model's folder is "m"/],
    ['platform: "tensorrt_plan"', /platform "tensorrt_plan" is not served here.*triton/],
    ['backend: "onnx"', /did you mean "onnxruntime"/],
    ['backend: "javascript" platform: "onnxruntime_onnx"', /contradicts/],
    ['sequence_batching { }', /sequence_batching is not served/],
    ['platform: "ensemble"', /belong together/],
    ['max_batch_size: -1', /max_batch_size is -1/],
    ['input { name: "x" dims: [0] }', /dims holds 0/],
    ['input { name: "x" allow_ragged_batch: true }', /ragged inputs need a batch dimension/],
    ['max_batch_size: 4 dynamic_batching { preferred_batch_size: 8 }', /preferred_batch_size holds 8/],
    ['dynamic_batching { priority_levels: 2 }', /default_priority_level is 0/],
    ['version_policy { latest { num_versions: 0 } }', /num_versions is 0/],
    ['instance_group { kind: KIND_CPU gpus: [0] }', /KIND_CPU but lists gpus/],
    [
      'parameters { key: "switchyard.isolaton" value { string_value: "process" } }',
      /did you mean "switchyard.isolation"/,
    ],
    ['parameters { key: "switchyard.isolation" value { string_value: "vm" } }', /"vm"; allowed: thread, process/],
    [
      'max_batch_size: 8 parameters { key: "switchyard.allowed_batch_sizes" value { string_value: "4" } }',
      /largest must be max_batch_size 8/,
    ],
    [
      'model_warmup { name: "w" inputs { key: "x" value { data_type: TYPE_FP32 dims: -1 zero_data: true } } }',
      /needs fixed dimensions/,
    ],
    ['input { name: "x" dims: [3] reshape { shape: [2] } }', /does not hold as many elements/],
  ];
  for (const [source, message] of cases) {
    assert.throws(() => normalise(source), { code: 'invalid_argument', message }, source);
  }
  assert.throws(() => normalise('', ['model.pt']), /no backend is named and no version holds model.onnx or model.mjs/);
});

test('remote models take their bound from the server', () => {
  const remote = normaliseConfig(readModelConfig('backend: "triton"', 'm/config.pbtxt'), plainContext('m'));
  assert.equal(remote.instanceGroups[0].kind, 'remote');
  assert.equal(completeConfig(remote, { ...BATCHABLE, maxBatchSize: 8 }).signature.maxBatchSize, 8);
  assert.equal(completeConfig(remote, { ...BATCHABLE, maxBatchSize: 0 }).signature.maxBatchSize, 0);
});

test('an ensemble must type its tensors', () => {
  const ensemble = 'platform: "ensemble" ensemble_scheduling { step { model_name: "a" } }';
  assert.throws(() => completeEnsemble(normalise(ensemble)), /input is missing/);
});
