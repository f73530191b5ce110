import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseFeedback } from './feedback-events.ts';

test('NaN and Infinity spoil no batch: outside of texts they are no number, or too large a one', () => {
  assert.deepEqual(parseFeedback('{"events": [{"id": "a", "reward": NaN}, {"id": "NaN \\" Infinity", "reward": 1}]}'), {
    events: [
      { id: 'a', reward: null },
      { id: 'NaN " Infinity', reward: 1 },
    ],
  });
  assert.deepEqual(parseFeedback('[Infinity,-Infinity , NaN]'), [
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    null,
  ]);
  for (const text of ['', '{', 'nan', '[NaN', '[-NaN]', '"NaN', '[xNaN]'])
    assert.throws(() => parseFeedback(text), SyntaxError, text);
});

test('JSON is read as it is, and nothing but a SyntaxError comes of other texts', () => {
  fc.assert(fc.property(fc.json(), (text) => assert.deepEqual(parseFeedback(text), JSON.parse(text))));
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        parseFeedback(`[NaN, ${text}`);
      } catch (error) {
        assert.ok(error instanceof SyntaxError, String(error));
      }
    }),
  );
});
