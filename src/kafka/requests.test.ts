import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { requests } from './requests.ts';

const MAX = 100_000;
const topics = fc.uniqueArray(
  fc.record({
    topic: fc.string({ minLength: 1, maxLength: 5 }),
    sizes: fc.array(fc.oneof(fc.nat(2000), fc.nat(60_000), fc.constant(MAX + 1)), { maxLength: 60 }),
  }),
  { selector: ({ topic }) => topic, maxLength: 60 },
);

test('all messages go, each topic in its order, and what a request has for a topic is small enough for one partition', () => {
  fc.assert(
    fc.property(topics, (drawn) => {
      const all = drawn.map(({ topic, sizes }) => ({
        topic,
        messages: sizes.map((size) => ({ message: { value: Buffer.alloc(size) } })),
      }));
      const sent = new Map<string, unknown[]>();
      for (const request of requests(all, MAX)) {
        let whole = 0;
        const here = new Set<string>();
        for (const { topic, messages } of request) {
          assert.ok(!here.has(topic), 'a topic is in a request once');
          here.add(topic);
          const bytes = messages.reduce((sum, { message }) => sum + message.value.length, 0);
          assert.ok(messages.length === 1 || bytes <= MAX, `${bytes} bytes for a topic`);
          whole += bytes;
          sent.set(topic, [...(sent.get(topic) ?? []), ...messages]);
        }
        assert.ok(
          request.some(({ messages }) => messages.length > 0),
          'no request is empty',
        );
        assert.ok(whole <= 4 * 1024 * 1024 + MAX, `${whole} bytes in a request`);
      }
      for (const { topic, messages } of all) assert.deepEqual(sent.get(topic) ?? [], messages);
    }),
  );
});
