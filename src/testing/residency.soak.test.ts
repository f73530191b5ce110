import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { until } from './script-models.ts';
import { FIXTURES, infer, ServerProcess } from './server-process.ts';

const MODELS = 60;
/** Models that the budget has room for. */
const ROOM = 12;

/** The bytes that each loaded model holds. */
async function loaded(server: ServerProcess): Promise<Map<string, number>> {
  const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/usage`);
  const { models } = (await response.json()) as { models: { model: string; memory_bytes: number }[] };
  return new Map(models.filter((row) => row.memory_bytes > 0).map((row) => [row.model, row.memory_bytes]));
}

/** A model without a configuration of its own, but that it is not proven: copies of one would take most of the time. */
function copyModel(root: string, name: string): void {
  cpSync(join(FIXTURES, 'identity_fp32'), join(root, name), { recursive: true });
  writeFileSync(
    join(root, name, 'config.pbtxt'),
    'parameters { key: "switchyard.preflight" value { string_value: "false" } }',
  );
}

const row = (value: number) => [{ name: 'INPUT', shape: [1, 4], datatype: 'FP32', data: [value, 0, 0, 0] }];

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-residency-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

test(`${MODELS} ONNX models with memory for ${ROOM}: each answers, and the least recently used make room`, async () => {
  const root = join(scratch, 'models');
  const names = Array.from({ length: MODELS }, (_, i) => `copy-${String(i).padStart(3, '0')}`);
  for (const name of names) copyModel(root, name);
  const config = join(scratch, 'switchyard.yaml');
  const write = (budget: number): void =>
    writeFileSync(config, `models: {repositories: [${root}], memoryBudgetBytes: ${budget}}\nthreads: {executors: 2}\n`);
  const ask = async (server: ServerProcess, name: string): Promise<void> => {
    const value = Number(name.slice(5));
    const { status, body } = await infer(server, name, row(value));
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

test('an ensemble under a memory budget: its steps are loaded for it, and count as used with it', async () => {
  const root = join(scratch, 'composed');
  const others = Array.from({ length: 6 }, (_, i) => `other-${i}`);
  for (const name of ['first', 'second', ...others]) copyModel(root, name);
  mkdirSync(join(root, 'chain', '1'), { recursive: true });
  writeFileSync(
    join(root, 'chain', 'config.pbtxt'),
    `platform: "ensemble"
input [{name: "INPUT" data_type: TYPE_FP32 dims: [-1, 4]}]
output [{name: "OUTPUT" data_type: TYPE_FP32 dims: [-1, 4]}]
ensemble_scheduling { step [
  {model_name: "first" model_version: -1 input_map {key: "INPUT" value: "INPUT"} output_map {key: "OUTPUT" value: "between"}},
  {model_name: "second" model_version: -1 input_map {key: "INPUT" value: "between"} output_map {key: "OUTPUT" value: "OUTPUT"}}
] }
`,
  );
  const config = join(scratch, 'composed.yaml');
  const write = (budget: number): void =>
    writeFileSync(config, `models: {repositories: [${root}], memoryBudgetBytes: ${budget}}\nthreads: {gateways: 1}\n`);
  write(0);
  const dataDir = join(scratch, 'composed-data');
  const unbounded = await ServerProcess.start(['--config', config], { dataDir });
  const size = Math.max(...(await loaded(unbounded)).values());
  await unbounded.stop();
  write(size * 3);
  const server = await ServerProcess.start(['--config', config], { dataDir });
  after(() => server.stop());
  const ask = async (name: string, value: number): Promise<void> => {
    const { status, body } = await infer(server, name, row(value));
    assert.equal(status, 200, `${name}: ${body.error}`);
    assert.deepEqual(body.outputs?.[0].data, [value, 0, 0, 0]);
  };
  // All others together fill the memory: what the ensemble composes is out of it by then.
  for (const [i, name] of others.entries()) await ask(name, i);
  const metadata = await fetch(server.url('/v2/models/first'));
  assert.equal(metadata.status, 200, 'a model that is not in memory is loaded for whoever asks for its metadata');
  for (const name of others.slice(0, 3)) await ask(name, 1);
  const from = server.log.length;
  for (const [i, name] of others.entries()) {
    await ask('chain', i);
    await ask(name, i);
  }
  const gone = server.log.slice(from).filter((line) => /is evicted/.test(String(line.msg)));
  const steps = gone.filter((line) => ['first', 'second'].includes(String(line.model)));
  assert.deepEqual(steps, [], 'the busy ensemble keeps its steps');
  assert.ok(gone.length >= others.length, `${gone.length} evictions`);
});
