import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ModelConfig } from '../../config/model-config.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { modelConfig, spec } from '../../testing/models.ts';
import type { BackendModel, LoadSpec } from '../backend.ts';
import { javascriptBackend } from './backend.ts';

const OPTIONS = { outputs: [], deadline: Infinity };
const DOUBLED = `export const execute = ({ x }) => ({ y: { shape: x.shape, data: x.data.map((v) => v * 2) } });`;

let root = '';
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'javascript-backend-'));
});
after(() => rm(root, { recursive: true, force: true }));

async function specOf(source: string | undefined, overrides: Partial<ModelConfig> = {}, version = '1') {
  const config = modelConfig({
    name: 'double',
    signature: { inputs: [spec('x', 'FP32', [2])], outputs: [spec('y', 'FP32', [2])], maxBatchSize: 8 },
    ...overrides,
  });
  const modelDirectory = await mkdtemp(join(root, 'model-'));
  const directory = join(modelDirectory, version);
  await mkdir(directory);
  if (source !== undefined) await writeFile(join(directory, 'model.mjs'), source);
  return { model: config.name, version, config, directory, modelDirectory, device: -1 } satisfies LoadSpec;
}

async function load(source: string, overrides: Partial<ModelConfig> = {}): Promise<BackendModel> {
  return javascriptBackend.load(await specOf(source, overrides));
}

