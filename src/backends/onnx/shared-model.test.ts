import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { SwitchyardError } from '../../shared/errors.ts';
import { native } from '../../tensor/native.ts';
import { ELEMENT_BYTES, type Tensor } from '../../tensor/tensor.ts';
import { fixtureSpec } from '../../testing/load-spec.ts';
import type { BackendModel, LoadSpec } from '../backend.ts';
import { OnnxBackend } from './backend.ts';
import { loadError } from './messages.ts';
import { onnxRuntimeWay } from './runtime-way.ts';
import { sharedProblem } from './shared-session.ts';
import { encodeStrings } from './strings.ts';

// With the addon, onnxruntime-node judges it; without, the same models must be served by onnxruntime-node alone.
const skip = native === undefined && sharedProblem();
const loaded: BackendModel[] = [];
after(async () => {
  for (const model of loaded) await model.unload();
});

async function load(spec: LoadSpec, way: 'native' | 'node'): Promise<BackendModel> {
  const model = await new OnnxBackend(way).load(spec);
  loaded.push(model);
  return model;
}

/** The outputs, or the error as a client would see it. */
function outcome(model: BackendModel, inputs: Tensor[], outputs: string[] = []): unknown {
  try {
    return model.execute(inputs, { outputs, deadline: Number.POSITIVE_INFINITY });
  } catch (error) {
    assert.ok(error instanceof SwitchyardError, String(error));
    return { code: error.code, message: error.message };
  }
}

const FIXTURES = [
  ...['bool', 'uint8', 'uint16', 'uint32', 'uint64', 'int8', 'int16', 'int32', 'int64', 'fp16', 'fp32', 'fp64'].map(
    (type) => `identity_${type}`,
  ),
  ...['identity_string', 'identity_fixed', 'external_data', 'mlp_small', 'poison', 'sequence_mean', 'simple'],
];

for (const name of FIXTURES) {
  test(`${name}: the addon answers and refuses as onnxruntime-node does`, { skip }, async () => {
    const spec = fixtureSpec(name);
    const [ours, twin] = [await load(spec, 'native'), await load(spec, 'node')];
    assert.deepEqual(ours.signature, twin.signature);
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 4 }),
        fc.integer({ min: 0, max: 3 }),
        fc.infiniteStream(fc.nat(255)),
        fc.nat(19),
        (rows, other, bytes, fault) => {
          const inputs = ours.signature.inputs.map(({ name: input, datatype, dims }): Tensor => {
            const shape = dims.map((dim, i) => (dim >= 0 ? dim : i === 0 ? rows : other));
            const count = shape.reduce((product, dim) => product * dim, 1);
            if (datatype === 'BYTES') {
              const texts = Array.from({ length: count }, () => String.fromCodePoint(1 + bytes.next().value));
              return { name: input, datatype, shape, data: encodeStrings(texts) };
            }
            const data = Uint8Array.from({ length: count * ELEMENT_BYTES[datatype] }, () => bytes.next().value);
            if (datatype === 'BOOL') for (let i = 0; i < data.length; i++) data[i] &= 1;
            return { name: input, datatype, shape, data };
          });
          const sent = structuredClone(inputs);
          if (fault === 0) inputs.pop();
          if (fault === 1) inputs[0] = { ...inputs[0], shape: [...inputs[0].shape, 1] };
          if (fault === 2) inputs[0] = { ...inputs[0], data: inputs[0].data.subarray(1) };
          const wanted = fault === 3 ? [ours.signature.outputs.at(-1)!.name] : [];
          const answer = outcome(ours, inputs, wanted);
          assert.deepEqual(answer, outcome(twin, inputs, wanted));
          if (fault > 3) assert.deepEqual(inputs, sent);
        },
      ),
      { numRuns: 40 },
    );
  });
}

test('BF16 goes in and out, as onnxruntime-node cannot', { skip }, async () => {
  const model = await load(fixtureSpec('identity_bf16'), 'native');
  assert.deepEqual(model.signature.inputs, [{ name: 'INPUT', datatype: 'BF16', dims: [-1, 4] }]);
  const data = Uint8Array.of(0x80, 0x3f, 0, 0xc0, 0xc0, 0x7f, 0, 0);
  const answer = model.execute([{ name: 'INPUT', datatype: 'BF16', shape: [1, 4], data }], {
    outputs: [],
    deadline: Number.POSITIVE_INFINITY,
  });
  assert.deepEqual(answer, [{ name: 'OUTPUT', datatype: 'BF16', shape: [1, 4], data }]);
});

