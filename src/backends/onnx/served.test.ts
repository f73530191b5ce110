import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { native } from '../../tensor/native.ts';
import { FIXTURES, ServerProcess } from '../../testing/server-process.ts';

const repository = mkdtempSync(join(tmpdir(), 'switchyard-ways-'));
after(() => rmSync(repository, { recursive: true }));
cpSync(join(FIXTURES, 'simple'), join(repository, 'simple'), { recursive: true });

const row = (start: number) => Array.from({ length: 16 }, (_, i) => start + i);
const body = JSON.stringify({
  inputs: [
    { name: 'INPUT0', datatype: 'INT32', shape: [1, 16], data: row(3) },
    { name: 'INPUT1', datatype: 'INT32', shape: [1, 16], data: row(1) },
  ],
});

for (const way of native === undefined ? ['auto'] : ['native', 'auto']) {
  test(`a server with models.onnxRuntime ${way} answers, reloads and drains`, { timeout: 600_000 }, async () => {
    const server = await ServerProcess.start(['--model-repository', repository, '--no-supervise'], {
      env: { SWITCHYARD_ONNX_RUNTIME: way, SWITCHYARD_ONNX_THREADS: '2' },
    });
    try {
      for (let round = 0; round < 3; round++) {
        const answers = await Promise.all(
          Array.from({ length: 20 }, async () => {
            const url = server.url('/v2/models/simple/infer');
            const answer = await fetch(url, { method: 'POST', body });
            return (await answer.json()) as { outputs: { name: string; data: number[] }[] };
          }),
        );
        for (const { outputs } of answers) {
          assert.deepEqual(
            outputs.find(({ name }) => name === 'OUTPUT1')?.data,
            row(3).map(() => 2),
          );
          assert.deepEqual(
            outputs.find(({ name }) => name === 'OUTPUT0')?.data,
            row(2).map((value) => 2 * value),
          );
        }
        const reload = server.url('/v2/repository/models/simple/load');
        if (round < 2) await (await fetch(reload, { method: 'POST', body: '{}' })).text();
      }
    } finally {
      assert.equal(await server.stop(), 0, server.stderr);
    }
  });
}

test('a model that wants a GPU where none is says so in the index, and the others are served', {
  timeout: 600_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-gpu-'));
  for (const name of ['simple', 'on_gpu'])
    cpSync(join(FIXTURES, 'simple'), join(folder, 'models', name), { recursive: true });
  writeFileSync(
    join(folder, 'models/on_gpu/config.pbtxt'),
    'backend: "onnxruntime"\nmax_batch_size: 8\ninstance_group [{ kind: KIND_GPU gpus: [ 0 ] }]\n',
  );
  // A provider of another version: refused before ONNX Runtime would load it.
  mkdirSync(join(folder, 'pip/onnxruntime/capi'), { recursive: true });
  mkdirSync(join(folder, 'pip/onnxruntime_gpu-1.2.3.dist-info'));
  for (const name of ['shared', 'cuda'])
    writeFileSync(join(folder, `pip/onnxruntime/capi/libonnxruntime_providers_${name}.so`), '');
  const named = join(folder, 'named.yaml');
  writeFileSync(named, 'models:\n  onnxRuntime: auto\n  cuda:\n    providerLibrary: pip\n');
  const cases: [string[], string, RegExp][] = [
    [[], 'node', /Cuda provider is not installed|libonnxruntime_providers_cuda/],
    [['--config', named], 'auto', /of ONNX Runtime 1\.2\.3, the one in use is \d/],
  ];
  try {
    for (const [flags, way, reason] of cases) {
      const server = await ServerProcess.start(
        [...flags, '--model-repository', join(folder, 'models'), '--no-supervise'],
        {
          env: { SWITCHYARD_ONNX_RUNTIME: way },
        },
      );
      try {
        const answer = await fetch(server.url('/v2/models/simple/infer'), { method: 'POST', body });
        assert.equal(answer.status, 200, await answer.text());
        const index = await fetch(server.url('/v2/repository/index'), { method: 'POST', body: '{}' });
        const entries = (await index.json()) as { name: string; state: string; reason?: string }[];
        const entry = entries.find(({ name }) => name === 'on_gpu');
        assert.equal(entry?.state, 'UNAVAILABLE', JSON.stringify(entries));
        assert.match(entry.reason ?? '', reason);
      } finally {
        assert.equal(await server.stop(), 0, server.stderr);
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
