import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import kafkajs from 'kafkajs';
import { recordBytes, varintBytes, writeRecord } from '../record-format.ts';
import { registerCodecs } from './codecs.ts';
import { unpackLz4 } from './lz4.ts';
import { unpackSnappy } from './snappy.ts';
import { unpackZstd } from './zstd.ts';

const { CompressionCodecs, CompressionTypes } = kafkajs;
const LIMIT = 1_000_000;
const UNPACK = { Snappy: unpackSnappy, LZ4: unpackLz4, ZSTD: unpackZstd };

/** What a broker gave of two records that producers had packed, in gzip: the library, and who wrote it. */
const SAMPLES: [keyof typeof UNPACK, string, string][] = [
  [
    'Snappy',
    'Java, framed',
    'H4sIAAAAAAACA+2WP2rdQBCH35on0ucESZHGDGH+7OzMNMJJk84YAoYU1gUMOUAg8MhRco6cIjcIGFcubOMuvEdGSpcmhRpj7/JpfwitPoEQ+u23j6fvzs4+bXKUv8eLi93uCK/3Q55uL/HnfsCh3J4AogUFIKmLA7KYGqBQs5YRGgpYTakCqlYRwCaiDGjERoBlvD1BQDfCtIQiOxByVAMi9NYy3FyBuBlWIKmNBaiyVgZSrI1g+DpLqDWOALLKlBJnkpQEoqYkLEyBUT0q5BUnAWYy4YxompIfs4SrVg9glYoO3EjYMoJrAzajlhJX9JSEIArkFMwZ7jUlv2eJ5GoLEGENhzQpWYZXaSDaRBWkVbYKYkyREkeilLjnq4M3F4epdDqdTufJ836aC/ZzFuzDVOYqWlp0dRctJby6jHAZq3t+vnt1zy8PX1f0/WvrPAfOp4KbZbt+tL2k3K6/vBs3eLgfO53nw5f7cSiHq/EfTq/GbNwPN/vycFweYUs91j3A61dbwOHXPH3f/bf++1+40+l0nipvp7KlzR+H3b4VLhYAAA==',
  ],
  [
    'LZ4',
    'Java',
    'H4sIAAAAAAACA9WTLY6VQRBF+5u8UQiCQyAAfUX9dlUZwgYIswHIJMjxo8CwFBwSTzJrgBWAwb8gyeRR0waF+gShxL2iOyedzqnD0xcPL5+/f3s2xpcft+djjMMVfb09p20cGURRXCD21ASJhgdIecbsKi8HWTgbyN1UQVPVBRQswXg2jkKgDKaGlJMkmKQswEw5Z1dGOlhmkIHVpijYxE3ATjYZ7xaE55QqcJhwQ1JYG1JE3pCKCoeQZxn6JFkhwqHSVdMZnxdEzC0L4mqUkMkq0VViExLBsyHplA0pJVJ0lEhXpjF+LYj27SioileiSc7RlaYT6lPdodMkDBrC1ZAk5oZk9s/h1Xb/9Xb6r+fTg3F98/LscMXXN3tZHy+WM9+2MY6nR3/UWeLtdmd5u1uepf1ue9bW7NaH1oAeb09A30fHh7t4M073/r6R/1i4nxf9cB538xtDfO4GbwQAAA==',
  ],
  [
    'ZSTD',
    'Java',
    'H4sIAAAAAAACAwHwAA//KLUv/QBYJAcA1hUxGMAlwwHvOvP//3/7vzgppZRSpsjAC6TRHSwAJwAnAFdeXVaWrrvKTwSVETJTiqeknJuLkoocZU3FSwsbl+erlhUUAjoIDMMgKBACV2fStGdW+GaaL2XencgsTdIxL3Mx4yRhSotujpXZJLLaLLnXtHcC/7XBaONOsY6dQ646SX501sN0WiXmPJORs/TQ/XyUf4YtfMrZ9JwKgz0IAAyDoEAY6KhZ8HYtGOdXUOpCwZmgCVKISbA8laDdPIJXJA+WFrMGAwcAaL+83+gYIPjCVpvAbxLBz+4EAGsBBEHOC3wBAQAAa7ia/PAAAAA=',
  ],
  [
    'Snappy',
    'librdkafka',
    'H4sIAAAAAAACA+2XO0rEYBRGE5kBCyv3YCFc5L4fjbgRp9HOfjo34zqE2YOLsBKZwk4U70wliNV0+odDPkLCKQIJnJePJT5/LKdpWtzhU18s5+0VIEZRAZKlJCBLWAAKeXhPWRmghpECmqkIoIsYAwZxEOB8ub1CwAzCtpQhJxByaQARpntPRhoQe6ACiToLkLIpAxmqEyzvdxJy5yqgUKaWJJO0pBCtJRUVBoyWpdB3kgSYKYR7yq0ljzsJq2kWsIliAjsJR0+xOnAEeUvSMFtSgijQp2LuydSWvO8k0k9HgQhbJbTJKHpSxUHMxQzElUNBgqlakkjUksx+dXB2/bmaB4PBYDAYDP4k56tpOl1vTo4Wd/S53gwG/5nX9aa/hrecvwXSLq8ODqR9nR1cSPu4OziR9m14cCPh/viRn/PDcWfnfHP7e3yOv+5gMBj8VS5W84KmL1opqpGwFAAA',
  ],
  [
    'LZ4',
    'librdkafka',
    'H4sIAAAAAAACA9WTLY6VQRBF+5u8UQiCQyAAfUX9dlUZwgYIswHIJMjxo8CwFBwSTzJrgBWAwb8gyeRR0waF+gShxL2iOyedzqnD0xcPL5+/f3s2xpcft+djjMMVfb09p20cGURRXCD21ASJhgdIecbsKi8HWTgbyN1UQVPVBRQswXg2jkKgDKaGlJMkmKQswEw5Z1dGOlhmkIHVpijYxE3ATjYZ7xaE55QqcJhwQ1JYG1JE3pCKCoeQZxn6JFkhwqHSVdMZnxdEzC0L4mqUkMkq0VViExLBsyHplA0pJVJ0lEhXpjF+LYj27SioileiSc7RlaYT6lPdodMkDBrC1ZAk5oZk9s/h1Xb/9Xb6r+fTg3F98/LscMXXN3tZHy+WM9+2MY6nR3/UWeLtdmd5u1uepf1ue9bW7NaH1oAeb09A30fHh7t4M073/r6R/1i4nxf9cB538xtDfO4GbwQAAA==',
  ],
  [
    'ZSTD',
    'librdkafka',
    'H4sIAAAAAAACAwHtABL/KLUv/QBYJQcA1hUxGMAlwwHvOvP//3/7vzgppZRSpsjAC6TRHSwAJwAnAFdeXVaWrrvKTwSVETJTiqeknJuLkoocZU3FSwsbl+erlhUUAjoIDMMgKBACV2fStGdW+GaaL2XencgsTdIxL3Mx4yRhSotujpXZJLLaLLnXtHcC/7XBaONOsY6dQ646SX501sN0WiXmPJORs/TQ/XyUf4YtfMrZ9JwKgz0IAAyDoEAY6KhZ8HYtGOdXUOpCwZmgCVKISbA8laDdPIJXJA+WFrMGAwcAaL+83+gYIPjCVpvAbxLBz+4EAGsBBEHOC3wBqqg/me0AAAA=',
  ],
];
const sampleOf = (packed: string) => gunzipSync(Buffer.from(packed, 'base64'));

