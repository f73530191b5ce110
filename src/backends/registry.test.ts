import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backendName, createBackend } from './registry.ts';

test('every backend is made under its name and the names users know', async () => {
  const made: [string, string, boolean][] = [
    ['onnxruntime_onnx', 'onnxruntime', true],
    ['ONNXRuntime', 'onnxruntime', true],
    ['javascript', 'javascript', true],
    ['triton', 'triton', false],
    ['v2', 'kserve', false],
    ['mlserver', 'kserve', false],
    ['tensorflow_serving', 'tfserving', false],
  ];
  for (const [alias, name, blocking] of made) {
    const backend = await createBackend(alias);
    assert.deepEqual([backendName(alias), backend.name, backend.blocking], [name, name, blocking]);
  }
});

test('an unknown backend is refused with what there is', () => {
  for (const name of ['', 'pytorch', '__proto__', 'constructor']) {
    assert.throws(() => backendName(name), {
      code: 'invalid_argument',
      message: /there are onnxruntime, javascript, triton/,
    });
  }
});
