import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { SwitchyardError } from '../../shared/errors.ts';
import { type DataType, ELEMENT_BYTES, type Tensor } from '../../tensor/tensor.ts';
import { fixtureSpec } from '../../testing/load-spec.ts';
import type { BackendModel, LoadSpec } from '../backend.ts';
import { OnnxBackend } from './backend.ts';
import { decodeStrings, encodeStrings } from './strings.ts';

const ALL = { outputs: [], deadline: Number.POSITIVE_INFINITY };
const backend = new OnnxBackend('node');
const loaded: BackendModel[] = [];

async function load(name: string, spec: LoadSpec = fixtureSpec(name)): Promise<BackendModel> {
  const model = await backend.load(spec);
  loaded.push(model);
  return model;
}

after(async () => {
  for (const model of loaded) await model.unload();
});

function tensor(name: string, datatype: DataType, shape: number[], data: ArrayBufferView): Tensor {
  return { name, datatype, shape, data: new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength) };
}

function run(model: BackendModel, inputs: Tensor[], outputs: string[] = []): Tensor[] {
  return model.execute(inputs, { ...ALL, outputs }) as Tensor[];
}

function rejects(code: string, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof SwitchyardError, String(error));
    assert.match(error.message, message);
    assert.equal(error.code, code);
    return true;
  };
}

const IDENTITIES: Record<string, DataType> = {
  bool: 'BOOL',
  uint8: 'UINT8',
  uint16: 'UINT16',
  uint32: 'UINT32',
  uint64: 'UINT64',
  int8: 'INT8',
  int16: 'INT16',
  int32: 'INT32',
  int64: 'INT64',
  fp16: 'FP16',
  fp32: 'FP32',
  fp64: 'FP64',
};

for (const [short, datatype] of Object.entries(IDENTITIES)) {
  test(`${datatype}: every byte comes back as it went in, at any batch and alignment`, async () => {
    const model = await load(`identity_${short}`);
    assert.deepEqual(model.signature.inputs, [{ name: 'INPUT', datatype, dims: [-1, 4] }]);
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 5 }),
        fc.integer({ min: 0, max: 9 }),
        fc.infiniteStream(fc.nat(255)),
        (rows, shift, bytes) => {
          const size = rows * 4 * ELEMENT_BYTES[datatype];
          const data = new Uint8Array(size + shift).subarray(shift);
          for (let i = 0; i < size; i++) data[i] = datatype === 'BOOL' ? bytes.next().value & 1 : bytes.next().value;
          const sent = Uint8Array.from(data);
          const [output] = run(model, [{ name: 'INPUT', datatype, shape: [rows, 4], data }]);
          assert.deepEqual(output, { name: 'OUTPUT', datatype, shape: [rows, 4], data: sent });
          assert.deepEqual(data, sent);
        },
      ),
      { numRuns: 30 },
    );
  });
}

test('bytes of a SharedArrayBuffer are copied, as ONNX Runtime refuses them', async () => {
  const model = await load('identity_fp32');
  const data = new Uint8Array(new SharedArrayBuffer(16));
  data.fill(7);
  const [output] = run(model, [{ name: 'INPUT', datatype: 'FP32', shape: [1, 4], data }]);
  assert.deepEqual(output.data, new Uint8Array(16).fill(7));
});

test("a fixed shape shows in the signature and is enforced as the caller's fault", async () => {
  const model = await load('identity_fixed');
  assert.deepEqual(model.signature.inputs[0].dims, [2, 3]);
  const wrong = tensor('INPUT', 'FP32', [3, 3], new Float32Array(9));
  assert.throws(() => run(model, [wrong]), rejects('invalid_argument', /Got: 3 Expected: 2/));
});

test('simple adds and subtracts, and only the requested outputs come back, in the order asked', async () => {
  const model = await load('simple');
  const a = tensor(
    'INPUT0',
    'INT32',
    [1, 16],
    Int32Array.from({ length: 16 }, (_, i) => i * 3),
  );
  const b = tensor(
    'INPUT1',
    'INT32',
    [1, 16],
    Int32Array.from({ length: 16 }, (_, i) => i),
  );
  const values = (output: Tensor) => [...new Int32Array(output.data.buffer as ArrayBuffer, output.data.byteOffset, 16)];
  const all = run(model, [b, a]);
  assert.deepEqual(
    all.map((output) => output.name),
    ['OUTPUT0', 'OUTPUT1'],
  );
  assert.deepEqual(
    values(all[0]),
    Array.from({ length: 16 }, (_, i) => i * 4),
  );
  assert.deepEqual(
    values(all[1]),
    Array.from({ length: 16 }, (_, i) => i * 2),
  );
  const one = run(model, [a, b], ['OUTPUT1']);
  assert.deepEqual(
    one.map((output) => output.name),
    ['OUTPUT1'],
  );
  assert.deepEqual(
    values(one[0]),
    Array.from({ length: 16 }, (_, i) => i * 2),
  );
  assert.deepEqual(
    run(model, [a, b], ['OUTPUT1', 'OUTPUT0']).map((output) => output.name),
    ['OUTPUT1', 'OUTPUT0'],
  );
});

