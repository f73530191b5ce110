import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planSession } from './options.ts';

test('defaults: one thread, no spinning, full optimization, the CPU', () => {
  const { options, warnings } = planSession({}, undefined, -1);
  assert.deepEqual(options, {
    executionProviders: [{ name: 'cpu' }],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    enableMemPattern: true,
    enableCpuMemArena: true,
    logSeverityLevel: 4,
    extra: { 'session.intra_op.allow_spinning': '0', 'session.inter_op.allow_spinning': '0' },
  });
  assert.deepEqual(warnings, []);
});

test("Triton's parameters and optimization block are taken by their names", () => {
  const { options } = planSession(
    {
      intra_op_thread_count: '4',
      inter_op_thread_count: '2',
      execution_mode: '1',
      enable_mem_pattern: '0',
      'session.intra_op.allow_spinning': '1',
      'session.set_denormal_as_zero': '1',
    },
    { graph: { level: -1 } },
    -1,
  );
  assert.equal(options.intraOpNumThreads, 4);
  assert.equal(options.interOpNumThreads, 2);
  assert.equal(options.executionMode, 'parallel');
  assert.equal(options.enableMemPattern, false);
  assert.equal(options.graphOptimizationLevel, 'basic');
  assert.deepEqual(options.extra, {
    'session.intra_op.allow_spinning': '1',
    'session.inter_op.allow_spinning': '0',
    'session.set_denormal_as_zero': '1',
  });
});

test('a GPU instance runs on its device, accelerators first, the CPU last', () => {
  const accelerators = { gpu_execution_accelerator: [{ name: 'tensorrt', parameters: { precision_mode: 'FP16' } }] };
  const { options, warnings } = planSession({}, { execution_accelerators: accelerators }, 2);
  assert.deepEqual(options.executionProviders, [
    { name: 'tensorrt', deviceId: 2 },
    { name: 'cuda', deviceId: 2 },
    { name: 'cpu' },
  ]);
  assert.match(warnings[0], /precision_mode/);
  assert.deepEqual(planSession({}, { execution_accelerators: accelerators }, -1).options.executionProviders, [
    { name: 'cpu' },
  ]);
});

test('options that cannot be handed on are told, wrong ones refused by name and value', () => {
  assert.match(planSession({ gpu_mem_limit: '1073741824' }, undefined, 0).warnings[0], /gpu_mem_limit/);
  const refuse = (parameters: Record<string, string>, message: RegExp) =>
    assert.throws(() => planSession(parameters, undefined, -1), { code: 'invalid_argument', message });
  refuse({ intra_op_thread_count: '-1' }, /"intra_op_thread_count" is "-1"; allowed/);
  refuse({ execution_mode: 'both' }, /"execution_mode" is "both"/);
  refuse({ graph_optimization_level: '9' }, /disabled, basic/);
  refuse({ enable_mem_pattern: 'constructor' }, /"enable_mem_pattern" is "constructor"/);
  refuse({ execution_providers: 'cuda, npu' }, /"npu"/);
});
