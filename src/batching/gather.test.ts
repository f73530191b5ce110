import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { TensorSpec } from '../config/model-config.ts';
import { PiecedTensor } from '../tensor/pieced.ts';
import type { DataType, Tensor } from '../tensor/tensor.ts';
import { gather } from './gather.ts';
import { scatter } from './scatter.ts';

function float(shape: number[], values: number[], name = 'x'): Tensor {
  return { name, datatype: 'FP32', shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}

function floats(tensor: Tensor): number[] {
  return [...new Float32Array(tensor.data.slice().buffer)];
}

function strings(shape: number[], values: string[], name = 'x'): Tensor {
  const parts = values.flatMap((value) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(Buffer.byteLength(value));
    return [length, Buffer.from(value)];
  });
  return { name, datatype: 'BYTES', shape, data: new Uint8Array(Buffer.concat(parts)) };
}

function texts({ data }: Tensor): string[] {
  const bytes = Buffer.from(data);
  const found: string[] = [];
  for (let at = 0; at < bytes.length; at += 4 + bytes.readUInt32LE(at)) {
    found.push(bytes.toString('utf8', at + 4, at + 4 + bytes.readUInt32LE(at)));
  }
  return found;
}

describe('gather', () => {
  test('joins rows in order and repeats the last one as padding', () => {
    const batch = gather([[float([1, 2], [1, 2])], [float([2, 2], [3, 4, 5, 6])]], [1, 2], 5);
    assert.deepEqual([batch.rows, batch.paddedRows, batch.inputs[0].shape], [3, 5, [5, 2]]);
    assert.deepEqual(floats(batch.inputs[0]), [1, 2, 3, 4, 5, 6, 5, 6, 5, 6]);
  });

  test('leaves rows in their pieces for a backend that copies them itself; their block is what it would have been', () => {
    const items = [[float([1, 2], [1, 2])], [float([2, 2], [3, 4, 5, 6])]];
    const [pieced] = gather(items, [1, 2], 5, [], true).inputs;
    assert.ok(pieced instanceof PiecedTensor, 'it is in pieces');
    assert.deepEqual(pieced.shape, [5, 2]);
    assert.deepEqual(
      pieced.pieces,
      items.map(([item]) => item.data),
    );
    assert.deepEqual(floats(pieced), floats(gather(items, [1, 2], 5).inputs[0]));
    // What lies in a row already is one piece, also where rows are to be added.
    const bytes = new Uint8Array(Float32Array.from([1, 2]).buffer);
    const ones = [0, 4].map((at): Tensor[] => [
      { name: 'x', datatype: 'FP32', shape: [1], data: bytes.subarray(at, at + 4) },
    ]);
    const [one] = gather(ones, [1, 1], 3, [], true).inputs;
    assert.ok(one instanceof PiecedTensor && one.pieces.length === 1, 'one piece');
    assert.deepEqual(floats(one), [1, 2, 2]);
    // Strings have rows of any length: they are joined here.
    assert.deepEqual(texts(gather([[strings([1], ['a'])]], [1], 2, [], true).inputs[0]), ['a', 'a']);
  });

  test('gives a view when the items already lie in a row, aligned and unpadded; else a copy', () => {
    const bytes = new Uint8Array(Float32Array.from([1, 2, 3, 4]).buffer);
    const item = (from: number, to: number): Tensor[] => [
      { name: 'x', datatype: 'FP32', shape: [(to - from) / 4], data: bytes.subarray(from, to) },
    ];
    const view = gather([item(4, 8), item(8, 16)], [1, 2], 3);
    assert.equal(view.inputs[0].data.buffer, bytes.buffer);
    assert.deepEqual(floats(view.inputs[0]), [2, 3, 4]);
    for (const batch of [
      gather([item(4, 8), item(8, 16)], [1, 2], 4),
      gather([item(8, 16), item(4, 8)], [2, 1], 3),
      gather([item(0, 4), item(8, 16)], [1, 2], 3),
    ]) {
      assert.notEqual(batch.inputs[0].data.buffer, bytes.buffer);
    }
    const shifted = new Uint8Array(9);
    shifted.set(bytes.subarray(0, 8), 1);
    const odd = gather([[{ name: 'x', datatype: 'FP32', shape: [2], data: shifted.subarray(1) }]], [2], 2);
    assert.equal(odd.inputs[0].data.byteOffset % 4, 0);
    assert.deepEqual(floats(odd.inputs[0]), [1, 2]);
  });

  test('joins strings and pads them with the last row', () => {
    const { inputs } = gather([[strings([1, 2], ['a', ''])], [strings([1, 2], ['bc', 'd'])]], [1, 1], 4);
    assert.deepEqual(texts(inputs[0]), ['a', '', 'bc', 'd', 'bc', 'd', 'bc', 'd']);
  });

  test('empty items and empty rows survive', () => {
    const none = gather([[float([0, 2], [])], [float([1, 2], [1, 2])], [float([0, 2], [])]], [0, 1, 0], 2);
    assert.deepEqual(floats(none.inputs[0]), [1, 2, 1, 2]);
    const thin = gather([[float([1, 0], [])], [float([1, 0], [])]], [1, 1], 4);
    assert.deepEqual([thin.inputs[0].shape, thin.inputs[0].data.length], [[4, 0], 0]);
    const text = gather([[strings([1], ['a'])], [strings([0], [])]], [1, 0], 2);
    assert.deepEqual(texts(text.inputs[0]), ['a', 'a']);
  });

  test('pads ragged inputs in every dim with the pad value of their type', () => {
    const rules = [{ ragged: true, padValue: -1.5 }];
    const { inputs, ragged } = gather([[float([1, 1, 2], [1, 2])], [float([1, 2, 1], [3, 4])]], [1, 1], 2, rules);
    assert.deepEqual(inputs[0].shape, [2, 2, 2]);
    assert.deepEqual(floats(inputs[0]), [1, 2, -1.5, -1.5, 3, -1.5, 4, -1.5]);
    assert.deepEqual(ragged, [
      {
        padded: [2, 2],
        own: [
          [1, 2],
          [2, 1],
        ],
      },
    ]);
  });

  test('encodes the pad value in each data type', () => {
    const expected: [DataType, number, number[]][] = [
      ['INT64', -1, [255, 255, 255, 255, 255, 255, 255, 255]],
      ['INT32', -2, [254, 255, 255, 255]],
      ['UINT16', 258, [2, 1]],
      ['INT8', -1, [255]],
      ['BOOL', 1, [1]],
      ['FP16', 1.5, [0x00, 0x3e]],
      ['FP16', -65504, [0xff, 0xfb]],
      ['FP16', 2 ** -24, [0x01, 0x00]],
      ['FP16', 2 ** -14, [0x00, 0x04]],
      ['FP16', 65520, [0x00, 0x7c]],
      ['BF16', -2.5, [0x20, 0xc0]],
      ['FP64', 1, [0, 0, 0, 0, 0, 0, 0xf0, 0x3f]],
    ];
    for (const [datatype, padValue, bytes] of expected) {
      const width = bytes.length;
      const item = (length: number): Tensor[] => [
        { name: 'x', datatype, shape: [1, length], data: new Uint8Array(length * width) },
      ];
      const { inputs } = gather([item(0), item(1)], [1, 1], 2, [{ ragged: true, padValue }]);
      assert.deepEqual([...inputs[0].data.subarray(0, width)], bytes, `${datatype} ${padValue}`);
    }
  });

  test('refuses items that do not belong together', () => {
    const good = float([1, 2], [1, 2]);
    const wrong: [Tensor[], RegExp][] = [
      [[float([1, 3], [1, 2, 3])], /one item is \[1,3\], another \[1,2\]/],
      [[float([1, 2], [1, 2], 'z')], /different inputs/],
      [[good, good], /different inputs/],
      [[{ ...good, datatype: 'INT32' }], /INT32/],
      [[{ ...good, data: good.data.subarray(4) }], /4 bytes/],
      [[float([2, 2], [1, 2, 3, 4])], /1 rows/],
    ];
    for (const [item, message] of wrong) {
      assert.throws(() => gather([[good], item], [1, 1], 2), { code: 'internal', message });
    }
  });
});

