import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ResponseOrder, type Turn } from './response-order.ts';

test('whatever the order of ends, those that are answered are answered in the order in which they came', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ priority: fc.integer({ min: 1, max: 2 }), leaves: fc.boolean(), at: fc.nat(1000) }), {
        maxLength: 60,
      }),
      (requests) => {
        const order = new ResponseOrder();
        const turns: Turn[] = requests.map(({ priority }) => order.enter(1, priority));
        const delivered: number[] = [];
        const left = new Set<number>();
        const ends = requests.map(({ at }, i) => ({ at, i })).sort((a, b) => a.at - b.at || b.i - a.i);
        for (const { i } of ends) {
          if (requests[i].leaves) {
            left.add(i);
            turns[i].line.leave(turns[i]);
          } else turns[i].line.answer(turns[i], () => delivered.push(i));
        }
        for (const level of [1, 2]) {
          const ofLevel = (i: number): boolean => requests[i].priority === level;
          const expected = requests.map((_, i) => i).filter((i) => ofLevel(i) && !left.has(i));
          assert.deepEqual(delivered.filter(ofLevel), expected);
        }
        assert.equal(order.size, 0, 'nothing is left behind');
      },
    ),
  );
});

test('a request that comes while an answer is delivered stands behind those that wait', () => {
  const order = new ResponseOrder();
  const delivered: string[] = [];
  const [a, b] = [order.enter(1, 1), order.enter(1, 1)];
  b.line.answer(b, () => delivered.push('b'));
  a.line.answer(a, () => {
    const c = order.enter(1, 1);
    c.line.answer(c, () => delivered.push('c'));
    delivered.push('a');
  });
  assert.deepEqual(delivered, ['a', 'b', 'c']);
  assert.equal(order.size, 0);
});
