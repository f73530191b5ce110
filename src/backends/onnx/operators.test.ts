import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SwitchyardError } from '../../shared/errors.ts';
import { native } from '../../tensor/native.ts';
import { fixtureSpec } from '../../testing/load-spec.ts';
import { FIXTURES, ServerProcess } from '../../testing/server-process.ts';
import { OnnxBackend } from './backend.ts';
import { operatorLibraries } from './operators.ts';

// A machine that compiled the addon compiles this, too.
const skip = native === undefined && 'the addon is off';
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-operators-'));
const MODEL = 'custom_operator';
after(() => rmSync(scratch, { recursive: true, force: true }));

/** A repository with the model and its library, compiled with `flags`. */
function repository(...flags: string[]): string {
  const root = mkdtempSync(join(scratch, 'models-'));
  cpSync(join(FIXTURES, MODEL), join(root, MODEL), { recursive: true });
  const source = join(FIXTURES, MODEL, 'doubled.c');
  execFileSync('cc', ['-shared', '-fPIC', ...flags, '-o', join(root, MODEL, '1', 'libdoubled.so'), source]);
  return root;
}

function specIn(root: string, op_library_filename: string[]) {
  const spec = fixtureSpec(MODEL, { raw: { model_operations: { op_library_filename } } });
  return { ...spec, directory: join(root, MODEL, '1'), modelDirectory: join(root, MODEL) };
}

test('a model with operators of its own is served, from a process of its own', { skip }, async () => {
  const root = repository();
  const server = await ServerProcess.start(['--model-repository', root, '--model-control-mode', 'explicit']);
  const load = (parameters: object) =>
    fetch(server.url(`/v2/repository/models/${MODEL}/load`), { method: 'POST', body: JSON.stringify({ parameters }) });
  try {
    const config = JSON.stringify({ model_operations: { op_library_filename: ['libdoubled.so'] } });
    const named = await load({ config });
    assert.equal(named.status, 403);
    assert.match(await named.text(), /names libraries of operators; only the file in the model repository may/);
    assert.equal((await load({})).status, 200);
    const inputs = [{ name: 'x', datatype: 'FP32', shape: [2, 2], data: [1, 2, -3, 0.5] }];
    const body = JSON.stringify({ inputs });
    const response = await fetch(server.url(`/v2/models/${MODEL}/infer`), { method: 'POST', body });
    const answer = (await response.json()) as { outputs: { data: number[] }[] };
    assert.deepEqual(answer.outputs?.[0].data, [2, 4, -6, 1], JSON.stringify(answer));
  } finally {
    await server.stop();
  }
});

test('a library that crashes costs its model, not the server', { skip }, async () => {
  const root = repository('-DCRASH');
  cpSync(join(FIXTURES, 'simple'), join(root, 'simple'), { recursive: true });
  const server = await ServerProcess.start(['--model-repository', root]);
  try {
    const index = await fetch(server.url('/v2/repository/index'), { method: 'POST' });
    const states = (await index.json()) as { name: string; state: string; reason: string }[];
    const broken = states.find(({ name }) => name === MODEL);
    assert.equal(broken?.state, 'UNAVAILABLE');
    assert.match(broken?.reason ?? '', /SIGABRT|crash/);
    assert.equal((await fetch(server.url('/v2/models/simple/ready'))).status, 200);
  } finally {
    await server.stop();
  }
});

test('libraries are found in the folders of version and model, and nowhere else', async () => {
  const root = mkdtempSync(join(scratch, 'places-'));
  const folder = join(root, MODEL);
  mkdirSync(join(folder, '1', 'lib'), { recursive: true });
  for (const name of ['1/lib/a.so', 'b.so', '../outside.so']) writeFileSync(join(folder, name), 'x');
  symlinkSync(join(root, 'outside.so'), join(folder, 'linked.so'));
  assert.deepEqual(await operatorLibraries(specIn(root, [])), []);
  const found = await operatorLibraries(specIn(root, ['lib/a.so', 'b.so', join(folder, 'b.so')]));
  assert.deepEqual(
    found.map((path) => path.slice(path.indexOf(MODEL))),
    [`${MODEL}/1/lib/a.so`, `${MODEL}/b.so`, `${MODEL}/b.so`],
  );
  for (const [name, why] of [
    ['../../outside.so', /lies outside the model's folder; copy it there/],
    [join(root, 'outside.so'), /lies outside/],
    ['linked.so', /"linked.so" lies outside/],
    ['lib', /is not a regular file/],
    ['missing.so', /is not there; put it into the version's folder or the model's/],
  ] as const)
    await assert.rejects(operatorLibraries(specIn(root, [name])), (error: SwitchyardError) => {
      assert.equal(error.code, 'failed_precondition');
      assert.match(error.message, why);
      return true;
    });
});

test('where the way to ONNX Runtime cannot register operators, that is said', { skip }, async () => {
  const root = repository();
  await assert.rejects(new OnnxBackend('node').load(specIn(root, ['libdoubled.so'])), (error) => {
    assert.ok(error instanceof SwitchyardError);
    assert.match(
      error.message,
      /need the addon's ONNX Runtime, and models.onnxRuntime is node; set models.onnxRuntime/,
    );
    return true;
  });
  writeFileSync(join(root, MODEL, '1', 'text.so'), 'no library');
  await assert.rejects(new OnnxBackend('native').load(specIn(root, ['text.so'])), /was not loaded/);
});
