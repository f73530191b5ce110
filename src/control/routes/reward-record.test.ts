import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readAvroRecord, readRecord } from './reward-record.ts';

const read = (text: string) => readRecord(Buffer.from(text), 't/0/7');

test('a record is an event, a list of events, or {"events": [...]}, as over HTTP', () => {
  const event = { id: 'a', reward: 1, event: 'e' };
  for (const body of [event, [event], { events: [event] }]) assert.deepEqual(read(JSON.stringify(body)), [event]);
});

test('fields of others, beside the events and in one, change nothing of what is told', () => {
  const event = { id: 'a', reward: 1, event: 'e', source: 'crm' };
  assert.deepEqual(read(JSON.stringify({ events: [event], version: 3 })), [event]);
});

test('an event without an id of its own gets the place of its record, the same each time it is read', () => {
  const text = JSON.stringify([{ id: 'a', reward: 1 }, { id: 'b', reward: 0 }, 5]);
  const expected = [{ id: 'a', reward: 1, event: 't/0/7/0' }, { id: 'b', reward: 0, event: 't/0/7/1' }, 5];
  assert.deepEqual(read(text), expected);
  assert.deepEqual(read(text), expected);
});

test('a record that holds no events says why', () => {
  assert.equal(read(''), 'empty');
  assert.equal(read('{"id": '), 'notJson');
  assert.equal(readRecord(Buffer.from([0xff, 0x00]), ''), 'notJson');
  for (const text of ['5', 'null', '"a"', '{"events": 1}']) assert.equal(read(text), 'malformed', text);
  assert.equal(read(JSON.stringify(Array.from({ length: 10_001 }, () => 0))), 'tooManyEvents');
});

test('of Avro a null field is one that is not told, and longs, times and bytes are what JSON has for them', () => {
  const record = {
    ...{ id: 'a', event: null, model: 'm', reward: null, rewards: { clicks: 2, sales: null } },
    label: { at: new Date(0), wide: 2n ** 60n, raw: Buffer.from('Köln'), none: null },
  };
  const label = { at: '1970-01-01T00:00:00.000Z', wide: String(2n ** 60n), raw: 'Köln', none: null };
  const event = { id: 'a', model: 'm', rewards: { clicks: 2 }, label, event: 't/0/7/0' };
  assert.deepEqual(readAvroRecord(record, 't/0/7'), [event]);
  assert.deepEqual(readAvroRecord([record], 't/0/7'), [event]);
  assert.equal(readAvroRecord(7, ''), 'malformed');
});

test('no bytes make it throw', () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => void readRecord(Buffer.from(bytes), 'p')));
  fc.assert(fc.property(fc.json(), (text) => void read(text)));
});
