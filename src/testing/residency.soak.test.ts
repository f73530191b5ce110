import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { until } from './script-models.ts';
import { FIXTURES, infer, ServerProcess } from './server-process.ts';

const MODELS = 60;
/** Models that the budget has room for. */
const ROOM = 12;

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-residency-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

test(`${MODELS} ONNX models with memory for ${ROOM}: each answers, and the least recently used make room`, async () => {
  const root = join(scratch, 'models');
  const names = Array.from({ length: MODELS }, (_, i) => `copy-${String(i).padStart(3, '0')}`);
  for (const name of names) {
    cpSync(join(FIXTURES, 'identity_fp32'), join(root, name), { recursive: true });
    // Proving copies of one model would take most of the time.
    writeFileSync(
      join(root, name, 'config.pbtxt'),
      'parameters { key: "switchyard.preflight" value { string_value: "false" } }',
    );
  }
  const config = join(scratch, 'switchyard.yaml');
  const write = (budget: number): void =>
    writeFileSync(config, `models: {repositories: [${root}], memoryBudgetBytes: ${budget}}\nthreads: {executors: 2}\n`);
  const loaded = async (server: ServerProcess): Promise<Map<string, number>> => {
    const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/usage`);
    const { models } = (await response.json()) as { models: { model: string; memory_bytes: number }[] };
    return new Map(models.filter((row) => row.memory_bytes > 0).map((row) => [row.model, row.memory_bytes]));
  };
  const ask = async (server: ServerProcess, name: string): Promise<void> => {
    const value = Number(name.slice(5));
    const { status, body } = await infer(server, name, [
      { name: 'INPUT', shape: [1, 4], datatype: 'FP32', data: [value, 0, 0, 0] },
    ]);
    assert.equal(status, 200, `${name}: ${body.error}`);
    assert.deepEqual(body.outputs?.[0].data, [value, 0, 0, 0]);
  };

  write(0);
  const dataDir = join(scratch, 'data');
  const unbounded = await ServerProcess.start(['--config', config], { dataDir });
  const sizes = await loaded(unbounded);
  await unbounded.stop();
  assert.equal(sizes.size, MODELS);
  const size = Math.max(...sizes.values());
  assert.ok(size > 0);

  write(size * ROOM);
  const server = await ServerProcess.start(['--config', config], { dataDir });
  after(() => server.stop());
  /** What is in memory once it keeps to the budget: a model's size is known when it is loaded, others go after that. */
  const within = async (): Promise<string[]> => {
    let names: string[] = [];
    await until('memory within its budget', async () => {
      const now = await loaded(server);
      names = [...now.keys()];
      return [...now.values()].reduce((sum, value) => sum + value, 0) <= size * ROOM;
    });
    return names;
  };
  assert.ok((await within()).length <= ROOM);
  for (const name of names) await ask(server, name);
  const last = await within();
  assert.ok(last.length > ROOM / 2 && last.length <= ROOM, `${last.length} in memory`);
  assert.deepEqual(last.toSorted(), names.slice(-last.length), 'those asked last are in memory');
  // Many clients, a favourite among the models: it is in use all the time, so that it is not the one to go.
  const from = server.log.length;
  let asking = true;
  const favourite = (async () => {
    while (asking) await ask(server, names[0]);
  })();
  favourite.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 500));
  const mark = server.log.length;
  const others = Array.from({ length: 6 }, async (_, client) => {
    for (let i = 0; i < 25; i++) await ask(server, names[1 + ((client * 37 + i * 11) % (MODELS - 1))]);
  });
  await Promise.all(others).finally(() => {
    asking = false;
  });
  await favourite;
  await within();
  assert.ok(server.log.slice(from).some((line) => /is evicted/.test(String(line.msg))));
  const gone = server.log.slice(mark).filter((line) => /is evicted/.test(String(line.msg)) && line.model === names[0]);
  // Gateways tell of use a few times a second: one that the machine holds up lets others look fresher for a moment. Were
  // use not counted, the favourite would go again and again.
  const evicted = server.log.slice(mark).filter((line) => /is evicted/.test(String(line.msg))).length;
  assert.ok(gone.length <= 2 && evicted > 20, `the favourite went ${gone.length} of ${evicted} times`);
});
