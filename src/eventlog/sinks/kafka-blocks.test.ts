import assert from 'node:assert/strict';
import { test } from 'node:test';
import avro from 'avsc';
import fc from 'fast-check';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { AvroWriter } from '../encode/avro-writer.ts';
import { writeFeedback } from '../encode/feedback-encoder.ts';
import { decodeFeedback, decodeRecord } from '../encode/record-decoder.ts';
import { FEEDBACK, INFERENCE, SpoolRecord } from '../spool/format.ts';
import { blocks, groupRecords } from './kafka-blocks.ts';

/** Records in one chunk, as they lie in the spool. */
function chunkOf(parts: readonly { kind: number; body: Uint8Array }[]): SpoolRecord[] {
  const chunk = Buffer.concat(parts.map(({ body }) => body));
  let at = 0;
  return parts.map(({ kind, body }) => {
    const record = new SpoolRecord(kind, chunk, at, at + body.length);
    at += body.length;
    return record;
  });
}

function inference(id: string, model: string): Uint8Array {
  const loop = new LogLoop();
  const base = finishedRequest({ id });
  loop.tap.finished({ ...base, request: { ...base.request, model }, response: { ...base.response!, model } });
  return loop.take()[0];
}

function feedback(id: string, model: string): Uint8Array {
  const out = new AvroWriter();
  writeFeedback({ id, time: 1, route: 'r', model, rewards: {}, tenant: '' }, out);
  return out.u8.slice(0, out.at);
}

const idOf = ({ kind, u8, start, end }: SpoolRecord): string =>
  (kind === FEEDBACK ? decodeFeedback(u8, start, end) : decodeRecord(u8, start, end)).id;

test('records are grouped by kind and model, in their order, and none is left out', () => {
  const drawn = fc.array(
    fc.record({
      kind: fc.constantFrom(INFERENCE, FEEDBACK),
      model: fc.constantFrom('iris', 'x'.repeat(200), ''),
      id: fc.string({ maxLength: 100 }),
    }),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(drawn, (all) => {
      const parts = all.map(({ kind, model, id }) => ({
        kind,
        body: kind === FEEDBACK ? feedback(id, model) : inference(id, model),
      }));
      const { groups, refused } = groupRecords(chunkOf(parts));
      assert.equal(refused, 0);
      assert.equal(new Set(groups.map(({ kind, model }) => `${kind} ${model}`)).size, groups.length);
      for (const { kind, model, records } of groups) {
        const wanted = all.filter((each) => (each.kind === FEEDBACK ? 'feedback' : 'inference') === kind);
        // A model that is not in the serving table is not named.
        const same = wanted.filter(
          (each) => (kind === 'feedback' || each.model === 'iris' ? each.model : '') === model,
        );
        assert.deepEqual(
          records.map(idOf),
          same.map(({ id }) => id),
        );
      }
      assert.equal(
        groups.reduce((sum, { records }) => sum + records.length, 0),
        all.length,
      );
    }),
    { numRuns: 50 },
  );
});

test('bytes that are no record are refused and hold up no other', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }), (noise) => {
      const parts = noise.map((body, i) => ({ kind: i % 2, body }));
      const { groups, refused } = groupRecords(chunkOf([...parts, { kind: INFERENCE, body: inference('a', 'iris') }]));
      const grouped = groups.reduce((sum, { records }) => sum + records.length, 0);
      assert.equal(grouped + refused, noise.length + 1);
      for (const group of groups) assert.ok(blocks(group, 1000, 'test').length > 0, 'a group has a block');
      assert.equal(idOf(groups.at(-1)!.records.at(-1)!), 'a');
    }),
  );
});

test('a block is an Avro container that any reader takes, and no larger than a message', async () => {
  const parts = Array.from({ length: 50 }, (_, i) => ({ kind: INFERENCE, body: inference(`id-${i}`, 'iris') }));
  const { groups } = groupRecords(chunkOf(parts));
  const limit = parts[0].body.length * 20;
  const ids: string[] = [];
  for (const { message, records } of blocks(groups[0], limit, 'test')) {
    const decoder = new avro.streams.BlockDecoder();
    const before = ids.length;
    decoder.on('data', ({ id }: { id: string }) => ids.push(id));
    decoder.end(message.value as Buffer);
    await new Promise((resolve) => decoder.once('end', resolve));
    assert.equal(Number(message.headers?.['switchyard-records']), ids.length - before);
    assert.equal(records.length, ids.length - before);
    assert.equal(message.headers?.ce_id, ids[before]);
    assert.ok(ids.length - before <= 20, 'a block is not too large');
  }
  assert.deepEqual(
    ids,
    parts.map((_, i) => `id-${i}`),
  );
});
