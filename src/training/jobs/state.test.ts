import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { AttemptPhase, AttemptStatus } from '../runners/runner.ts';
import { advance, isOver, type JobEvent, type JobState, newState } from './state.ts';

const retry = { max: 2, backoffSeconds: 10, maxBackoffSeconds: 15 };
const by = { actor: 'ada', reason: 'enough' };

function attempt(phase: AttemptPhase, reason = ''): JobEvent {
  const status: AttemptStatus = { phase, exitCode: null, signal: null, reason, startedAt: 1, endedAt: 2 };
  return { type: 'ended', status };
}

function after(...events: JobEvent[]): JobState {
  return events.reduce((state, event) => advance(state, event, retry, 1000), newState());
}

const running: JobEvent[] = [{ type: 'taken' }, { type: 'prepared' }, { type: 'started' }];

test('the way of a job that succeeds', () => {
  const states = running.map((_, i) => after(...running.slice(0, i + 1)).status);
  assert.deepEqual(states, ['provisioning', 'starting', 'running']);
  const end = after(...running, attempt('succeeded'));
  assert.deepEqual([end.status, end.attempt, end.endedAt], ['succeeded', 1, 1000]);
});

test('failures are retried with growing waits, as often as the job says', () => {
  const failing = [...running, attempt('failed', 'exit code 1')];
  const once = after(...failing);
  assert.deepEqual([once.status, once.readyAt, once.reason], ['retrying', 11_000, 'exit code 1']);
  const twice = after(...failing, ...failing);
  assert.deepEqual([twice.status, twice.readyAt], ['retrying', 16_000]);
  const end = after(...failing, ...failing, ...failing);
  assert.deepEqual([end.status, end.attempt], ['failed', 3]);
  assert.match(end.nextStep, /read the end of the log/);
  const again = advance(end, { type: 'retry', by }, retry, 1000);
  assert.deepEqual([again.status, again.attempt, again.endedAt], ['queued', 3, null]);
  const fourth = failing.reduce((state, event) => advance(state, event, retry, 1000), again);
  assert.deepEqual([fourth.status, fourth.attempt], ['retrying', 4]);
});

test('what can never work is not retried; a lost attempt and a timeout are', () => {
  const broken = after({ type: 'taken' }, { type: 'failed', reason: 'no such package', nextStep: 'x', again: false });
  assert.deepEqual([broken.status, broken.reason], ['failed', 'no such package']);
  assert.equal(after(...running, attempt('lost')).status, 'retrying');
  const all = [...running, attempt('timedOut', 'it ran longer than 5 s')];
  assert.equal(after(...all, ...all, ...all).status, 'timedOut');
});

test('cancelling: at once what waits, after its process what runs', () => {
  assert.equal(after({ type: 'cancel', by }).status, 'cancelled');
  const asked = after(...running, { type: 'cancel', by });
  assert.deepEqual([asked.status, asked.cancel], ['running', by]);
  const end = advance(asked, attempt('cancelled'), retry, 1000);
  assert.deepEqual([end.status, end.reason], ['cancelled', 'cancelled by ada: enough']);
  assert.equal(advance(asked, attempt('succeeded'), retry, 1000).status, 'succeeded');
  assert.equal(advance(end, { type: 'cancel', by }, retry, 1000), end);
});

test('retrying what is not over, or well, is refused', () => {
  assert.throws(() => after({ type: 'retry', by }), /the job is queued/);
  assert.throws(() => after(...running, attempt('succeeded'), { type: 'retry', by }), /succeeded; submit a new one/);
});

test('whatever comes in whatever order: what is over stays over, attempts only grow and are bounded', () => {
  const phases: AttemptPhase[] = ['starting', 'running', 'succeeded', 'failed', 'cancelled', 'timedOut', 'lost'];
  const events: JobEvent[] = [
    ...running,
    ...phases.map((phase) => attempt(phase)),
    { type: 'failed', reason: 'x', nextStep: '', again: true },
    { type: 'cancel', by },
  ];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...events), { maxLength: 60 }), (sequence) => {
      let state = newState();
      for (const event of sequence) {
        const next = advance(state, event, retry, 1000);
        if (isOver(state.status)) assert.deepEqual(next, state);
        assert.ok(next.attempt >= state.attempt && next.attempt <= retry.max + 1);
        assert.equal(isOver(next.status), next.endedAt !== null);
        state = next;
      }
    }),
  );
});
