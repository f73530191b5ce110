import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TensorSpec } from '../../config/model-config.ts';
import { decodeBytes } from '../../tensor/bytes.ts';
import { type ExampleInput, examplesToTensors, type Feature } from './examples.ts';

function floats(...value: number[]): Feature {
  return { kind: 'float_list', float_list: { value } };
}

function integers(...value: string[]): Feature {
  return { kind: 'int64_list', int64_list: { value } };
}

function list(...examples: Record<string, Feature>[]) {
  return { example_list: { examples: examples.map((feature) => ({ features: { feature } })) } };
}

const x: TensorSpec = { name: 'x', datatype: 'FP32', dims: [2] };

describe('examplesToTensors', () => {
  it('stacks features of each type', () => {
    const specs: TensorSpec[] = [
      x,
      { name: 'n', datatype: 'INT64', dims: [] },
      { name: 's', datatype: 'BYTES', dims: [-1] },
    ];
    const text = (value: string): Feature => ({ kind: 'bytes_list', bytes_list: { value: [Buffer.from(value)] } });
    const made = examplesToTensors(
      list(
        { x: floats(1, 2), n: integers('9223372036854775807'), s: text('a') },
        { x: floats(3, 4), n: integers('-1'), s: text('b') },
      ),
      specs,
      true,
    );
    assert.deepEqual(
      made.map(({ shape }) => shape),
      [[2, 2], [2], [2, 1]],
    );
    assert.deepEqual([...new Float32Array(Uint8Array.from(made[0].data).buffer)], [1, 2, 3, 4]);
    assert.deepEqual([...new BigInt64Array(Uint8Array.from(made[1].data).buffer)], [9223372036854775807n, -1n]);
    assert.deepEqual(
      decodeBytes(made[2].data).map((value) => Buffer.from(value).toString()),
      ['a', 'b'],
    );
  });

  it('takes what an example lacks from the context', () => {
    const input: ExampleInput = {
      example_list_with_context: {
        examples: [{ features: { feature: {} } }, { features: { feature: { x: floats(5, 6) } } }],
        context: { features: { feature: { x: floats(1, 2) } } },
      },
    };
    const [made] = examplesToTensors(input, [x], true);
    assert.deepEqual([...new Float32Array(Uint8Array.from(made.data).buffer)], [1, 2, 5, 6]);
  });

  it('refuses what does not fit', () => {
    assert.throws(() => examplesToTensors({}, [x], true), /no examples/);
    assert.throws(() => examplesToTensors(list({ y: floats(1, 2) }), [x], true), /no feature 'x'/);
    assert.throws(() => examplesToTensors(list({ x: integers('1', '2') }), [x], true), /float_list/);
    assert.throws(() => examplesToTensors(list({ x: floats(1, 2, 3) }), [x], true), /3 values/);
    assert.throws(() => examplesToTensors(list({ x: floats(1, 2) }, { x: floats(1) }), [x], true), /2 values.*1 in/);
    const small: TensorSpec = { name: 'x', datatype: 'UINT8', dims: [1] };
    assert.throws(() => examplesToTensors(list({ x: integers('256') }), [small], true), /256 is outside UINT8/);
  });
});
