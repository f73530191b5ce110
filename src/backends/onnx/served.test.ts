import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
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
  test(`a server with models.onnxRuntime ${way} answers, reloads and drains`, { timeout: 180_000 }, async () => {
    const server = await ServerProcess.start(['--model-repository', repository, '--no-supervise'], {
      env: { SWITCHYARD_ONNX_RUNTIME: way },
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