/** The same two records, plain. */
function records(): Buffer {
  const text = Array.from({ length: 7000 }, (_, i) => `${String((i % 50) * 7919).padStart(6, '0')},`).join('');
  const parts = [0, 1].map((offsetDelta) => {
    const record = { key: `k${offsetDelta}`, value: text + offsetDelta };
    const size = recordBytes(record, offsetDelta, 0);
    const bytes = Buffer.alloc(varintBytes(size) + size);
    writeRecord(bytes, 0, record, offsetDelta, 0, size);
    return bytes;
  });
  return Buffer.concat(parts);
}

for (const [name, by, packed] of SAMPLES)
  test(`${name} of ${by} is unpacked, within a limit, and refused where it is cut short`, () => {
    const unpack = UNPACK[name];
    const bytes = sampleOf(packed);
    const plain = records();
    assert.ok(unpack(bytes, LIMIT).equals(plain), 'the records are those that were sent');
    assert.ok(unpack(bytes, name === 'ZSTD' ? 131_072 : plain.length).equals(plain), 'the limit itself is allowed');
    assert.throws(() => unpack(bytes, plain.length - 1), /unpacked/);
    for (let end = 1; end < bytes.length - 1; end += 1 + (end >> 4))
      assert.throws(() => assert.ok(unpack(bytes.subarray(0, end), LIMIT).equals(plain), 'cut'), `${end} bytes`);
  });

