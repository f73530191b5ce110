import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decideShed, fillLimit, LOWEST_PRIORITY_FILL, type ShedInput } from './shedding.ts';

const input: fc.Arbitrary<ShedInput> = fc.record({
  outstanding: fc.nat(2000),
  maxOutstanding: fc.nat(1500),
  predictedWaitMs: fc.double({ min: 0, max: 1e7, noNaN: true }),
  deadlineLeftMs: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.double({ min: -100, max: 1e6, noNaN: true })),
  priority: fc.nat(12),
  priorityLevels: fc.nat(10),
});

test('a refusal always says when to come back, within bounds', () => {
  fc.assert(
    fc.property(input, (state) => {
      const shed = decideShed(state);
      if (shed !== null) assert.ok(shed.retryAfterMs >= 50 && shed.retryAfterMs <= 30_000);
    }),
  );
});

test('never more outstanding than places, whatever the priority', () => {
  fc.assert(
    fc.property(input, (state) => {
      const full = state.maxOutstanding > 0 && state.outstanding >= state.maxOutstanding;
      if (full) assert.notEqual(decideShed(state), null);
    }),
  );
});

test('what is shed stays shed with more outstanding, a longer wait or less time', () => {
  fc.assert(
    fc.property(input, fc.nat(500), fc.nat(500), fc.nat(500), (state, more, longer, less) => {
      if (decideShed(state) === null) return;
      const worse = {
        ...state,
        outstanding: state.outstanding + more,
        predictedWaitMs: state.predictedWaitMs + longer,
        deadlineLeftMs: state.deadlineLeftMs - less,
      };
      assert.notEqual(decideShed(worse), null);
    }),
  );
});

test('a higher priority is never shed while a lower one is accepted', () => {
  fc.assert(
    fc.property(input, fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 10 }), (state, a, b) => {
      const [higher, lower] = a < b ? [a, b] : [b, a];
      const levels = 10;
      const low = decideShed({ ...state, priority: lower, priorityLevels: levels });
      if (low === null) assert.equal(decideShed({ ...state, priority: higher, priorityLevels: levels }), null);
    }),
  );
});

test('an idle gateway accepts everything that can be answered in time', () => {
  fc.assert(
    fc.property(input, (state) => {
      const idle = { ...state, outstanding: 0, predictedWaitMs: 0, deadlineLeftMs: Math.max(1, state.deadlineLeftMs) };
      assert.equal(decideShed(idle), null);
    }),
  );
});

test('levels fill evenly; the default level counts as the lowest', () => {
  assert.equal(fillLimit(1, 3), 1);
  assert.equal(fillLimit(3, 3), LOWEST_PRIORITY_FILL);
  assert.equal(fillLimit(0, 3), LOWEST_PRIORITY_FILL);
  assert.ok(Math.abs(fillLimit(2, 3) - (1 + LOWEST_PRIORITY_FILL) / 2) < 1e-12);
  assert.equal(fillLimit(5, 0), 1);
});

test('reasons: full house, a share used up, a deadline that cannot be met', () => {
  const base = { maxOutstanding: 100, predictedWaitMs: 10, deadlineLeftMs: 1000, priorityLevels: 2 };
  assert.equal(decideShed({ ...base, outstanding: 100, priority: 1 })?.reason, 'full');
  assert.equal(decideShed({ ...base, outstanding: 60, priority: 2 })?.reason, 'priority');
  assert.equal(decideShed({ ...base, outstanding: 59, priority: 2 }), null);
  assert.equal(decideShed({ ...base, outstanding: 60, priority: 1 }), null);
  assert.equal(decideShed({ ...base, outstanding: 1, priority: 1, deadlineLeftMs: 9 })?.reason, 'deadline');
  assert.equal(
    decideShed({ ...base, outstanding: 1, priority: 1, deadlineLeftMs: 0, predictedWaitMs: 0 })?.reason,
    'deadline',
  );
});
