import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KafkaMessage } from 'kafkajs';
import { mergeResults } from '../../eventlog/feedback.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { framed } from '../../testing/schema-registry.ts';
import { type TopicEvent, takeBatch } from './feedback-batch.ts';

const noAvro = { avro: async () => assert.fail('none of it is Avro') };
const message = (value: string | Buffer | null, offset: number): KafkaMessage => ({
  key: null,
  value: value === null ? null : Buffer.from(value),
  timestamp: '0',
  attributes: 0,
  offset: String(offset),
  headers: {},
});

test('records are told apart: taken, harmless, wrong in part and wrong altogether', async () => {
  const messages = [
    '{"id": "a"}',
    '{"id": 5}',
    '',
    '[{"id": "b"}, {"id": 6}, {"id": "c"}]',
    '{',
    '7',
    '{"id": "nobody"}',
    null,
  ].map(message);
  const seen: unknown[] = [];
  const take = async (events: readonly unknown[]): Promise<TopicEvent[]> => {
    seen.push(...events);
    return events.map((event) => {
      const { id } = event as { id: unknown };
      if (typeof id !== 'string') return { id: '', result: 'malformed', message: 'an event is …' };
      return { id, result: id === 'nobody' ? 'unknown' : 'accepted' };
    });
  };
  const { results, letters } = await takeBatch('t', 2, messages, noAvro, take);
  assert.equal(seen.length, 6);
  assert.deepEqual(
    letters.map(({ message, reason }) => [Number(message.offset), reason]),
    [
      [2, 'the record is empty'],
      [4, 'the record is not JSON'],
      [5, 'the record is neither an event nor a list of events'],
      [1, 'an event is …'],
      [3, 'event 1: an event is …'],
    ],
  );
  const count = (result: string) => results.filter((each) => each === result).length;
  assert.deepEqual(
    ['accepted', 'malformed', 'empty', 'notJson', 'unknown', 'tombstone'].map(count),
    [3, 3, 1, 1, 1, 1],
    results.join(),
  );
});

test('a batch that cannot be kept is not taken: nothing is set aside', async () => {
  const away = async () => Promise.reject(new Error('away'));
  await assert.rejects(takeBatch('t', 0, [message('{"id": 5}', 0)], noAvro, away), /away/);
});

test('records that are Avro are taken, set aside where they cannot be read, and come again while the registry is away', async () => {
  const messages = [framed(1, Buffer.of(1)), framed(2, Buffer.of(2)), '{"id": "json"}'].map(message);
  const seen: unknown[] = [];
  const take = async (events: readonly unknown[]): Promise<TopicEvent[]> => {
    seen.push(...events);
    return events.map(() => ({ id: 'a', result: 'accepted' }));
  };
  const avro = async (value: Buffer): Promise<unknown> => {
    if (value[4] === 1) return { id: 'avro', reward: 0.5, label: null };
    throw invalidArgument('the schema registry has no schema 2');
  };
  const { results, letters } = await takeBatch('t', 0, messages, { avro }, take);
  assert.deepEqual(seen, [
    { id: 'avro', reward: 0.5, event: 't/0/0/0' },
    { id: 'json', event: 't/0/2/0' },
  ]);
  assert.deepEqual(results, ['notAvro', 'accepted', 'accepted']);
  assert.deepEqual(
    letters.map(({ message: { offset }, reason }) => [offset, reason]),
    [['1', 'the schema registry has no schema 2']],
  );
  const away = { avro: async () => Promise.reject(new SwitchyardError('unavailable', 'away')) };
  await assert.rejects(takeBatch('t', 0, messages, away, take), { code: 'unavailable' });
  assert.equal(seen.length, 2);
});

test('what the log keeps is recorded, and what it should have kept and did not is to come again', () => {
  const record = { id: 'a', time: 0, route: '', model: '', rewards: {}, tenant: '' };
  const learnt = ['accepted', 'unknown', 'malformed', 'accepted'].map((result) => ({ id: 'a', result }));
  const records = [{ ...record, rewards: { reward: 1 } }, record, undefined, { ...record, label: '1' }];
  const results = (kept: boolean) => mergeResults(learnt, records, kept).map(({ result }) => result);
  assert.deepEqual(results(true), ['accepted', 'recorded', 'malformed', 'accepted']);
  assert.deepEqual(results(false), ['accepted', 'notKept', 'malformed', 'notKept']);
});
