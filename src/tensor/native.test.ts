import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { native, nativeProblem } from './native.ts';

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
        meta[0] = -1;
        meta[1] = 0;
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

test('what is no Uint8Array is refused', { skip }, () => {
  const { decode, print } = native! as unknown as Record<string, (...values: unknown[]) => void>;
  const bytes = new Uint8Array(8);
  for (const bad of [undefined, null, 1, 'text', {}, [], new ArrayBuffer(8), new Float32Array(2)]) {
    assert.throws(() => decode(bad, bytes), TypeError);
    assert.throws(() => decode(bytes, bad), TypeError);
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
      native.meta[0] = -1;
      native.meta[1] = 0;
      native.decode(workerData.body, new Uint8Array(65536));
      taken += native.meta[0];
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
  native!.meta[0] = -1;
  native!.meta[1] = 0;
  native!.decode(body(16), new Uint8Array(65536));
  assert.equal(native!.meta[0], 1);
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
