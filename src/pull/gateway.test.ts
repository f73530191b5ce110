import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { mlflowFiles, RegistryClient } from '../testing/registry-client.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-pull-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

let files = 0;
async function start(config: string, dataDir?: string): Promise<ServerProcess> {
  const file = join(scratch, `${files++}.yaml`);
  writeFileSync(file, config);
  const server = await ServerProcess.start(['--config', file], dataDir === undefined ? {} : { dataDir });
  running.add(server);
  return server;
}

async function stop(server: ServerProcess): Promise<void> {
  running.delete(server);
  await server.stop();
}

const clientOf = (server: ServerProcess, token = ''): RegistryClient =>
  new RegistryClient(`http://127.0.0.1:${server.ports.admin}`, token);

const ask = (server: ServerProcess, model: string) =>
  infer(server, model, [{ name: 'INPUT', shape: [1, 4], datatype: 'FP32', data: [1, 2, 3, 4] }]);

async function until(what: string, check: () => Promise<boolean>): Promise<number> {
  const begun = performance.now();
  while (performance.now() - begun < 20_000) {
    if (await check()) return Math.round(performance.now() - begun);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`not within 20 s: ${what}`);
}

const serves = (server: ServerProcess, model: string, version: string) => async () => {
  const { status, body } = await ask(server, model).catch(() => ({ status: 0, body: { model_version: '' } }));
  return status === 200 && body.model_version === version;
};

test('moving an alias swaps what is served, there and back, without one failed request', async (t) => {
  const server = await start('models: {source: registry}\n');
  const client = clientOf(server);
  await client.register('swap', mlflowFiles('one'));
  await client.alias('swap', 'champion', '1');
  t.diagnostic(`first version: ${await until('version 1', serves(server, 'swap', '1'))} ms`);
  const failures: string[] = [];
  let asking = true;
  let answered = 0;
  const load = Array.from({ length: 4 }, async () => {
    while (asking) {
      const { status, body } = await ask(server, 'swap');
      if (status === 200) answered++;
      else failures.push(`${status} ${body.error}`);
    }
  });
  await client.register('swap', mlflowFiles('two'));
  for (const version of ['2', '1', '2', '1']) {
    await client.alias('swap', 'champion', version);
    t.diagnostic(`to version ${version}: ${await until(`version ${version}`, serves(server, 'swap', version))} ms`);
  }
  asking = false;
  await Promise.all(load);
  assert.deepEqual(failures, []);
  assert.ok(answered > 0);
  await stop(server);
});