test('damaged bytes are an error or other bytes, never more than the limit', () => {
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.constantFrom(...SAMPLES), damage, ([name, , packed], changes) => {
      const bytes = sampleOf(packed);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      try {
        assert.ok(UNPACK[name](bytes, LIMIT).length <= LIMIT, 'the limit holds');
      } catch (error) {
        assert.ok(error instanceof Error, 'an error says so');
      }
    }),
  );
});

/** Literals, and repetitions from `back` bytes before; what they come to. */
const steps = fc.array(
  fc.record({
    literal: fc.uint8Array({ minLength: 1, maxLength: 300 }),
    back: fc.integer({ min: 1, max: 65_535 }),
    count: fc.integer({ min: 4, max: 600 }),
  }),
  { minLength: 1, maxLength: 30 },
);

interface Step {
  literal: Uint8Array;
  back: number;
  count: number;
}

function expand(of: readonly Step[]): { steps: Step[]; bytes: Buffer } {
  const bytes: number[] = [];
  const fitting = of.map(({ literal, back, count }) => {
    bytes.push(...literal);
    const distance = 1 + ((back - 1) % bytes.length);
    for (let i = 0; i < count; i++) bytes.push(bytes[bytes.length - distance]);
    return { literal, back: distance, count };
  });
  // The last part of an LZ4 block has literals only.
  bytes.push(1, 2, 3, 4, 5);
  return { steps: fitting, bytes: Buffer.from(bytes) };
}

const long = (count: number): number[] => {
  if (count < 15) return [];
  return [...Array.from({ length: Math.floor((count - 15) / 255) }, () => 255), (count - 15) % 255];
};

test('any sequence of literals and repetitions is followed, in LZ4 also across blocks', () => {
  fc.assert(
    fc.property(steps, fc.boolean(), (of, apart) => {
      const { steps: fitting, bytes } = expand(of);
      const blocks: number[][] = [[]];
      for (const { literal, back, count } of fitting) {
        const block = blocks.at(-1) as number[];
        block.push((Math.min(15, literal.length) << 4) | Math.min(15, count - 4), ...long(literal.length), ...literal);
        block.push(back & 255, back >> 8, ...long(count - 4));
        if (apart) {
          block.push(0);
          blocks.push([]);
        }
      }
      (blocks.at(-1) as number[]).push(5 << 4, 1, 2, 3, 4, 5);
      const word = (value: number) => [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24];
      const frame = [...word(0x184d2204), 0x40, 0x40, 0];
      for (const block of blocks) frame.push(...word(block.length), ...block);
      assert.ok(unpackLz4(Buffer.from([...frame, ...word(0)]), LIMIT).equals(bytes), 'the same bytes');
    }),
  );
});

test('the same in Snappy, with each of its widths', () => {
  fc.assert(
    fc.property(steps, fc.boolean(), (of, wide) => {
      const { steps: fitting, bytes } = expand(of);
      const out: number[] = [(bytes.length & 127) | 128, ((bytes.length >> 7) & 127) | 128, bytes.length >> 14];
      const literal = (part: Uint8Array | number[]) => {
        const last = part.length - 1;
        if (wide) out.push(61 << 2, last & 255, last >> 8);
        else if (last < 60) out.push(last << 2);
        else out.push(...(last < 256 ? [60 << 2, last] : [61 << 2, last & 255, last >> 8]));
        out.push(...part);
      };
      for (const { literal: part, back, count } of fitting) {
        literal(part);
        for (let rest = count; rest > 0; ) {
          const now = Math.min(rest, wide ? 64 : 11);
          if (!wide && back < 2048 && now >= 4) out.push(1 | ((now - 4) << 2) | ((back >> 8) << 5), back & 255);
          else if (wide) out.push(3 | ((now - 1) << 2), back & 255, back >> 8, 0, 0);
          else out.push(2 | ((now - 1) << 2), back & 255, back >> 8);
          rest -= now;
        }
      }
      literal([1, 2, 3, 4, 5]);
      assert.ok(unpackSnappy(Buffer.from(out), LIMIT).equals(bytes), 'the same bytes');
    }),
  );
});

