import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import sharp from 'sharp';
import type { Batch, Schema } from '../batch.ts';
import { columnsToTensor, columnToBytes, tensorToColumn } from './columns.ts';
import { IMAGE_DEFAULTS, imagesToTensor, tensorToPng } from './image.ts';
import { bytesToTexts, HASH_DEFAULTS, hashTexts, textsToBytes } from './text.ts';

const floats = (data: Uint8Array): number[] => [...new Float32Array(data.buffer, data.byteOffset, data.length / 4)];

/** Two pixels: red, and white. */
const TWO = sharp(Buffer.from([255, 0, 0, 255, 255, 255]), { raw: { width: 2, height: 1, channels: 3 } })
  .png()
  .toBuffer();

test('a picture becomes a tensor in either layout, normalised, and comes back', async () => {
  const picture = await TWO;
  const spec = { ...IMAGE_DEFAULTS, width: 2, height: 1 };
  const nchw = await imagesToTensor('image', [picture, picture], spec);
  assert.deepEqual(nchw.shape, [2, 3, 1, 2]);
  assert.deepEqual(floats(nchw.data).slice(0, 6), [1, 1, 0, 1, 0, 1]);
  const nhwc = await imagesToTensor('image', [picture], {
    ...spec,
    layout: 'NHWC',
    mean: [0.5, 0.5, 0.5],
    std: [0.5, 0.5, 0.5],
  });
  assert.deepEqual(floats(nhwc.data), [1, -1, -1, 1, 1, 1]);
  const bytes = await imagesToTensor('image', [picture], { ...spec, layout: 'NHWC', datatype: 'UINT8' });
  assert.deepEqual([...bytes.data], [255, 0, 0, 255, 255, 255]);
  for (const [tensor, how] of [
    [nchw, spec],
    [bytes, { ...spec, layout: 'NHWC', datatype: 'UINT8' }],
  ] as const) {
    const back = await sharp(await tensorToPng(tensor, 0, how))
      .raw()
      .toBuffer();
    assert.deepEqual([...back], [255, 0, 0, 255, 255, 255]);
  }
  const grey = await imagesToTensor('image', [picture], {
    ...spec,
    channels: 1,
    mean: [0],
    std: [1],
    width: 4,
    height: 4,
  });
  assert.deepEqual(grey.shape, [1, 1, 4, 4]);
});

test('broken and huge pictures are refused by their number', async () => {
  const spec = { ...IMAGE_DEFAULTS, width: 2, height: 2 };
  const picture = await TWO;
  await assert.rejects(imagesToTensor('x', [picture, picture.subarray(0, 40)], spec), /image 1: not readable/);
  const wide = await sharp({ create: { width: 100, height: 100, channels: 3, background: 'red' } })
    .png()
    .toBuffer();
  await assert.rejects(imagesToTensor('x', [wide], { ...spec, maxPixels: 1000 }), { code: 'invalid_argument' });
  await assert.rejects(imagesToTensor('x', [picture], { ...spec, width: 0 }), { code: 'invalid_argument' });
});

test('texts become bytes and come back; hashed words count what is there', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'grapheme' })), (texts) => {
      assert.deepEqual(bytesToTexts(textsToBytes('t', texts)), texts);
    }),
  );
  const { shape, data } = hashTexts('t', ['the cat, the dog', ''], { ...HASH_DEFAULTS, buckets: 16 });
  assert.deepEqual(shape, [2, 16]);
  const counts = floats(data);
  assert.equal(
    counts.slice(0, 16).reduce((a, b) => a + b, 0),
    4,
  );
  assert.ok(counts.slice(0, 16).includes(2), 'the word that is there twice');
  assert.deepEqual(counts.slice(16), Array(16).fill(0));
  const words = (text: string) => floats(hashTexts('t', [text], HASH_DEFAULTS).data);
  assert.deepEqual(words('Katze, Hund!'), words('hund katze'));
  const pairs = (text: string) => floats(hashTexts('t', [text], { ...HASH_DEFAULTS, ngrams: 2 }).data);
  assert.notDeepEqual(pairs('a b'), pairs('b a'));
  assert.throws(() => hashTexts('t', [], { ...HASH_DEFAULTS, buckets: 0 }), { code: 'invalid_argument' });
});

test('columns become tensors, and tensors columns', () => {
  const schema: Schema = {
    fields: [
      { name: 'a', type: 'integer' },
      { name: 'v', type: 'numbers' },
      { name: 's', type: 'string' },
    ],
  };
  const batch: Batch = {
    rows: 2,
    columns: [
      [1, null],
      [
        [2, 3],
        [4, 5],
      ],
      ['x', null],
    ],
  };
  const tensor = columnsToTensor('in', schema, batch, ['a', 'v']);
  assert.deepEqual(tensor.shape, [2, 3]);
  assert.deepEqual(floats(tensor.data), [1, 2, 3, Number.NaN, 4, 5]);
  assert.deepEqual(tensorToColumn(tensor), [
    [1, 2, 3],
    [Number.NaN, 4, 5],
  ]);
  assert.deepEqual(tensorToColumn(columnToBytes('s', schema, batch, 's')), ['x', '']);
  assert.throws(() => columnsToTensor('in', schema, batch, ['s']), /column "s" is of type string/);
  const ragged = { ...batch, columns: [batch.columns[0], [[1], [1, 2]], batch.columns[2]] };
  assert.throws(
    () => columnsToTensor('in', schema, ragged, ['v']),
    /row 2: column "v" has 2 items where the first has 1/,
  );
});