test('outputs may be transferred to another thread', async () => {
  const model = await load('simple');
  const input = new Int32Array(16).fill(2);
  const [output] = run(model, [tensor('INPUT0', 'INT32', [1, 16], input), tensor('INPUT1', 'INT32', [1, 16], input)]);
  assert.equal(output.data.byteLength, output.data.buffer.byteLength);
  const moved = structuredClone(output.data, { transfer: [output.data.buffer as ArrayBuffer] });
  assert.equal(output.data.byteLength, 0);
  assert.deepEqual([...new Int32Array(moved.buffer as ArrayBuffer)], new Array(16).fill(4));
});

test('bad requests name the field and what is allowed', async () => {
  const model = await load('simple');
  const good = tensor('INPUT0', 'INT32', [1, 16], new Int32Array(16));
  const other = { ...good, name: 'INPUT1' };
  assert.throws(() => run(model, [good]), rejects('invalid_argument', /input "INPUT1".*missing/));
  assert.throws(() => run(model, [good, good]), rejects('invalid_argument', /"INPUT0" is given twice/));
  assert.throws(
    () => run(model, [good, { ...other, datatype: 'UINT32' }]),
    rejects('invalid_argument', /UINT32.*takes INT32/),
  );
  assert.throws(
    () => run(model, [good, { ...good, name: '__proto__' }]),
    rejects('invalid_argument', /no input "__proto__".*INPUT0, INPUT1/),
  );
  assert.throws(
    () => run(model, [good, { ...other, shape: [2, 16] }]),
    rejects('invalid_argument', /64 bytes; shape \[2,16\] of INT32 takes 128/),
  );
  assert.throws(
    () => run(model, [good, { ...other, shape: [2 ** 40, 2 ** 40] }]),
    rejects('invalid_argument', /dims must be/),
  );
  assert.throws(
    () => run(model, [good, { ...other, shape: [16] }]),
    rejects('invalid_argument', /Invalid rank.*INPUT1/),
  );
  assert.throws(
    () => run(model, [good, other], ['NOPE']),
    rejects('invalid_argument', /no output "NOPE".*OUTPUT0, OUTPUT1/),
  );
  assert.equal(run(model, [good, other]).length, 2);
});

test('strings of any script come back; a zero byte and broken UTF-8 are refused, never changed', async () => {
  const model = await load('identity_string');
  const ask = (data: Uint8Array, shape: number[]) => run(model, [{ name: 'INPUT', datatype: 'BYTES', shape, data }])[0];
  fc.assert(
    fc.property(
      fc.array(
        fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\0')),
        { maxLength: 6 },
      ),
      (texts) => {
        const data = encodeStrings(texts);
        const output = ask(data, [1, texts.length]);
        assert.deepEqual(decodeStrings('OUTPUT', output.data, texts.length), texts);
        assert.deepEqual(output.shape, [1, texts.length]);
      },
    ),
    { numRuns: 50 },
  );
  const element = (...bytes: number[]) => Uint8Array.from([bytes.length, 0, 0, 0, ...bytes]);
  assert.throws(() => ask(element(97, 0, 98), [1, 1]), rejects('invalid_argument', /element 0 holds a zero byte/));
  assert.throws(() => ask(element(0xff, 0xfe), [1, 1]), rejects('invalid_argument', /element 0 is not UTF-8/));
  assert.throws(
    () => ask(Uint8Array.from([255, 255, 255, 255, 1]), [1, 1]),
    rejects('invalid_argument', /declares 4294967295 bytes/),
  );
  assert.throws(() => ask(element(97), [1, 2]), rejects('invalid_argument', /element 1 of 2 is missing/));
  assert.throws(() => ask(element(97), [1, 0]), rejects('invalid_argument', /5 bytes are left over/));
});

test("a ragged batch padded with zeros has each item's own mean", async () => {
  const model = await load('sequence_mean');
  const [mean] = run(model, [tensor('INPUT', 'FP32', [2, 3], Float32Array.of(1, 2, 3, 5, 0, 0))]);
  assert.deepEqual(new Float32Array(mean.data.buffer as ArrayBuffer), Float32Array.of(2, 5));
});

