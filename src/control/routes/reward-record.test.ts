import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readRecord } from './reward-record.ts';

const read = (text: string) => readRecord(Buffer.from(text), 't/0/7');

test('a record is an event, a list of events, or {"events": [...]}, as over HTTP', () => {
  const event = { id: 'a', reward: 1, event: 'e' };
  for (const body of [event, [event], { events: [event] }]) assert.deepEqual(read(JSON.stringify(body)), [event]);
});

test('an event without an id of its own gets the place of its record, the same each time it is read', () => {
  const text = JSON.stringify([{ id: 'a', reward: 1 }, { id: 'b', reward: 0 }, 5]);
  const expected = [{ id: 'a', reward: 1, event: 't/0/7/0' }, { id: 'b', reward: 0, event: 't/0/7/1' }, 5];
  assert.deepEqual(read(text), expected);
  assert.deepEqual(read(text), expected);
});

test('a record that holds no events says why', () => {
  assert.equal(readRecord(null, ''), 'empty');
  assert.equal(read(''), 'empty');
  assert.equal(read('{"id": '), 'notJson');
  assert.equal(readRecord(Buffer.from([0xff, 0x00]), ''), 'notJson');
  for (const text of ['5', 'null', '"a"', '{"events": 1}']) assert.equal(read(text), 'malformed', text);
  assert.equal(read(JSON.stringify(Array.from({ length: 10_001 }, () => 0))), 'tooManyEvents');
});

test('no bytes make it throw', () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => void readRecord(Buffer.from(bytes), 'p')));
  fc.assert(fc.property(fc.json(), (text) => void read(text)));
});
