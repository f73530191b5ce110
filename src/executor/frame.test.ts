import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { gather } from '../batching/gather.ts';
import { scatter } from '../batching/scatter.ts';
import { DATA_TYPES, ELEMENT_BYTES, elementCount, type Tensor } from '../tensor/tensor.ts';
import { plainTensors } from '../testing/plain-tensors.ts';
import { type Frame, FrameReader, FrameWriter } from './frame.ts';
import { REPLY_OK } from './messages.ts';
import { Outbox } from './outbox.ts';

const TIMES = { queue: 0, computeInput: 0, computeInfer: 0, computeOutput: 0, cpu: 0.5, gpu: 0.25, batchSize: 1 };
const FIXED = DATA_TYPES.filter((type) => ELEMENT_BYTES[type] > 0);
const NAMES = [{ name: 'x' }, { name: 'y' }, { name: 'z' }];

const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 });

function tensorOf(name: string, shape: number[]): fc.Arbitrary<Tensor> {
  return fc.constantFrom(...FIXED).chain((datatype) => {
    const bytes = elementCount(shape) * ELEMENT_BYTES[datatype];
    return fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((data) => ({ name, datatype, shape, data }));
  });
}

/** As the other thread reads it. */
function sent(writer: FrameWriter): Frame {
  const { frame, transfer } = writer.take();
  return structuredClone(frame, { transfer });
}

const hex = (tensors: readonly Tensor[]) =>
  plainTensors(tensors).map((tensor) => ({ ...tensor, data: Buffer.from(tensor.data).toString('hex') }));

test('tensors come out of a frame as they went in, whichever form they had', () => {
  const tensors = fc.array(
    fc.tuple(fc.nat(2), shapes).chain(([i, shape]) => tensorOf(NAMES[i].name, shape)),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(tensors, (drawn) => {
      let wanted = drawn;
      // The second time through they lie in the first frame.
      for (let round = 0; round < 2; round++) {
        const writer = new FrameWriter();
        for (const tensor of wanted)
          writer.pushTensor(
            NAMES.findIndex(({ name }) => name === tensor.name),
            tensor,
            false,
          );
        const reader = new FrameReader(sent(writer));
        const read: Tensor[] = [];
        while (!reader.done) read.push(reader.tensor(NAMES));
        assert.deepEqual(hex(read), hex(drawn));
        wanted = read;
      }
    }),
  );
});

test('a frame that outgrows its buffer, in words and in bytes, loses nothing', () => {
  const writer = new FrameWriter();
  const lengths = Array.from({ length: 300 }, (_, i) => (i * 61) % 500);
  for (const [i, length] of lengths.entries()) {
    writer.reserve(1);
    writer.push(i);
    const data = new Uint8Array(length).fill(i);
    writer.pushTensor(i % 3, { name: 'x', datatype: 'UINT8', shape: [1, length], data }, false);
  }
  const reader = new FrameReader(sent(writer));
  for (const [i, length] of lengths.entries()) {
    assert.equal(reader.next(), i);
    const { name, shape, data } = reader.tensor(NAMES);
    assert.deepEqual([name, shape], [NAMES[i % 3].name, [1, length]]);
    assert.ok(data.every((byte) => byte === i % 256));
  }
  assert.ok(reader.done);
});

test('a frame of numbers and small tensors is one buffer, others bring what they have besides', () => {
  const writer = new FrameWriter();
  const fill = (): void => {
    writer.push(7);
    writer.pushTensor(0, { name: 'x', datatype: 'UINT8', shape: [3], data: Uint8Array.of(1, 2, 3) }, true);
  };
  fill();
  const narrow = sent(writer);
  assert.ok(narrow instanceof ArrayBuffer);
  fill();
  writer.pushParameters(7, { temperature: 0.5 });
  const trace = { traceparent: '00-trace', tracestate: 'a=1' };
  writer.pushTrace(7, trace);
  assert.equal(writer.pushText('not now'), 0);
  const wide = new FrameReader(sent(writer));
  assert.deepEqual(wide.parameters()?.get(7), { temperature: 0.5 });
  assert.deepEqual(wide.traces()?.get(7), trace);
  assert.equal(wide.text(0), 'not now');
  for (const reader of [new FrameReader(narrow), wide]) {
    assert.equal(reader.next(), 7);
    assert.deepEqual([...reader.tensor(NAMES).data], [1, 2, 3]);
    assert.ok(reader.done);
  }
  fill();
  const after = new FrameReader(sent(writer));
  assert.deepEqual([after.parameters(), after.traces()], [undefined, undefined]);
});

test('items of a frame are gathered as plain tensors are', () => {
  const rows = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(rows, fc.nat(3), fc.constantFrom(...FIXED), fc.nat(2), (itemRows, width, datatype, apart) => {
      const items = itemRows.map((count, i): Tensor[] => {
        const data = new Uint8Array(count * width * ELEMENT_BYTES[datatype]).fill(i + 1);
        return [{ name: 'x', datatype, shape: [count, width], data }];
      });
      const writer = new FrameWriter();
      for (const [tensor] of items) {
        writer.pushTensor(0, tensor, false);
        for (let i = 0; i < apart; i++)
          writer.pushTensor(1, { ...tensor, datatype: 'UINT8', shape: [1], data: new Uint8Array(1) }, false);
      }
      const reader = new FrameReader(sent(writer));
      const framed = items.map(() => {
        const tensor = reader.tensor(NAMES);
        for (let i = 0; i < apart; i++) reader.skipTensor();
        return [tensor];
      });
      const total = itemRows.reduce((sum, count) => sum + count, 0);
      for (const padded of [total, total + 2]) {
        assert.deepEqual(hex(gather(framed, itemRows, padded).inputs), hex(gather(items, itemRows, padded).inputs));
      }
    }),
  );
});

test('rows written by arithmetic are those that scatter cuts, copied or attached', () => {
  const batches = fc
    .tuple(fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 6 }), fc.nat(2), shapes)
    .chain(([itemRows, padding, dims]) => {
      const total = itemRows.reduce((sum, count) => sum + count, 0) + padding;
      return fc.tuple(
        fc.constant(itemRows),
        fc.constant(total),
        fc.tuple(tensorOf('x', [total, ...dims]), tensorOf('y', [total, 2])),
        fc.boolean(),
      );
    });
  fc.assert(
    fc.property(batches, ([itemRows, total, outputs, attach]) => {
      const wanted = scatter(outputs, itemRows, total).map(hex);
      let frame: Frame | undefined;
      const outbox = new Outbox((_gateway, made, transfer) => {
        frame = structuredClone(made, { transfer });
      });
      const batch = {
        outputs,
        data: outputs.map(({ data }) => data),
        rowBytes: outputs.map(({ data }) => data.byteLength / total),
        buffers: attach ? outbox.attach(0, outputs) : [0, 0],
      };
      let first = 0;
      itemRows.forEach((rows, i) => {
        outbox.rows(0, i, TIMES, batch, [0, 1], first, rows);
        first += rows;
      });
      outbox.flush();
      const reader = new FrameReader(frame!);
      const read = itemRows.map((_, i) => {
        assert.deepEqual([reader.next(), reader.next()], [REPLY_OK, i]);
        for (let word = 0; word < 7; word++) reader.next();
        assert.equal(reader.next(), 2);
        return hex([reader.tensor(NAMES), reader.tensor(NAMES)]);
      });
      assert.ok(reader.done);
      assert.deepEqual(read, wanted);
    }),
  );
});