test('a little Zstandard that says it is much is refused before it is unpacked', () => {
  const frame = (...parts: number[][]) => Buffer.from([0x28, 0xb5, 0x2f, 0xfd, ...parts.flat()]);
  // One segment with its size in eight bytes.
  assert.throws(() => unpackZstd(frame([0xe0], [0, 0, 0, 0, 0, 0, 0, 1], [1, 0, 0]), LIMIT), /unpacked/);
  // A window of 3 TiB.
  assert.throws(() => unpackZstd(frame([0, 0xff], [1, 0, 0]), LIMIT), /window/);
  // Ten thousand times the most that a block may repeat a byte, in a window of 1 MiB; and empty blocks in one of 128 MiB.
  const same = Array.from({ length: 10_000 }, () => [0xfa, 0xff, 0x0f, 7]);
  assert.throws(() => unpackZstd(frame([0, 0x50], ...same, [1, 0, 0]), LIMIT), /unpacked/);
  const empty = Array.from({ length: 10_000 }, () => [0, 0, 0]);
  assert.throws(() => unpackZstd(frame([0, 0x88], ...empty, [1, 0, 0]), LIMIT), /too many blocks/);
  // Five bytes as they are, then a frame to be skipped.
  const stored = frame([0x20, 5], [(5 << 3) | 1, 0, 0], [1, 2, 3, 4, 5], [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9]);
  assert.deepEqual([...unpackZstd(stored, LIMIT)], [1, 2, 3, 4, 5]);
});

test('what is packed is unpacked again, however long and however random it is', async () => {
  registerCodecs({ CompressionCodecs, CompressionTypes });
  const words = fc.array(fc.string({ maxLength: 30 }), { minLength: 1, maxLength: 50 });
  const text = fc
    .tuple(words, fc.integer({ min: 1, max: 2000 }))
    .map(([list, times]) => Buffer.from(list.join(' ').repeat(times)));
  const noise = fc.integer({ min: 0, max: 200_000 }).map((length) => randomBytes(length));
  await fc.assert(
    fc.asyncProperty(fc.oneof(text, noise), async (bytes) => {
      for (const type of [
        CompressionTypes.GZIP,
        CompressionTypes.Snappy,
        CompressionTypes.LZ4,
        CompressionTypes.ZSTD,
      ] as const) {
        const codec = CompressionCodecs[type]() as {
          compress(of: object): Promise<Buffer>;
          decompress(b: Buffer): Promise<Buffer>;
        };
        const packed = await codec.compress({ buffer: bytes });
        assert.ok((await codec.decompress(packed)).equals(bytes), CompressionTypes[type]);
        assert.ok(packed.length <= bytes.length * 1.2 + 100, `${packed.length} of ${bytes.length} bytes`);
      }
    }),
    { numRuns: 30 },
  );
});

test('kafkajs is given them all; what cannot be unpacked names its codec', async () => {
  registerCodecs({ CompressionCodecs, CompressionTypes });
  const { decompress } = CompressionCodecs[CompressionTypes.GZIP]() as { decompress(b: Buffer): Promise<Buffer> };
  assert.equal(String(await decompress(gzipSync('plain'))), 'plain');
  await assert.rejects(decompress(gzipSync(Buffer.alloc(100_000_001))), /in gzip cannot be unpacked/);
  for (const [name, , packed] of SAMPLES) {
    const codec = CompressionCodecs[CompressionTypes[name]]() as { decompress(b: Buffer): Promise<Buffer> };
    assert.ok((await codec.decompress(sampleOf(packed))).equals(records()), name);
    await assert.rejects(codec.decompress(Buffer.from('none of it')), /cannot be unpacked/);
  }
});
