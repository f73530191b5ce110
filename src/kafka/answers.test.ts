import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expectAll } from './answers.ts';

test('a send is over when each partition it went to has answered', () => {
  const message = (partition?: number) => ({ value: 'v', partition });
  const answer = (topicName: string, partition: number) => ({ topicName, partition, errorCode: 0 });
  const sent = [
    { topic: 'a', messages: [message(0), message(1), message(0)] },
    { topic: 'b', messages: [message(2)] },
  ];
  expectAll(sent, [answer('b', 2), answer('a', 1), answer('a', 0)]);
  expectAll([], []);
  expectAll([{ topic: 'a', messages: [] }], []);
  assert.throws(() => expectAll(sent, [answer('b', 2), answer('a', 1)]), /partition 0 of topic a has moved/);
  assert.throws(() => expectAll(sent, [answer('a', 0), answer('a', 1), answer('a', 2)]), /partition 2 of topic b/);
  assert.throws(() => expectAll([{ topic: 'a', messages: [message()] }], []), /partition undefined/);
});
