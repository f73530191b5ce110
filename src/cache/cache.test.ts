import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DATA_TYPES, ELEMENT_BYTES, elementCount, type Tensor } from '../tensor/tensor.ts';
import { type CacheKeyParts, cacheKey } from './cache-key.ts';
import { decodeEntry, encodeEntry } from './entry-codec.ts';
import { createResponseCache } from './response-cache.ts';

const tensor: fc.Arbitrary<Tensor> = fc
  .record({
    name: fc.string({ maxLength: 6 }),
    datatype: fc.constantFrom(...DATA_TYPES),
    shape: fc.array(fc.nat(3), { maxLength: 4 }),
    fill: fc.nat(255),
  })
  .map(({ name, datatype, shape, fill }) => ({
    name,
    datatype,
    shape,
    data: new Uint8Array(elementCount(shape) * (ELEMENT_BYTES[datatype] || 3)).fill(fill),
  }));

const parts: fc.Arbitrary<CacheKeyParts> = fc.record({
  tenant: fc.constantFrom('a', 'b', 'ab'),
  model: fc.constantFrom('m', 'bm', ''),
  version: fc.constantFrom('1', '11'),
  inputs: fc.array(tensor, { maxLength: 3 }),
  outputs: fc.array(fc.record({ name: fc.constantFrom('o', 'oo'), classification: fc.nat(2) }), { maxLength: 2 }),
  parameters: fc.option(
    fc.dictionary(fc.constantFrom('p', 'q'), fc.oneof(fc.constant('1'), fc.constant(1), fc.constant(1n), fc.boolean())),
    {
      nil: undefined,
    },
  ),
});

const plain = (p: CacheKeyParts) =>
  JSON.stringify([
    p.tenant,
    p.model,
    p.version,
    p.outputs,
    Object.entries(p.parameters ?? {})
      .map(([name, value]) => [name, typeof value, String(value)])
      .sort(),
    p.inputs.map((t) => ({ ...t, data: Buffer.from(t.data).toString('hex') })),
  ]);

test('keys are equal exactly when the requests are', () => {
  fc.assert(
    fc.property(parts, parts, (a, b) => {
      assert.equal(cacheKey(a) === cacheKey(b), plain(a) === plain(b));
      assert.equal(cacheKey(a), cacheKey(structuredClone(a)));
    }),
    { numRuns: 500 },
  );
});

test('every single part changes the key', () => {
  const x: Tensor = { name: 'x', datatype: 'FP32', shape: [1, 2], data: new Uint8Array(8) };
  const base: CacheKeyParts = {
    tenant: 't',
    model: 'm',
    version: '1',
    inputs: [x],
    outputs: [{ name: 'y', classification: 0 }],
  };
  const changed = new Uint8Array(8);
  changed[7] = 1;
  const variants: CacheKeyParts[] = [
    base,
    { ...base, tenant: 'u' },
    { ...base, model: 'n' },
    { ...base, version: '2' },
    { ...base, outputs: [] },
    { ...base, outputs: [{ name: 'z', classification: 0 }] },
    { ...base, outputs: [{ name: 'y', classification: 1 }] },
    { ...base, inputs: [{ ...x, name: 'w' }] },
    { ...base, inputs: [{ ...x, datatype: 'INT32' }] },
    { ...base, inputs: [{ ...x, shape: [2, 1] }] },
    { ...base, inputs: [{ ...x, data: changed }] },
    { ...base, parameters: { temperature: 1 } },
    { ...base, parameters: { temperature: '1' } },
    // Where a name ends and the next text begins must not matter.
    { ...base, tenant: 'tm', model: '' },
  ];
  assert.equal(new Set(variants.map(cacheKey)).size, variants.length);
});

