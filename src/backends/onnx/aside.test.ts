import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { Tensor } from '../../tensor/tensor.ts';
import { fixtureSpec } from '../../testing/load-spec.ts';
import { OnnxBackend } from './backend.ts';
import { planSession } from './options.ts';
import { openShared, sharedProblem } from './shared-session.ts';

const problem = sharedProblem();
const skip = problem !== '' && problem;
const folder = mkdtempSync(join(tmpdir(), 'switchyard-aside-'));
after(() => rmSync(folder, { recursive: true }));

/** Of the model `simple`, whose outputs are their sum and difference. */
function inputs(first: number, second: number): Tensor[] {
  return [first, second].map((value, i) => {
    const data = new Uint8Array(Int32Array.from({ length: 16 }, () => value).buffer);
    return { name: `INPUT${i}`, datatype: 'INT32', shape: [1, 16], data };
  });
}

test('a thread goes on while a model is loaded for it', { skip }, async () => {
  const path = join(folder, 'model.onnx');
  execFileSync('mkfifo', [path]);
  // The file has no content before this thread has sent a byte; a thread that waits for the content sends it too late.
  const script = 'timeout 20 head -c 1 && echo no model > "$0" || echo late > "$0"';
  const writer = spawn('sh', ['-c', script, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  const loading = openShared(path, 'once', planSession({}, undefined, -1));
  const refused = assert.rejects(loading, /Protobuf parsing failed/);
  writer.stdin.end('!');
  const [sent] = await Promise.all([writer.stdout.toArray(), refused]);
  assert.equal(sent.join(''), '!');
});

test('requests run beside a rehearsal and get their own answers', { skip }, async () => {
  const model = await new OnnxBackend('native').load(fixtureSpec('simple'));
  const sums: number[] = [];
  const rehearsals: Promise<void>[] = [];
  for (let i = 0; i < 50; i++) {
    rehearsals.push(model.rehearse!(inputs(1000, i)));
    const options = { outputs: ['OUTPUT0'], deadline: Number.POSITIVE_INFINITY };
    const [{ data }] = model.execute(inputs(i, i), options) as Tensor[];
    sums.push(new Int32Array(data.buffer)[0]);
  }
  await Promise.all(rehearsals);
  assert.deepEqual(
    sums,
    Array.from({ length: 50 }, (_, i) => 2 * i),
  );
  await model.unload();
  await assert.rejects(model.rehearse!(inputs(1, 1)), /is unloaded/);
});

test('a rehearsal fails as the run would', { skip }, async () => {
  const model = await new OnnxBackend('native').load(fixtureSpec('poison'));
  const data = new Uint8Array(BigInt64Array.of(7n).buffer);
  const poisoned: Tensor = { name: 'INDEX', datatype: 'INT64', shape: [1, 1], data };
  const options = { outputs: [], deadline: Number.POSITIVE_INFINITY };
  const message = await Promise.resolve()
    .then(() => model.execute([poisoned], options))
    .then(
      () => 'none',
      (error: Error) => error.message,
    );
  assert.match(message, /out of/);
  await assert.rejects(model.rehearse!([poisoned]), { message });
  await model.unload();
});

test('threads that end amid loads and rehearsals end well', { skip }, async () => {
  const source = `
    const tsx = await import(${JSON.stringify(import.meta.resolve('tsx/esm/api'))});
    tsx.register();
    const { OnnxBackend } = await import(${JSON.stringify(new URL('./backend.ts', import.meta.url).href)});
    const backend = new OnnxBackend('native');
    const input = (name) => ({ name, datatype: 'INT32', shape: [1, 16], data: new Uint8Array(64) });
    const model = await backend.load(${JSON.stringify(fixtureSpec('simple'))});
    for (let i = 0; i < 20; i++) void model.rehearse([input('INPUT0'), input('INPUT1')]);
    for (let i = 0; i < 5; i++) void backend.load(${JSON.stringify(fixtureSpec('mlp_small'))});
    setImmediate(() => process.exit(0));
  `;
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
  const codes = await Promise.all(
    Array.from({ length: 4 }, () => new Promise((resolve) => new Worker(url).once('exit', resolve))),
  );
  assert.deepEqual(codes, [0, 0, 0, 0]);
});
