import assert from 'node:assert/strict';
import { test as nodeTest } from 'node:test';
import fc from 'fast-check';
import type { InferRequest } from '../../pipeline/types.ts';
import { native, nativeProblem } from '../../tensor/native.ts';
import { inferText } from '../../testing/infer-texts.ts';
import { plainTensors } from '../../testing/plain-tensors.ts';
import { isForAside } from '../json/aside.ts';
import { decodeAside, decodeSoon } from './aside-decoder.ts';
import { decodeInferRequest } from './infer-decoder.ts';

const encoder = new TextEncoder();

/** Without the addon there is no thread beside; SWITCHYARD_NATIVE=on makes that an error. */
function test(name: string, body: () => Promise<void>): void {
  nodeTest(name, { skip: native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off') }, body);
}

/** A request with bytes as hex, since NaN bits and -0 count; or the error. */
function shown(request: InferRequest): unknown {
  const inputs = plainTensors(request.inputs);
  return { ...request, inputs: inputs.map((input) => ({ ...input, data: Buffer.from(input.data).toString('hex') })) };
}

function aside(body: Uint8Array, jsonLength = -1): Promise<unknown> {
  return new Promise((resolve) => {
    decodeAside('m', '1', body, jsonLength, {
      wanted: () => true,
      onDecoded: (request) => resolve(shown(request)),
      onRefused: (error) => resolve(String(error)),
    });
  });
}

function onLoop(body: Uint8Array, jsonLength = -1): unknown {
  try {
    return shown(decodeInferRequest('m', '1', body, jsonLength));
  } catch (error) {
    return String(error);
  }
}

/** Beside the loop comes out what comes out on it. */
async function same(body: Uint8Array, jsonLength = -1): Promise<void> {
  const before = Buffer.from(body);
  const got = await aside(body, jsonLength);
  assert.ok(before.equals(body), 'the body is only read');
  assert.deepEqual(got, onLoop(body, jsonLength), before.toString('latin1').slice(0, 2000));
}

function text(datatype: string, shape: number[], data: string): string {
  return `{"inputs":[{"name":"x","shape":[${shape}],"datatype":"${datatype}","data":${data}}]}`;
}

/** Of a body in which the shape follows the data, or stands before it. */
function floats(count: number, shapeFirst = true): Uint8Array {
  const data = Array.from({ length: count }, (_, i) => Math.sin(i));
  const shape = `"shape":[${count}],"datatype":"FP32"`;
  return encoder.encode(
    `{"inputs":[{"name":"x",${shapeFirst ? `${shape},"data":[${data}]` : `"data":[${data}],${shape}`}}]}`,
  );
}

test('whatever is sent, the same comes out as on the loop, error for error', async () => {
  const edit = fc.record({
    at: fc.nat(),
    byte: fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('[]{},:"\\0123456789-+.eENItf \n'))),
  });
  await fc.assert(
    fc.asyncProperty(inferText, fc.array(edit, { maxLength: 2 }), async (body, edits) => {
      const bytes = encoder.encode(body);
      for (const { at, byte } of edits) bytes[at % bytes.length] = byte;
      await same(bytes);
    }),
    { numRuns: 3000 },
  );
});

test('large bodies of every kind', async () => {
  const numbers = Array.from({ length: 30_000 }, (_, i) => (i * 7919) % 128);
  for (const datatype of ['INT8', 'UINT8', 'INT16', 'INT32', 'INT64', 'UINT64', 'FP32', 'FP64']) {
    await same(encoder.encode(text(datatype, [3, 10_000], JSON.stringify(numbers))));
  }
  await same(encoder.encode(text('INT64', [20_000], `[${'-9223372036854775808,'.repeat(19_999)}9223372036854775807]`)));
  await same(encoder.encode(text('FP32', [60_000], `[${'NaN,-Infinity,'.repeat(29_999)}Infinity,-0]`)));
  await same(
    encoder.encode(text('BYTES', [40_000], JSON.stringify(numbers.concat(numbers).slice(0, 40_000).map(String)))),
  );
  await same(encoder.encode(text('BYTES', [20_000], JSON.stringify(numbers.slice(0, 20_000).map((n) => `é\n${n}`)))));
  await same(floats(40_000));
  await same(floats(40_000, false));
});

