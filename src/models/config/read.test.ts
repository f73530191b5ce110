import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readModelConfig } from './read.ts';

const DENSENET = `
name: "densenet_onnx"
platform: "onnxruntime_onnx"
max_batch_size : 0
input [
  {
    name: "data_0"
    data_type: TYPE_FP32
    format: FORMAT_NCHW
    dims: [ 3, 224, 224 ]
    reshape { shape: [ 1, 3, 224, 224 ] }
  }
]
output [
  {
    name: "fc6_1"
    data_type: TYPE_FP32
    dims: [ 1000 ]
    reshape { shape: [ 1, 1000, 1, 1 ] }
    label_filename: "densenet_labels.txt"
  }
]
instance_group { count: 2 kind: KIND_CPU }
instance_group { count: 1 kind: KIND_GPU gpus: [0, 1] }
parameters { key: "intra_op_thread_count" value { string_value: "4" } }
parameters: { key: "switchyard.isolation", value: { string_value: "process" } }
optimization { execution_accelerators {
  gpu_execution_accelerator : [ { name : "tensorrt" parameters { key: "precision_mode" value: "FP16" } } ]
}}
dynamic_batching {
  preferred_batch_size: 4 preferred_batch_size: [ 8 ]
  priority_queue_policy { key: 1 value { timeout_action: DELAY default_timeout_microseconds: 1000 } }
}
`;

test('a real config.pbtxt maps onto snake_case JSON', () => {
  assert.deepEqual(readModelConfig(DENSENET, 'densenet_onnx/config.pbtxt'), {
    name: 'densenet_onnx',
    platform: 'onnxruntime_onnx',
    max_batch_size: 0,
    input: [
      {
        name: 'data_0',
        data_type: 'TYPE_FP32',
        format: 'FORMAT_NCHW',
        dims: [3, 224, 224],
        reshape: { shape: [1, 3, 224, 224] },
      },
    ],
    output: [
      {
        name: 'fc6_1',
        data_type: 'TYPE_FP32',
        dims: [1000],
        reshape: { shape: [1, 1000, 1, 1] },
        label_filename: 'densenet_labels.txt',
      },
    ],
    instance_group: [
      { count: 2, kind: 'KIND_CPU' },
      { count: 1, kind: 'KIND_GPU', gpus: [0, 1] },
    ],
    parameters: {
      intra_op_thread_count: { string_value: '4' },
      'switchyard.isolation': { string_value: 'process' },
    },
    optimization: {
      execution_accelerators: {
        gpu_execution_accelerator: [{ name: 'tensorrt', parameters: { precision_mode: 'FP16' } }],
      },
    },
    dynamic_batching: {
      preferred_batch_size: [4, 8],
      priority_queue_policy: { 1: { timeout_action: 'DELAY', default_timeout_microseconds: 1000 } },
    },
  });
});

test('YAML says the same, with short types and plain extension fields', () => {
  const yaml = `
max_batch_size: 16
input:
  - &t {name: a, data_type: fp32, dims: [-1, 3]}
output:
  - {name: b, data_type: BYTES, dims: [0x10]}
dynamic_batching: {max_queue_delay_microseconds: 100}
parameters: {k: v}
isolation: process
allowed_batch_sizes: [4, 16]
version_labels: {stable: 3}
latency_target_ms: 12.5
`;
  assert.deepEqual(readModelConfig(yaml, 'm/config.yaml'), {
    max_batch_size: 16,
    input: [{ name: 'a', data_type: 'TYPE_FP32', dims: [-1, 3] }],
    output: [{ name: 'b', data_type: 'TYPE_STRING', dims: [16] }],
    dynamic_batching: { max_queue_delay_microseconds: 100 },
    parameters: {
      k: { string_value: 'v' },
      'switchyard.isolation': { string_value: 'process' },
      'switchyard.allowed_batch_sizes': { string_value: '4,16' },
      'switchyard.version_labels': { string_value: 'stable=3' },
      'switchyard.latency_target_ms': { string_value: '12.5' },
    },
  });
});