test('large inputs are digested whole', () => {
  const data = new Uint8Array(100_000);
  const of = (bytes: Uint8Array) =>
    cacheKey({
      tenant: 't',
      model: 'm',
      version: '1',
      outputs: [],
      inputs: [{ name: 'x', datatype: 'UINT8', shape: [100_000], data: bytes }],
    });
  const before = of(data);
  data[99_999] = 1;
  assert.notEqual(of(data), before);
  data[99_999] = 0;
  assert.equal(of(data), before);
});

test('shared entries come back as they were, on buffers of their own', () => {
  fc.assert(
    fc.property(fc.array(tensor, { maxLength: 4 }), (outputs) => {
      const decoded = decodeEntry(encodeEntry(outputs)!);
      assert.deepEqual(decoded, outputs);
      for (const { data } of decoded!) assert.equal(data.byteLength, data.buffer.byteLength);
    }),
  );
});

test('damaged entries are refused, whatever the damage', () => {
  const good = encodeEntry([{ name: 'y', datatype: 'FP32', shape: [2, 2], data: new Uint8Array(16) }])!;
  for (let end = 0; end < good.length; end++)
    assert.equal(decodeEntry(good.subarray(0, end)), undefined, `cut at ${end}`);
  assert.equal(decodeEntry(Buffer.concat([good, Buffer.from([0])])), undefined, 'something behind');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      decodeEntry(Buffer.from(bytes));
    }),
  );
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), (at, value) => {
      const bad = Buffer.from(good);
      bad[at] = value;
      for (const { datatype, shape, data } of decodeEntry(bad) ?? []) {
        if (ELEMENT_BYTES[datatype] > 0) assert.equal(data.byteLength, elementCount(shape) * ELEMENT_BYTES[datatype]);
      }
    }),
  );
});

const answer = (bytes: number, fill = 7): Tensor[] => [
  { name: 'y', datatype: 'UINT8', shape: [bytes], data: new Uint8Array(bytes).fill(fill) },
];

test('memory: neither the giver nor a taker can reach the cached bytes', async () => {
  const cache = createResponseCache({ maxBytes: 10_000, ttlMs: 60_000 });
  const given = answer(4);
  cache.set('k', given);
  structuredClone(given[0].data.buffer, { transfer: [given[0].data.buffer as ArrayBuffer] });
  given[0].shape[0] = 99;
  const first = (await cache.get('k'))!;
  assert.deepEqual(first, answer(4));
  first[0].data.fill(0);
  first[0].shape.push(1);
  structuredClone(first[0].data.buffer, { transfer: [first[0].data.buffer as ArrayBuffer] });
  assert.deepEqual(await cache.get('k'), answer(4));
  assert.equal(await cache.get('other'), undefined);
  const { hits, misses, entries } = cache.counters;
  assert.deepEqual({ hits, misses, entries }, { hits: 2, misses: 1, entries: 1 });
});

test('memory: bounded by bytes, oldest out first; large answers are not kept', async () => {
  const cache = createResponseCache({ maxBytes: 10_000, maxEntryBytes: 4_000, ttlMs: 60_000 });
  for (let i = 0; i < 50; i++) cache.set(`k${i}`, answer(1000));
  assert.ok(cache.counters.bytes <= 10_000 && cache.counters.entries >= 5);
  assert.equal(await cache.get('k0'), undefined);
  assert.ok(await cache.get('k49'));
  cache.set('large', answer(5_000));
  assert.equal(await cache.get('large'), undefined);
  assert.equal(cache.counters.oversized, 1);
});

test('memory: entries age', async () => {
  const cache = createResponseCache({ maxBytes: 10_000, ttlMs: 20 });
  cache.set('k', answer(1));
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.equal(await cache.get('k'), undefined);
});

test('redis away: a miss at once, counted, and closing works', async () => {
  const cache = createResponseCache({ maxBytes: 0, ttlMs: 1000, redisUrl: 'redis://127.0.0.1:1' });
  cache.set('k', answer(1));
  assert.equal(await cache.get('k'), undefined);
  assert.equal(cache.counters.errors, 2);
  await cache.close();
});