function floats(values: number[], shape = [values.length / 2, 2]): Tensor {
  return { name: 'x', datatype: 'FP32', shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}

function read(tensor: Tensor): number[] {
  return [...new Float32Array(tensor.data.slice().buffer)];
}

/** Outputs `y` exactly as the expression says. */
function answering(expression: string): Promise<BackendModel> {
  return load(`export const execute = ({ x }) => (${expression});`);
}

async function failure(model: BackendModel): Promise<unknown> {
  try {
    await model.execute([floats([1, 2])], OPTIONS);
  } catch (error) {
    return error;
  }
  return assert.fail('execute succeeded');
}

describe('the javascript backend', () => {
  test('runs execute, sync and async, and says its signature', async () => {
    for (const source of [DOUBLED, DOUBLED.replace('({ x }) =>', 'async ({ x }) =>')]) {
      const model = await load(source);
      const [y] = await model.execute([floats([1, 2, 3, 4])], OPTIONS);
      assert.deepEqual([y.name, y.datatype, y.shape, read(y)], ['y', 'FP32', [2, 2], [2, 4, 6, 8]]);
      assert.deepEqual(model.signature.outputs[0].dims, [-1, 2]);
    }
  });

  test('gives every data type as its own array and takes it back', async () => {
    const model = await load('export const execute = ({ i, h, s }) => ({ i, h, s });', {
      signature: {
        inputs: [],
        outputs: [spec('i', 'INT64', [1]), spec('h', 'FP16', [1]), spec('s', 'BYTES', [2])],
        maxBatchSize: 0,
      },
    });
    const inputs: Tensor[] = [
      { name: 'i', datatype: 'INT64', shape: [1], data: new Uint8Array(BigInt64Array.of(-(2n ** 62n)).buffer) },
      { name: 'h', datatype: 'FP16', shape: [1], data: Uint8Array.of(0, 0x3c) },
      { name: 's', datatype: 'BYTES', shape: [2], data: Uint8Array.of(2, 0, 0, 0, 255, 0, 0, 0, 0, 0) },
    ];
    const outputs = await model.execute(inputs, OPTIONS);
    assert.deepEqual(
      outputs.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, data })),
      inputs,
    );
    outputs.forEach((output, i) => {
      assert.notEqual(output.data.buffer, inputs[i].data.buffer, 'the batch owns its bytes; an output needs its own');
    });
  });

  test('reads strings as text and unaligned numbers all the same', async () => {
    const model = await load(
      'export const execute = ({ s, x }) => ({ t: { shape: [2], data: [String(s.data[0]) + "é", String(x.data[0])] } });',
      { signature: { inputs: [], outputs: [spec('t', 'BYTES', [2])], maxBatchSize: 0 } },
    );
    const shifted = new Uint8Array(5);
    shifted.set(new Uint8Array(Float32Array.of(1.5).buffer), 1);
    const [t] = await model.execute(
      [
        { name: 's', datatype: 'BYTES', shape: [1], data: Uint8Array.of(1, 0, 0, 0, 97) },
        { name: 'x', datatype: 'FP32', shape: [1], data: shifted.subarray(1) },
      ],
      OPTIONS,
    );
    assert.equal(Buffer.from(t.data).toString('latin1'), '\x03\0\0\0a\xc3\xa9\x03\0\0\x001.5');
  });

  test('answers only the requested outputs', async () => {
    const model = await load('export const execute = () => ({ a: { shape: [1], data: Int32Array.of(1) } });', {
      signature: { inputs: [], outputs: [spec('a', 'INT32', [1]), spec('b', 'INT32', [1])], maxBatchSize: 0 },
    });
    const outputs = await model.execute([], { outputs: ['a'], deadline: Infinity });
    assert.deepEqual(
      outputs.map((output) => output.name),
      ['a'],
    );
    await assert.rejects(async () => model.execute([], OPTIONS), { message: /answered no output "b"/ });
  });

  test('passes initialize its configuration, execute its context, and calls finalize', async () => {
    const model = await load(
      `let seen;
       export function initialize({ model, version, parameters }) { seen = model + version + parameters.k; }
       export function execute(inputs, { parameters, remainingMs, outputs }) {
         return { t: { shape: [1], data: [[seen, parameters.p, remainingMs, outputs.length].join()] } };
       }
       export function finalize() { throw new Error('finalized'); }`,
      {
        parameters: { k: 'v' },
        signature: { inputs: [], outputs: [spec('t', 'BYTES', [1])], maxBatchSize: 0 },
      },
    );
    const [t] = await model.execute([], { ...OPTIONS, parameters: { p: 7 } });
    assert.equal(Buffer.from(t.data).subarray(4).toString(), 'double1v,7,Infinity,0');
    await assert.rejects(model.unload(), { message: /finalize threw: finalized/ });
  });

  test('names what is wrong with an answer', async () => {
    const cases: [string, RegExp][] = [
      ['undefined', /answered undefined; expected an object/],
      ['[]', /answered Array; expected an object/],
      ['{}', /answered no output "y"/],
      ['{ y: x, z: x }', /output "z", which is not declared; declared: "y"/],
      ['{ y: 3 }', /output "y" is number/],
      ['{ y: { ...x, datatype: "FP64" } }', /output "y" is FP64; declared is FP32/],
      ['{ y: { ...x, shape: [1, -2] } }', /has shape Array; expected an array of dims/],
      ['{ y: { ...x, shape: [2] } }', /has shape \[2\]; declared is \[-1,2\]/],
      ['{ y: { ...x, shape: [1, 3] } }', /has shape \[1,3\]; declared is \[-1,2\]/],
      ['{ y: { ...x, shape: [2, 2] } }', /has 2 elements; its shape \[2,2\] needs 4/],
      ['{ y: { ...x, data: Float64Array.of(1, 2) } }', /data of type Float64Array; FP32 is given as Float32Array/],
      ['{ y: { ...x, data: [1, 2] } }', /data of type Array; FP32 is given as Float32Array/],
    ];
    for (const [expression, message] of cases) {
      const error = (await failure(await answering(expression))) as Error & { code: string };
      assert.equal(error.code, 'internal');
      assert.match(error.message, message);
      assert.match(error.message, /^model "double" version 1/);
    }
  });

  test('BYTES outputs must be strings or byte arrays', async () => {
    const signature = { inputs: [], outputs: [spec('t', 'BYTES', [-1])], maxBatchSize: 0 };
    for (const [data, message] of [
      ['"abc"', /data of type string; BYTES is given as an array/],
      ['["a", 1]', /number as element 1/],
    ] as const) {
      const model = await load(`export const execute = () => ({ t: { shape: [2], data: ${data} } });`, { signature });
      await assert.rejects(async () => model.execute([], OPTIONS), { message });
    }
  });

  test('a thrown error keeps its message and, where it names one, its code', async () => {
    const thrown = (await failure(
      await load('export function execute() { throw new Error("no such user"); }'),
    )) as Error;
    assert.deepEqual(
      [thrown.message, (thrown as Error & { code: string }).code],
      ['model "double" version 1: execute threw: no such user', 'internal'],
    );
    const refusal = await load(
      'export async function execute() { throw Object.assign(new Error("x < 0"), { code: "invalid_argument" }); }',
    );
    assert.equal(((await failure(refusal)) as { code: string }).code, 'invalid_argument');
    const foreign = await load('export function execute() { throw Object.assign(new Error("x"), { code: "EPIPE" }); }');
    assert.equal(((await failure(foreign)) as { code: string }).code, 'internal');
  });

  test('a module that cannot load says why, without places on this machine', async () => {
    const cases: [string | undefined, RegExp, Partial<ModelConfig>?][] = [
      [undefined, /model\.mjs cannot be read \(ENOENT\)/],
      ['export const execute = (', /cannot be imported: /],
      ['import "./absent.mjs"; export const execute = () => ({});', /cannot be imported: .*absent\.mjs/],
      ['export const run = 1;', /must export a function "execute", found none/],
      ['export const execute = 1;', /must export a function "execute", found number/],
      ['export const execute = () => ({});', /must export a function "executeStream"/, { decoupled: true }],
      [
        'export const execute = () => 1; export function initialize() { throw new Error("no"); }',
        /initialize threw: no/,
      ],
      [DOUBLED, /needs its outputs declared/, { signature: { inputs: [], outputs: [], maxBatchSize: 0 } }],
      [DOUBLED, /"concurrency" of model\.mjs is "0"/, { parameters: { concurrency: '0' } }],
    ];
    for (const [source, message, overrides] of cases) {
      const bad = await specOf(source, overrides);
      await assert.rejects(javascriptBackend.load(bad), (error: Error & { code: string }) => {
        assert.equal(error.code, 'failed_precondition');
        assert.match(error.message, message);
        assert.ok(!error.message.includes(root), error.message);
        return true;
      });
    }
  });

  test('changed bytes load anew, in the same folder too', async () => {
    const place = await specOf(DOUBLED);
    const first = await javascriptBackend.load(place);
    await writeFile(join(place.directory, 'model.mjs'), DOUBLED.replace('* 2', '* 3'));
    const second = await javascriptBackend.load(place);
    assert.deepEqual(read((await first.execute([floats([1, 2])], OPTIONS))[0]), [2, 4]);
    assert.deepEqual(read((await second.execute([floats([1, 2])], OPTIONS))[0]), [3, 6]);
  });

  test('decoupled models answer with what their generator yields, errors included', async () => {
    const model = await load(
      `export async function* executeStream({ x }) {
         const data = new Float32Array(2);
         for (let i = 0; i < x.data[0]; i++) { data.fill(i); yield { y: { shape: [1, 2], data } }; }
         if (x.data[1] > 0) throw new Error('ran dry');
       }`,
      { decoupled: true },
    );
    const collect = async (input: Tensor) => {
      const seen: Tensor[] = [];
      for await (const [y] of model.executeStream?.([input], OPTIONS) ?? []) seen.push(y);
      return seen.map(read);
    };
    assert.deepEqual(await collect(floats([3, 0])), [
      [0, 0],
      [1, 1],
      [2, 2],
    ]);
    await assert.rejects(collect(floats([1, 1])), { message: /executeStream threw: ran dry/ });
    assert.equal(((await failure(model)) as { code: string }).code, 'unsupported');
  });

  test('a model that is not decoupled has no stream', async () => {
    assert.equal((await load(DOUBLED)).executeStream, undefined);
  });
});