describe('scatter', () => {
  test('gives each item its rows as views, without the padding rows', () => {
    const output = float([4, 2], [1, 2, 3, 4, 5, 6, 7, 8], 'y');
    const [[first], [second]] = scatter([output], [1, 2], 4);
    assert.deepEqual(
      [first.shape, floats(first), second.shape, floats(second)],
      [
        [1, 2],
        [1, 2],
        [2, 2],
        [3, 4, 5, 6],
      ],
    );
    assert.equal(second.data.buffer, output.data.buffer);
  });

  test('splits strings by walking them', () => {
    const [[first], [second]] = scatter([strings([3, 2], ['a', 'bb', '', 'dddd', 'pad', 'pad'])], [1, 1], 3);
    assert.deepEqual(
      [texts(first), texts(second)],
      [
        ['a', 'bb'],
        ['', 'dddd'],
      ],
    );
  });

  test('refuses an answer that lost or merged rows, naming output and numbers', () => {
    assert.throws(() => scatter([float([1, 2], [1, 2], 'y')], [1, 2], 3), {
      code: 'internal',
      message: /output "y" with 1 rows for a batch of 3 rows/,
    });
    assert.throws(() => scatter([float([], [1], 'y')], [1], 1), { message: /no batch dimension/ });
    assert.throws(() => scatter([{ ...float([1], [1], 'y'), shape: [1, 3] }], [1], 1), { message: /4 bytes/ });
    const torn = strings([2], ['abc', 'd']);
    assert.throws(() => scatter([{ ...torn, data: torn.data.subarray(0, 9) }], [1, 1], 2), {
      message: /element 0 of 1/,
    });
  });

  test('leaves an output whole whose declared dims are fixed', () => {
    const batch = gather([[float([1, 1], [1])], [float([1, 2], [2, 3])]], [1, 1], 2, [{ ragged: true, padValue: 0 }]);
    const fixed: TensorSpec[] = [{ name: 'y', datatype: 'FP32', dims: [2] }];
    const [[first]] = scatter([float([2, 2], [1, 2, 3, 4], 'y')], [1, 1], 2, batch.ragged, fixed);
    assert.deepEqual(first.shape, [1, 2]);
  });

  test('ragged batches answer as single runs do', () => {
    // The fake model works position by position, as transformers do: y[r, i, c] = 3·x[r, i, c] + 1, pad included.
    const run = (input: Tensor): Tensor =>
      float(
        input.shape,
        floats(input).map((value) => 3 * value + 1),
        'y',
      );
    const shapes = fc.array(
      fc.record({
        rows: fc.integer({ min: 1, max: 3 }),
        length: fc.integer({ min: 0, max: 5 }),
        depth: fc.integer({ min: 1, max: 3 }),
      }),
      { minLength: 1, maxLength: 6 },
    );
    fc.assert(
      fc.property(shapes, fc.nat(4), (items, extra) => {
        let next = 0;
        const tensors = items.map(({ rows, length, depth }) =>
          float(
            [rows, length, depth],
            Array.from({ length: rows * length * depth }, () => next++),
          ),
        );
        const rows = items.map((item) => item.rows);
        const padded = rows.reduce((sum, value) => sum + value, extra);
        const rules = [{ ragged: true, padValue: 7 }];
        const batch = gather(
          tensors.map((tensor) => [tensor]),
          rows,
          padded,
          rules,
        );
        const specs: TensorSpec[] = [{ name: 'y', datatype: 'FP32', dims: [-1, -1] }];
        const answers = scatter([run(batch.inputs[0])], rows, padded, batch.ragged, specs);
        tensors.forEach((tensor, i) => {
          const alone = run(tensor);
          assert.deepEqual([answers[i][0].shape, floats(answers[i][0])], [alone.shape, floats(alone)]);
        });
      }),
    );
  });

  test('ragged strings come back as they went', () => {
    const items = [strings([2, 1], ['a', 'b']), strings([1, 3], ['c', '', 'e'])];
    const batch = gather(
      items.map((item) => [item]),
      [2, 1],
      4,
      [{ ragged: true, padValue: 0 }],
    );
    assert.deepEqual(texts(batch.inputs[0]), ['a', '', '', 'b', '', '', 'c', '', 'e', 'c', '', 'e']);
    const specs: TensorSpec[] = [{ name: 'x', datatype: 'BYTES', dims: [-1] }];
    const answers = scatter(batch.inputs, [2, 1], 4, batch.ragged, specs);
    assert.deepEqual(
      answers.map(([own]) => [own.shape, texts(own)]),
      [
        [
          [2, 1],
          ['a', 'b'],
        ],
        [
          [1, 3],
          ['c', '', 'e'],
        ],
      ],
    );
  });
});
