import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { type NativeJob, native, nativeProblem } from './native.ts';

const skip = native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off');
const JSON_HEAD = '{"inputs":[{"name":"x","datatype":"FP32","shape":[';

function body(count: number): Uint8Array {
  const data = Array.from({ length: count }, (_, i) => i / 8);
  return Buffer.from(`${JSON_HEAD}${count}],"data":[${data}]}]}`);
}

test('memory stays flat over many calls', { skip }, () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const { decode, print, meta } = native!;
  const slab = new Uint8Array(65536);
  const out = new Uint8Array(65536);
  const [small, large, broken] = [body(16), body(5000), body(5000).subarray(0, 20000)];
  const round = (times: number): number => {
    for (let i = 0; i < times; i++) {
      for (const bytes of [small, large, broken]) {
        meta.set([0, -1, 0]);
        decode(bytes, slab);
      }
      meta.set([0, 11, 0, 0, 1000, 0, slab.length]);
      print(out, small, slab);
    }
    collect();
    return process.memoryUsage().rss;
  };
  const before = round(2000);
  // 5,000 floats have a buffer of 20 kB: lost ones would be 200 MB.
  const grown = round(10000) - before;
  assert.ok(grown < 50e6, `${grown} bytes more`);
});

function job(bytes: Uint8Array, done: () => void): NativeJob {
  const words = new Int32Array(2048);
  words[1] = -1;
  return { body: bytes, expected: new Uint8Array(0), slab: new Uint8Array(4096), words, buffers: [], done };
}

test('memory stays flat over many bodies that are decoded beside the loop', { skip }, async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const bodies = [body(16), body(5000), body(5000).subarray(0, 20000)];
  const round = async (times: number): Promise<number> => {
    for (let i = 0; i < times; i++) {
      await new Promise<void>((done) => native!.decodeAside(job(bodies[i % 3], done)));
    }
    collect();
    return process.memoryUsage().rss;
  };
  const before = await round(3000);
  // 5,000 floats have a buffer of 20 kB: lost ones would be 100 MB.
  const grown = (await round(15000)) - before;
  assert.ok(grown < 50e6, `${grown} bytes more`);
});

test('what is no job is refused, and a second one beside the first', { skip }, async () => {
  const { decodeAside } = native! as unknown as { decodeAside: (...values: unknown[]) => void };
  const good = job(body(16), () => {});
  const bad = [
    undefined,
    null,
    {},
    { ...good, body: new ArrayBuffer(8) },
    { ...good, expected: undefined },
    { ...good, slab: undefined },
    { ...good, words: new Int32Array(8) },
    { ...good, words: new Uint8Array(8192) },
    { ...good, buffers: {} },
    { ...good, done: 'text' },
  ];
  for (const value of bad) assert.throws(() => decodeAside(value), TypeError);
  assert.throws(() => decodeAside(), TypeError);
  await new Promise<void>((done) => {
    const first = job(body(5000), done);
    assert.equal(native!.decodeAside(first), true);
    assert.throws(() => native!.decodeAside(good), TypeError);
  });
  await new Promise<void>((done) => native!.decodeAside(job(body(16), done)));
});

test('threads end without harm while a body is decoded beside them', { skip }, async () => {
  const script = `
    const { workerData, parentPort } = require('node:worker_threads');
    const native = require(workerData.file);
    const words = new Int32Array(2048);
    words[1] = -1;
    const done = () => parentPort.postMessage('done');
    const expected = new Uint8Array(0);
    native.decodeAside({ body: workerData.body, expected, slab: new Uint8Array(4096), words, buffers: [], done });
    parentPort.postMessage('begun');
    if (workerData.exits) process.exit();`;
  const file = loadedFile();
  const large = body(300_000);
  for (let i = 0; i < 12; i++) {
    const worker = new Worker(script, { eval: true, workerData: { file, body: large, exits: i % 3 === 0 } });
    const ended = once(worker, 'exit');
    if (i % 3 !== 0) await once(worker, 'message');
    // At once, in the middle, or when all of it was told.
    if (i % 3 === 1) await worker.terminate();
    await ended;
  }
});

test('what is no Uint8Array is refused', { skip }, () => {
  const { decode, print } = native! as unknown as Record<string, (...values: unknown[]) => void>;
  const bytes = new Uint8Array(8);
  for (const bad of [undefined, null, 1, 'text', {}, [], new ArrayBuffer(8), new Float32Array(2)]) {
    assert.throws(() => decode(bad, bytes), TypeError);
    assert.throws(() => decode(bytes, bad), TypeError);
    assert.throws(() => decode(bytes, bytes, bad), TypeError);
    assert.throws(() => print(bytes, bytes, bad), TypeError);
  }
  assert.throws(() => decode(bytes), TypeError);
});

test('every thread has codecs of its own, and threads end without harm', { skip }, async () => {
  const script = `
    const { workerData, parentPort } = require('node:worker_threads');
    const native = require(workerData.file);
    let taken = 0;
    for (let i = 0; i < 200; i++) {
      native.meta.set([0, -1, 0]);
      native.decode(workerData.body, new Uint8Array(65536));
      taken += native.meta[1];
    }
    parentPort.postMessage(taken);`;
  const file = loadedFile();
  const workers = Array.from(
    { length: 4 },
    () => new Worker(script, { eval: true, workerData: { file, body: body(3000) } }),
  );
  const answers = await Promise.all(workers.map((worker) => once(worker, 'message')));
  assert.deepEqual(answers.flat(), [200, 200, 200, 200]);
  await Promise.all(workers.map((worker) => worker.terminate()));
  native!.meta.set([0, -1, 0]);
  native!.decode(body(16), new Uint8Array(65536));
  assert.equal(native!.meta[1], 1);
});

/** The addon's file among the libraries of this process. */
function loadedFile(): string {
  const report = process.report.getReport() as unknown as { sharedObjects: string[] };
  const file = report.sharedObjects.find((name) => name.endsWith('switchyard.node'));
  assert.ok(file !== undefined);
  return file;
}

test('SWITCHYARD_NATIVE: off, on, or an error that names the choices', () => {
  const script =
    "import('./src/tensor/native.ts').then((m) => console.log(m.native === undefined, m.nativeProblem === ''))";
  const run = (value: string) =>
    spawnSync(process.execPath, ['--import', 'tsx', '-e', script], {
      env: { ...process.env, SWITCHYARD_NATIVE: value },
      encoding: 'utf8',
    });
  assert.equal(run('off').stdout.trim(), 'true true');
  assert.match(run('maybe').stderr, /SWITCHYARD_NATIVE is "maybe"; allowed are on and off/);
  if (native !== undefined) assert.equal(run('on').stdout.trim(), 'false true');
});