test('a failing run is one clean error and the next run is served', async () => {
  const model = await load('poison');
  const ask = (index: bigint) => run(model, [tensor('INDEX', 'INT64', [1, 1], BigInt64Array.of(index))])[0];
  assert.throws(
    () => ask(9n),
    (error) => {
      rejects('internal', /model "poison".*idx=9/)(error);
      assert.doesNotMatch((error as Error).message, /\/onnxruntime_src|\n/);
      return true;
    },
  );
  assert.deepEqual(new Float32Array(ask(3n).data.buffer as ArrayBuffer), Float32Array.of(30));
});

test("external data serves from inside the version's folder and is refused above it, without paths", async () => {
  const model = await load('external_data');
  const [output] = run(model, [tensor('INPUT', 'FP32', [1, 1024], new Float32Array(1024))]);
  assert.equal(new Float32Array(output.data.buffer as ArrayBuffer)[1023], 1023);
  await assert.rejects(load('external_escape'), (error) => {
    rejects('failed_precondition', /external_escape.*escapes model directory/)(error);
    assert.ok(
      !(error as Error).message.includes(fixtureSpec('external_escape').modelDirectory),
      (error as Error).message,
    );
    return true;
  });
});

test('BF16 models, pickles, links leading out and missing files are refused with the way out', async () => {
  await assert.rejects(load('identity_bf16'), rejects('unsupported', /input "INPUT" is BF16.*FP32/));
  const folder = await mkdtemp(join(tmpdir(), 'switchyard-onnx-'));
  const spec = { ...fixtureSpec('files'), directory: folder, modelDirectory: folder };
  try {
    await assert.rejects(load('files', spec), rejects('failed_precondition', /no file "model.onnx"/));
    await writeFile(join(folder, 'model.pkl'), 'x');
    await assert.rejects(load('files', spec), rejects('unsupported', /"model.pkl" is not ONNX/));
    await writeFile(join(folder, 'model.onnx'), Uint8Array.of(0x80, 4, 0x95, 0));
    await assert.rejects(load('files', spec), rejects('unsupported', /"model.onnx" is not ONNX.*Pickles/));
    await writeFile(join(folder, 'model.onnx'), 'garbage');
    await assert.rejects(load('files', spec), (error) => {
      rejects('failed_precondition', /version 1 was not loaded: model.onnx/)(error);
      assert.ok(!(error as Error).message.includes(folder));
      return true;
    });
    await symlink('/etc/hostname', join(folder, 'weights.bin'));
    await assert.rejects(load('files', spec), rejects('failed_precondition', /"weights.bin" is a link that leads out/));
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a GPU provider whose library is absent is refused with the remedy', async () => {
  const spec = fixtureSpec('simple', { parameters: { execution_providers: 'cuda' } });
  await assert.rejects(load('simple', spec), rejects('failed_precondition', /Cuda provider is not installed/));
});

test('an instance on a GPU is refused with the remedy whichever way leads there', async () => {
  const io = (name: string) => ({ name, datatype: 'INT32' as const, dims: [16] });
  const signature = { inputs: [io('INPUT0'), io('INPUT1')], outputs: [io('OUTPUT0'), io('OUTPUT1')], maxBatchSize: 8 };
  const instanceGroups = [{ kind: 'gpu' as const, count: 1, gpus: [0] }];
  for (const way of ['node', 'auto'] as const) {
    for (const overrides of [{ instanceGroups }, { instanceGroups, signature }]) {
      const spec = { ...fixtureSpec('simple', overrides), device: 0 };
      const refused = rejects(
        'failed_precondition',
        /Cuda provider is not installed|libcuda\S* is not found|libonnxruntime_providers_cuda/,
      );
      await assert.rejects(new OnnxBackend(way).load(spec), refused);
    }
  }
});

test('workers may come, run and go many times at once', async () => {
  const source = `
    import { parentPort } from 'node:worker_threads';
    const tsx = await import(${JSON.stringify(import.meta.resolve('tsx/esm/api'))});
    tsx.register();
    const { OnnxBackend } = await import(${JSON.stringify(new URL('./backend.ts', import.meta.url).href)});
    const model = await new OnnxBackend().load(${JSON.stringify(fixtureSpec('simple'))});
    const input = (name) => ({ name, datatype: 'INT32', shape: [1, 16], data: new Uint8Array(64).fill(1) });
    for (let i = 0; i < 200; i++) model.execute([input('INPUT0'), input('INPUT1')], { outputs: [], deadline: Infinity });
    const [sum] = model.execute([input('INPUT0'), input('INPUT1')], { outputs: ['OUTPUT0'], deadline: Infinity });
    parentPort.postMessage(sum.data[0], []);
  `;
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
        const [answer, code] = await Promise.all([
          new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject)),
          new Promise((resolve) => worker.once('exit', resolve)),
        ]);
        return [answer, code];
      }),
    );
    assert.deepEqual(answers, new Array(4).fill([2, 0]));
  }
});