test('a model that cannot be loaded is refused in the same words', { skip }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-onnx-'));
  try {
    writeFileSync(join(folder, 'model.onnx'), 'garbage');
    const broken = { ...fixtureSpec('broken'), directory: folder, modelDirectory: folder };
    for (const spec of [broken, fixtureSpec('external_escape')]) {
      const messages: string[] = [];
      for (const way of ['native', 'node'] as const)
        await assert.rejects(new OnnxBackend(way).load(spec), (error: SwitchyardError) => {
          messages.push(`${error.code}: ${error.message}`);
          return true;
        });
      assert.equal(messages[0], messages[1]);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the weights are loaded once while anyone has the files open, and anew when they change', { skip }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-onnx-'));
  try {
    cpSync(fixtureSpec('mlp_small').directory, folder, { recursive: true });
    const spec = { ...fixtureSpec('mlp_small'), directory: folder, modelDirectory: folder };
    const backend = new OnnxBackend('native');
    const first = await backend.load(spec);
    const second = await backend.load(spec);
    assert.ok(second.memoryBytes < first.memoryBytes, `${second.memoryBytes} of ${first.memoryBytes} bytes`);
    await first.unload();
    const third = await backend.load(spec);
    assert.equal(third.memoryBytes, second.memoryBytes, 'the second holder keeps it');
    cpSync(fixtureSpec('simple').directory, folder, { recursive: true, force: true });
    const changed = await backend.load(spec);
    assert.deepEqual(
      changed.signature.inputs.map(({ name }) => name),
      ['INPUT0', 'INPUT1'],
    );
    assert.notDeepEqual(third.signature, changed.signature);
    for (const model of [second, third, changed]) await model.unload();
    const again = await backend.load(spec);
    assert.ok(again.memoryBytes > second.memoryBytes, 'nobody held it any more');
    await again.unload();
    assert.throws(() => again.execute([], { outputs: [], deadline: 0 }), /is unloaded/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('threads that load, run, unload and end while others run on the same weights do no harm', { skip }, async () => {
  const source = `
    import { parentPort, workerData } from 'node:worker_threads';
    const tsx = await import(${JSON.stringify(import.meta.resolve('tsx/esm/api'))});
    tsx.register();
    const { OnnxBackend } = await import(${JSON.stringify(new URL('./backend.ts', import.meta.url).href)});
    const backend = new OnnxBackend('native');
    const input = (name) => ({ name, datatype: 'INT32', shape: [1, 16], data: new Uint8Array(64).fill(1) });
    let sum = 0;
    for (let round = 0; round < 20; round++) {
      const model = await backend.load(${JSON.stringify(fixtureSpec('simple'))});
      for (let i = 0; i < 20; i++) {
        const [output] = model.execute([input('INPUT0'), input('INPUT1')], { outputs: ['OUTPUT0'], deadline: Infinity });
        sum += output.data[0];
      }
      // Half of them leave the last session open when their thread ends.
      if (round < 19 || workerData % 2 === 0) await model.unload();
    }
    parentPort.postMessage(sum);
    if (workerData === 3) process.exit(0);
  `;
  for (let round = 0; round < 2; round++) {
    const answers = await Promise.all(
      Array.from({ length: 4 }, async (_, workerData) => {
        const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), { workerData });
        const [answer, code] = await Promise.all([
          new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject)),
          new Promise((resolve) => worker.once('exit', resolve)),
        ]);
        return [answer, code];
      }),
    );
    assert.deepEqual(answers, new Array(4).fill([800, 0]));
  }
});

test('memory stays flat over many loads and runs', { skip }, async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const backend = new OnnxBackend('native');
  const text = encodeStrings(['a'.repeat(20_000), 'b']);
  const round = async (times: number): Promise<number> => {
    for (let i = 0; i < times; i++) {
      const model = await backend.load(fixtureSpec('identity_string'));
      for (let k = 0; k < 10; k++) {
        outcome(model, [{ name: 'INPUT', datatype: 'BYTES', shape: [1, 2], data: text }]);
        outcome(model, [{ name: 'INPUT', datatype: 'BYTES', shape: [2], data: text }]);
      }
      await model.unload();
    }
    collect();
    return process.memoryUsage().rss;
  };
  const before = await round(100);
  // 6,000 runs with 20 kB in and out each: lost ones would be 200 MB.
  const grown = (await round(300)) - before;
  assert.ok(grown < 60e6, `${grown} bytes more`);
});

test('what is no session, plan or input is refused', { skip }, () => {
  const { ortRun, ortLoad, ortClose, ortOpen } = native! as unknown as Record<string, (...values: unknown[]) => void>;
  for (const bad of [undefined, null, 1, 'text', {}, []]) {
    assert.throws(() => ortRun(bad, new Float64Array(4), []), TypeError);
    assert.throws(() => ortClose(bad), TypeError);
    assert.throws(() => ortOpen('library', typeof bad === 'string' ? undefined : bad), TypeError);
    assert.throws(() => ortLoad('k', 'p', bad, []), TypeError);
  }
});

test('without the addon "native" is refused with the remedy, and "auto" serves', async () => {
  assert.equal(onnxRuntimeWay(''), 'auto');
  assert.throws(() => onnxRuntimeWay('fast'), /SWITCHYARD_ONNX_RUNTIME is "fast"; allowed are native, node, auto/);
  const model = await new OnnxBackend('auto').load(fixtureSpec('simple'));
  assert.equal(model.signature.inputs.length, 2);
  await model.unload();
  if (native === undefined)
    await assert.rejects(new OnnxBackend('native').load(fixtureSpec('simple')), /npm run build:native/);
});

test('a complaint that names nothing but a place in the source still says what was wrong', () => {
  const raw =
    '/onnxruntime_src/onnxruntime/core/session/a.cc:663 void f(const Options&) env.Pools() was false. Create it.';
  const { message } = loadError('m', '1', 'model.onnx', ['/models/m'], new Error(raw));
  assert.match(message, /model\.onnx: .*env\.Pools\(\) was false/);
  assert.doesNotMatch(message, /onnxruntime_src/);
});
