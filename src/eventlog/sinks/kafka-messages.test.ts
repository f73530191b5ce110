import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { finishedRequest, LogLoop } from '../../testing/log-records.ts';
import { fp32 } from '../../testing/loopback.ts';
import { AvroWriter } from '../encode/avro-writer.ts';
import { writeFeedback } from '../encode/feedback-encoder.ts';
import { recordJson, sagemakerLine } from '../encode/json.ts';
import { decodeRecord } from '../encode/record-decoder.ts';
import { FEEDBACK, INFERENCE, SpoolRecord } from '../spool/format.ts';
import type { RecordGroup } from './kafka-blocks.ts';
import { messageKey, RecordMessages } from './kafka-messages.ts';

const requests = fc.record({
  id: fc.string({ minLength: 1, maxLength: 40 }),
  time: fc.oneof(fc.integer({ min: 0, max: 253_402_300_799_999 }), fc.constantFrom(0, 999, 1000, 1_699_999_999_999)),
  traceparent: fc.constantFrom('', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'),
  values: fc.array(fc.float(), { minLength: 1, maxLength: 8 }),
});

function encoded(all: readonly (typeof requests extends fc.Arbitrary<infer T> ? T : never)[]): SpoolRecord[] {
  const loop = new LogLoop();
  for (const { id, time, traceparent, values } of all) {
    const base = finishedRequest({ id, time });
    loop.tap.finished({
      ...base,
      request: { ...base.request, inputs: [fp32('x', [1, values.length], values)] },
      context: { ...base.context, traceparent },
    });
  }
  return loop.take().map((body) => new SpoolRecord(INFERENCE, body, 0, body.length));
}

const group = (records: SpoolRecord[], kind: RecordGroup['kind'] = 'inference'): RecordGroup => ({
  kind,
  model: 'iris',
  records,
});
const json = new RecordMessages('json', 'here');

test('each record is a message: its JSON, its time, and CloudEvents headers', () => {
  fc.assert(
    fc.property(fc.array(requests, { maxLength: 12 }), (all) => {
      const records = encoded(all);
      const { list, refused } = json.of(group(records), 0);
      assert.equal(refused, 0);
      assert.equal(list.length, records.length);
      list.forEach(({ message, records: [own, ...others] }, i) => {
        assert.equal(own, records[i]);
        assert.deepEqual(others, []);
        const record = decodeRecord(own.u8, own.start, own.end);
        assert.equal(String(message.value), recordJson(record));
        assert.equal(message.key, messageKey(record));
        assert.equal(message.timestamp, String(record.time));
        assert.deepEqual(message.headers, {
          ce_specversion: '1.0',
          ce_id: record.id,
          ce_source: 'here',
          ce_type: 'dev.switchyard.inference',
          ce_time: new Date(record.time).toISOString(),
          ce_subject: 'iris',
          'content-type': 'application/json',
          ...(record.traceparent === '' ? {} : { traceparent: record.traceparent }),
        });
      });
    }),
  );
});

test('an entity is its own key, and no other tenant`s', () => {
  const of = (tenant: string, entity: string): string => messageKey({ tenant, entity, id: 'id' });
  assert.equal(of('default', 'user-7'), 'user-7');
  assert.equal(of('', 'user-7'), 'user-7', 'the tenant is redacted');
  assert.equal(of('acme', 'user-7'), 'acme/user-7');
  assert.equal(of('acme', ''), 'id');
  const names = fc.oneof(fc.constantFrom('default', 'a', 'a/b', 'default/a', '/'), fc.string({ minLength: 1 }));
  fc.assert(
    fc.property(names, names, names, names, (tenant, entity, other, others) => {
      if (tenant !== other || entity !== others) assert.notEqual(of(tenant, entity), of(other, others));
    }),
  );
});

test('what cannot be read is refused alone, wherever it stands', () => {
  const good = encoded(['a', 'b', 'c'].map((id) => ({ id, time: 1, traceparent: '', values: [1] })));
  const torn = new SpoolRecord(INFERENCE, good[0].u8, 0, good[0].end - 9);
  for (let at = 0; at <= good.length; at++) {
    const { list, refused } = json.of(group(good.toSpliced(at, 0, torn)), 0);
    assert.equal(refused, 1);
    assert.deepEqual(
      list.map(({ message }) => JSON.parse(String(message.value)).id),
      ['a', 'b', 'c'],
    );
  }
});

test('a message keeps its bytes while others are made', () => {
  const [first, second] = ['first', 'second'].map((id) => encoded([{ id, time: 1, traceparent: '', values: [1] }]));
  const [{ message }] = json.of(group(first), 0).list;
  json.of(group(second), 0);
  assert.equal(JSON.parse(String(message.value)).id, 'first');
});

test('Avro is framed with the id of its schema; a capture line has no form for feedback', () => {
  const [record] = encoded([{ id: 'a', time: 1, traceparent: '', values: [1] }]);
  const [{ message }] = new RecordMessages('avro', 'here').of(group([record]), 0x01020304).list;
  assert.deepEqual(message.value, Buffer.concat([Buffer.of(0, 1, 2, 3, 4), record.body]));
  assert.equal(message.headers?.['content-type'], 'application/avro');

  const captures = new RecordMessages('sagemaker', 'here');
  const [capture] = captures.of(group([record]), 0).list;
  assert.equal(String(capture.message.value), sagemakerLine(decodeRecord(record.u8, record.start, record.end)));
  const out = new AvroWriter();
  writeFeedback({ id: 'a', time: 1, route: 'r', model: 'iris', rewards: {}, event: 'e', tenant: '' }, out);
  const feedback = new SpoolRecord(FEEDBACK, out.u8.slice(0, out.at), 0, out.at);
  assert.deepEqual(captures.of(group([feedback], 'feedback'), 0), { list: [], refused: 1 });
  const [told] = json.of(group([feedback], 'feedback'), 0).list;
  assert.equal(told.message.headers?.ce_id, 'a/e');
});
