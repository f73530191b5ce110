import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PlacedTensor } from '../../tensor/placed.ts';
import { viewsOf } from './memory.ts';
import { TensorBytes } from './tensor-bytes.ts';

const ROOM = 256;

test('tensors arrive byte for byte, wherever they lie, and nothing behind them changes', () => {
  const place = fc.record({
    buffer: fc.nat(2),
    offset: fc.nat(90),
    bytes: fc.nat(130),
    start: fc.nat(8),
    apart: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(place, { maxLength: 12 }),
      fc.array(fc.nat(7), { minLength: 3, maxLength: 3 }),
      (places, shifts) => {
        // Views that begin anywhere in their memory, and whose end is no whole word.
        const sources = shifts.map((shift, s) =>
          new Uint8Array(ROOM).map((_, i) => i * 7 + s).subarray(shift, ROOM - 3),
        );
        const payload = new TensorBytes();
        const ring = viewsOf(new SharedArrayBuffer(ROOM));
        for (const { buffer, offset, bytes, start, apart } of places) {
          const source = sources[buffer];
          const expected = source.slice(offset, offset + bytes);
          const placed = new PlacedTensor('x', 'UINT8', [bytes], source, offset, bytes);
          const tensor = apart ? { name: 'x', datatype: 'UINT8' as const, shape: [bytes], data: expected } : placed;
          ring.u8.fill(0xee);
          payload.copy(tensor, bytes, ring, start * 8);
          assert.deepEqual(ring.u8.slice(start * 8, start * 8 + bytes), expected);
          assert.ok(ring.u8.subarray(0, start * 8).every((byte) => byte === 0xee));
          assert.ok(ring.u8.subarray(start * 8 + bytes).every((byte) => byte === 0xee));
        }
      },
    ),
    { numRuns: 500 },
  );
});
