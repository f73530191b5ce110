import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AvroReader } from './avro-reader.ts';
import { AvroWriter } from './avro-writer.ts';

const EDGES = [7, 14, 28, 35, 42, 49, 53].flatMap((bits) => [-1, 0, 1].map((by) => 2 ** (bits - 1) + by));

test('a long is read as the number that was written, however many bytes it takes', () => {
  const longs = fc.oneof(
    fc.maxSafeInteger(),
    fc.integer({ min: -(2 ** 31), max: 2 ** 31 }),
    fc.constantFrom(...EDGES.flatMap((edge) => [edge, -edge])),
  );
  fc.assert(
    fc.property(fc.array(longs, { maxLength: 10 }), (values) => {
      const out = new AvroWriter();
      for (const value of values) out.bigLong(BigInt(value));
      const reader = new AvroReader(out.u8, 0, out.at);
      for (const value of values) assert.equal(reader.long(), value);
      assert.ok(reader.ended);
      if (values.length > 0)
        assert.throws(() => {
          const cut = new AvroReader(out.u8, 0, out.at - 1);
          for (const _ of values) cut.long();
        }, RangeError);
    }),
  );
});