test('inline JSON accepts camelCase and quoted integers, as protobuf JSON does', () => {
  const json = '{"maxBatchSize": "8", "versionPolicy": {"specific": {"versions": ["1", 2]}}, "backend": null}';
  assert.deepEqual(readModelConfig(json, 'm/config.json'), {
    max_batch_size: 8,
    version_policy: { specific: { versions: [1, 2] } },
  });
});

test('errors name file, line, column, field and what is allowed', () => {
  const cases: [string, string, RegExp][] = [
    ['c.pbtxt', 'max_batchsize: 8', /^c.pbtxt:1:1: unknown field "max_batchsize"; did you mean "max_batch_size"\?/],
    ['c.pbtxt', 'input {\n nme: "a" }', /^c.pbtxt:2:2: unknown field "nme" in input\[0\]; did you mean "name"\?/],
    ['c.pbtxt', 'max_batch_size: "8"', /:1:17: max_batch_size must be an integer, not the string "8"/],
    ['c.pbtxt', 'max_batch_size: 1.5', /must be an integer, not 1.5/],
    ['c.pbtxt', 'max_batch_size: 3000000000', /must lie between/],
    ['c.pbtxt', 'input { dims: 9223372036854775807 }', /must lie between/],
    ['c.pbtxt', 'input { data_type: TYPE_FP23 }', /"TYPE_FP23"; did you mean TYPE_FP32\?/],
    ['c.pbtxt', 'input { data_type: "TYPE_FP32" }', /without quotes/],
    ['c.pbtxt', 'name: foo', /must be a quoted string/],
    ['c.pbtxt', 'name: "a"\nname: "b"', /:2:1: name is given twice; first on line 1/],
    [
      'c.pbtxt',
      'dynamic_batching {}\nsequence_batching {}',
      /:2:1: sequence_batching cannot stand beside dynamic_batching/,
    ],
    ['c.pbtxt', 'dynamic_batching: 3', /must be a message with fields, not 3/],
    ['c.pbtxt', 'name { }', /must be a single value, not a message/],
    ['c.pbtxt', 'parameters { key: "a" } parameters { key: "a" }', /key "a" twice/],
    ['c.pbtxt', 'parameters { key: "__proto__" }', /reserved name/],
    ['c.pbtxt', 'parameters { vale { } }', /unknown field "vale" in an entry of parameters/],
    [
      'c.yaml',
      'input:\n  - name: a\n    dim: [1]',
      /^c.yaml:3:5: unknown field "dim" in input\[0\]; did you mean "dims"\?/,
    ],
    ['c.yaml', 'a: [', /^c.yaml:/],
    ['c.yaml', 'max_batch_size: 1\nmax_batch_size: 2', /^c.yaml:2:1/],
    ['c.yaml', '- 1', /must be a mapping/],
    ['c.yaml', 'isolation: [{a: 1}]', /isolation holds a message/],
    ['c.json', '{', /^c.json: is not valid JSON/],
    ['c.json', '[]', /must be a JSON object/],
    ['c.json', '{"max_batch_size": 1e400}', /must be an integer/],
  ];
  for (const [file, source, message] of cases) {
    assert.throws(() => readModelConfig(source, file), { code: 'invalid_argument', message }, source);
  }
});

test('YAML bombs and deep nesting are refused', () => {
  const bomb = ['a: &a [x,x,x,x,x,x,x,x,x,x]'];
  for (let i = 1; i < 9; i++) {
    const before = String.fromCharCode(96 + i);
    bomb.push(
      `${String.fromCharCode(97 + i)}: &${String.fromCharCode(97 + i)} [${Array(10).fill(`*${before}`).join(',')}]`,
    );
  }
  assert.throws(() => readModelConfig(bomb.join('\n'), 'c.yaml'), { code: 'invalid_argument' });
  assert.throws(() => readModelConfig(`a: ${'['.repeat(100_000)}`, 'c.yaml'), { code: 'invalid_argument' });
  assert.throws(() => readModelConfig(`{"a": ${'['.repeat(250_000)}${']'.repeat(250_000)}}`, 'c.json'), {
    code: 'invalid_argument',
  });
});
