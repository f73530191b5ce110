import assert from 'node:assert/strict';
import { test } from 'node:test';
import { graphBuckets, planGpu } from './gpu-options.ts';

const accelerators = (...list: object[]) => ({ execution_accelerators: { gpu_execution_accelerator: list } });

test('a GPU instance runs on CUDA without further options', () => {
  assert.deepEqual(planGpu({ intra_op_thread_count: '2' }, undefined), {
    providers: [{ name: 'cuda', options: {} }],
    graphs: false,
    graphSizes: [],
    memoryLimit: 0,
  });
});

test("Triton's names of options lead to ONNX Runtime's, others pass through by name", () => {
  const plan = planGpu(
    { gpu_mem_limit: '1073741824', cudnn_conv_algo_search: 'HEURISTIC' },
    {
      ...accelerators(
        {
          name: 'tensorrt',
          parameters: { precision_mode: 'fp16', max_workspace_size_bytes: '1024', trt_engine_cache_enable: '1' },
        },
        { name: 'cuda', parameters: { use_tf32: '0' } },
      ),
    },
  );
  assert.deepEqual(plan, {
    providers: [
      {
        name: 'tensorrt',
        options: { trt_fp16_enable: '1', trt_max_workspace_size: '1024', trt_engine_cache_enable: '1' },
      },
      {
        name: 'cuda',
        options: {
          gpu_mem_limit: '1073741824',
          cudnn_conv_algo_search: 'HEURISTIC',
          use_tf32: '0',
        },
      },
    ],
    graphs: false,
    graphSizes: [],
    memoryLimit: 1073741824,
  });
  assert.equal(planGpu({ execution_providers: 'tensorrt, cuda' }, undefined).providers[0].name, 'tensorrt');
});

test("graphs are the CUDA provider's, each named size once", () => {
  const cuda = { graphs: true, graph_spec: [{ batch_size: 8 }, { batch_size: 2 }, { batch_size: 8 }] };
  assert.deepEqual(planGpu({}, { cuda }), {
    providers: [{ name: 'cuda', options: { enable_cuda_graph: '1' } }],
    graphs: true,
    graphSizes: [2, 8],
    memoryLimit: 0,
  });
});

test('graphs are refused where TensorRT runs the model: its provider keeps one for all slots and batch sizes', () => {
  const tensorrt = (parameters: object) => accelerators({ name: 'tensorrt', parameters });
  const refuse = (parameters: Record<string, string>, optimization: unknown, message: RegExp) =>
    assert.throws(() => planGpu(parameters, optimization), { code: 'invalid_argument', message });
  refuse({}, { ...tensorrt({}), cuda: { graphs: true } }, /cuda\.graphs.*tensorrt; drop/);
  refuse({ enable_cuda_graph: '1', execution_providers: 'tensorrt' }, undefined, /enable_cuda_graph.*tensorrt; drop/);
  refuse({}, tensorrt({ trt_cuda_graph_enable: 'True' }), /"trt_cuda_graph_enable" of tensorrt is "True"; allowed: 0/);
  assert.equal(planGpu({}, tensorrt({ trt_cuda_graph_enable: '0' })).graphs, false);
});

test('what cannot be is refused by name and value', () => {
  const refuse = (parameters: Record<string, string>, optimization: unknown, message: RegExp) =>
    assert.throws(() => planGpu(parameters, optimization), { code: 'invalid_argument', message });
  refuse({ gpu_mem_limit: '2GB' }, undefined, /"gpu_mem_limit" is "2GB"; allowed: a number of bytes/);
  refuse({ enable_cuda_graph: 'yes' }, undefined, /"enable_cuda_graph" is "yes"; allowed: 0 or 1/);
  refuse({}, accelerators({ name: 'openvino' }), /"openvino".*allowed: cuda, tensorrt/);
  refuse({}, accelerators({ name: 'tensorrt', parameters: { precision_mode: 'FP8' } }), /"precision_mode".*"FP8"/);
  refuse(
    {},
    accelerators({ name: 'cuda', parameters: { device_id: '1' } }),
    /"device_id" of cuda is set by instance_group/,
  );
});

test('graphs are captured for the sizes that batches are padded to', () => {
  assert.deepEqual(graphBuckets(0, [], []), [1]);
  assert.deepEqual(graphBuckets(64, [], []), [1, 2, 4, 8, 16, 32, 64]);
  assert.deepEqual(graphBuckets(20, [], []), [1, 2, 4, 8, 16, 20]);
  assert.deepEqual(graphBuckets(64, [8, 64], [1, 2]), [8, 64]);
  assert.deepEqual(graphBuckets(64, [], [16, 128]), [16, 64]);
});
