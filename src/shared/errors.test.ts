import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SwitchyardError, toSwitchyardError } from './errors.ts';

test('an error that clients bring about carries no stack, one of the server does', () => {
  const before = Error.stackTraceLimit;
  const refusal = new SwitchyardError('overloaded', 'retry later', { retryAfterMs: 1000 });
  assert.doesNotMatch(refusal.stack ?? '', /\n/);
  assert.equal(refusal.retryAfterMs, 1000);
  assert.match(new SwitchyardError('internal', 'torn').stack ?? '', /errors\.test\.ts/);
  assert.equal(Error.stackTraceLimit, before);
});

test('what was wrapped keeps its own stack', () => {
  const thrown = new Error('of a library');
  const wrapped = toSwitchyardError(thrown);
  assert.equal(wrapped.code, 'internal');
  assert.equal(wrapped.cause, thrown);
  assert.match((wrapped.cause as Error).stack ?? '', /errors\.test\.ts/);
});
