import assert from 'node:assert/strict';
import { test } from 'node:test';
import avro from 'avsc';
import fc from 'fast-check';
import { RewardTable, readLoggedReward } from '../experiments/ope/rewards.ts';
import { AvroWriter } from './encode/avro-writer.ts';
import { writeFeedback } from './encode/feedback-encoder.ts';
import { recordJson } from './encode/json.ts';
import { feedbackOfMessage } from './encode/message-reader.ts';
import { decodeFeedback } from './encode/record-decoder.ts';
import { FEEDBACK_SCHEMA } from './encode/schema.ts';
import { feedbackRecords } from './feedback.ts';
import type { FeedbackRecord } from './record.ts';
import { blocks, eventId, groupRecords, headOf } from './sinks/kafka-blocks.ts';
import { FEEDBACK, SpoolRecord } from './spool/format.ts';

/** Of earlier versions: without the tenant, and before that without the event's id. */
const OLD_SCHEMAS = [['tenant'], ['event', 'tenant']].map((missing) => ({
  ...FEEDBACK_SCHEMA,
  fields: FEEDBACK_SCHEMA.fields.filter(({ name }) => !missing.includes(name)),
}));

function encoded(record: FeedbackRecord): Uint8Array {
  const out = new AvroWriter();
  writeFeedback(record, out);
  return out.u8.slice(0, out.at);
}

const spooled = (body: Uint8Array): SpoolRecord => new SpoolRecord(FEEDBACK, body, 0, body.length);

const drawn = fc.record({
  id: fc.string({ maxLength: 20 }),
  time: fc.nat(),
  route: fc.string({ maxLength: 5 }),
  model: fc.constant('m'),
  rewards: fc.dictionary(
    fc.stringMatching(/^[a-z]{1,5}$/),
    fc.double({ noNaN: true }).map((value) => value + 0),
    { maxKeys: 3 },
  ),
  label: fc.option(fc.string({ maxLength: 10 }), { nil: undefined }),
  event: fc.option(fc.string({ maxLength: 10 }), { nil: undefined }),
  tenant: fc.constantFrom('', 'acme'),
});

/** As JSON has it: without the fields that are undefined, and rewards as a plain object. */
const plain = (record: object): unknown => JSON.parse(JSON.stringify(record));

test('events about one request have ids of their own: the client’s, or drawn', () => {
  const [reward, label, other] = feedbackRecords(
    [
      { id: 'a', reward: 1, event: 'click-1' },
      { id: 'a', label: 'x' },
      { id: 'a', label: 'x' },
    ],
    5,
    '',
  ) as FeedbackRecord[];
  assert.equal(reward.event, 'click-1');
  const ids = [reward, label, other].map((record) => eventId(headOf(spooled(encoded(record)))!));
  assert.equal(ids[0], 'a/click-1');
  assert.equal(new Set(ids).size, 3, `one for each: ${ids}`);
  assert.equal(feedbackRecords([{ id: 'a', reward: 1, event: 7 }], 5, '')[0], undefined, 'an id is a text');
});

test('fields that an event has beside those of events are left out', () => {
  const event = { id: 'a', reward: 1, rewards: { clicks: 2 }, label: { class: 'b' }, model: 'm', event: 'e' };
  const [record] = feedbackRecords(
    [{ ...event, time: 1, source: 'crm', features: [], nested: { reward: 9 } }],
    5,
    'acme',
  );
  assert.deepEqual(plain(record!), plain(feedbackRecords([event], 5, 'acme')[0]!));
});

test('a reward that comes again in the log counts once', () => {
  const events = ['e1', 'e2', 'e1'].map((event) => ({ id: 'a', reward: 1, event }));
  const table = new RewardTable({ aggregate: 'sum', range: [0, 10] });
  for (const record of feedbackRecords(events, 5, ''))
    table.add(readLoggedReward(JSON.parse(recordJson(record!)), 'reward')!);
  assert.equal(table.of('a'), 2);
  assert.equal(table.duplicates, 1);
});

test('what is written is read, by its schema too, and by readers of the schema before it', () => {
  const type = avro.Type.forSchema(FEEDBACK_SCHEMA as avro.Schema);
  const readers = OLD_SCHEMAS.map((schema) => avro.Type.forSchema(schema as avro.Schema));
  fc.assert(
    fc.property(drawn, (record) => {
      const bytes = encoded(record);
      assert.deepEqual(plain(decodeFeedback(bytes)), plain(record));
      const read = type.fromBuffer(Buffer.from(bytes));
      assert.deepEqual([read.event ?? undefined, read.tenant], [record.event, record.tenant]);
      for (const old of readers)
        assert.equal(old.fromBuffer(Buffer.from(bytes), old.createResolver(type)).label ?? undefined, record.label);
    }),
  );
});

test('feedback that an earlier version has spooled is read, and goes out as the schema is now', () => {
  const writers = OLD_SCHEMAS.map((schema) => avro.Type.forSchema(schema as avro.Schema));
  fc.assert(
    fc.property(fc.array(drawn, { minLength: 1, maxLength: 5 }), fc.nat(1), (records, age) => {
      const wanted = records.map(({ event, ...record }) => {
        return { ...record, ...(event === undefined || age === 1 ? {} : { event }), tenant: '' };
      });
      const bodies = records.map(({ label = null, event = null, ...record }) =>
        writers[age].toBuffer({ ...record, label, event, entity: '', requestId: '', traceparent: '' }),
      );
      assert.deepEqual(
        bodies.map((body) => plain(decodeFeedback(body))),
        wanted.map(plain),
      );
      const { groups, refused } = groupRecords(bodies.map(spooled));
      assert.equal(refused, 0);
      assert.equal(groups.length, 1);
      const [{ message }] = blocks(groups[0], 1_000_000, 'test');
      assert.deepEqual(feedbackOfMessage(message as never).map(plain), wanted.map(plain));
    }),
  );
});

test('a reward of another tenant than made the request says nothing of its decision in the log', () => {
  const askers = new Map([
    ['a', 'acme'],
    ['b', ''],
  ]);
  const table = new RewardTable({ aggregate: 'first', range: [0, 1] }, askers);
  const told = (id: string, reward: number, tenant: string): void => {
    const [record] = feedbackRecords([{ id, reward }], 5, tenant);
    table.add(readLoggedReward(JSON.parse(recordJson(record!)), 'reward')!);
  };
  told('a', 1, 'other');
  told('a', 0, 'acme');
  told('b', 1, 'other');
  assert.deepEqual([table.of('a'), table.of('b'), table.foreign], [0, 1, 1]);
});