test('large tensors beside one another, small ones between them, and binary ones behind', async () => {
  const data = (count: number): string => JSON.stringify(Array.from({ length: count }, (_, i) => i / 8));
  const input = (name: string, count: number): string =>
    `{"name":"${name}","shape":[${count}],"datatype":"FP32","data":${data(count)}}`;
  const many = Array.from({ length: 30 }, (_, i) => input(`i${i}`, i % 3 === 0 ? 5000 : 300));
  await same(encoder.encode(`{"id":"7","inputs":[${many}],"outputs":[{"name":"y"}],"parameters":{"timeout":5}}`));
  const binary = '{"name":"b","shape":[8],"datatype":"UINT8","parameters":{"binary_data_size":8}}';
  const json = `{"inputs":[${input('a', 20_000)},${binary},${input('c', 20_000)}]}`;
  const body = encoder.encode(`${json}12345678`);
  await same(body, json.length);
  await same(body.subarray(0, -1), json.length);
  await same(body, -1);
});

test('what is wrong at the end of a large body is told as on the loop', async () => {
  const good = Buffer.from(floats(40_000)).toString();
  for (const bad of [
    good.slice(0, -4),
    good.replace(/\d]}]}$/, 'x]}]}'),
    good.replace('[40000]', '[40001]'),
    `${good}x`,
  ]) {
    const body = encoder.encode(bad);
    await same(body);
    assert.match(String(onLoop(body)), /SwitchyardError/);
  }
});

test('small bodies are decoded before a large one that came earlier', async () => {
  const order: string[] = [];
  const large = aside(floats(200_000)).then(() => order.push('large'));
  onLoop(encoder.encode(text('FP32', [1], '[1]')));
  order.push('small');
  await large;
  assert.deepEqual(order, ['small', 'large']);
});

test('several wait in order, and whose caller has gone is not begun', async () => {
  const order: string[] = [];
  const gone = new Set(['b', 'd']);
  await new Promise<void>((resolve) => {
    for (const name of ['a', 'b', 'c', 'd', 'e']) {
      decodeAside(name, '', name === 'c' ? encoder.encode('{') : floats(20_000), -1, {
        wanted: () => !gone.has(name),
        onDecoded: ({ model }) => {
          order.push(model);
          if (model === 'e') resolve();
        },
        onRefused: () => order.push(`refused ${name}`),
      });
    }
  });
  assert.deepEqual(order, ['a', 'refused c', 'e']);
});

test('who leaves while the body is decoded hears nothing, and the next one is decoded', async () => {
  let here = true;
  const heard: string[] = [];
  decodeAside('gone', '', floats(20_000), -1, {
    wanted: () => here,
    onDecoded: () => heard.push('decoded'),
    onRefused: () => heard.push('refused'),
  });
  here = false;
  await same(floats(20_000));
  assert.deepEqual(heard, []);
});

test('small bodies, and what is no length, stay on the loop', async () => {
  assert.equal(isForAside(1000, -1), false);
  assert.equal(isForAside(10_000_000, 1000), false);
  assert.equal(isForAside(10_000_000, -1), true);
  assert.equal(isForAside(10_000_000, 9_000_000), true);
  assert.equal(isForAside(10_000_000, 10_000_001), false);
});

test('a body is decoded beside the loop where it is large, and at once where it is small', async () => {
  const soon = (body: Uint8Array) => decodeSoon('m', '1', body, -1);
  assert.ok(!(soon(floats(10)) instanceof Promise));
  const large = soon(floats(100_000));
  assert.ok(large instanceof Promise);
  assert.deepEqual(shown(await large), onLoop(floats(100_000)));
  await assert.rejects(async () => soon(floats(100_000).subarray(0, -1)), { code: 'invalid_argument' });
});
