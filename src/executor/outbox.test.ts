import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outbox } from './outbox.ts';

const TIMES = { queue: 0, computeInput: 0, computeInfer: 0, computeOutput: 0, cpu: 0.5, gpu: 0.25, batchSize: 1 };

function outbox() {
  const sent: number[] = [];
  const box = new Outbox((gateway) => sent.push(gateway));
  const answer = (gateway: number, now: number) => {
    box.ok(gateway, 1, TIMES, [], [], false, true);
    box.answered(now);
  };
  return { sent, box, answer };
}

test('replies leave before a batch that would keep them waiting', () => {
  const { sent, box, answer } = outbox();
  answer(0, 100);
  answer(2, 100);
  box.flushBefore(107);
  assert.deepEqual(sent, [0, 2]);
});

test('replies of small batches share a message until the first of them is late', () => {
  const { sent, box, answer } = outbox();
  answer(0, 100);
  box.flushBefore(100.1);
  answer(0, 100.1);
  box.flushBefore(100.2);
  assert.deepEqual(sent, []);
  box.flushBefore(100.4);
  assert.deepEqual(sent, [0]);
});

test('an empty outbox sends nothing, and a sent reply is not waited for again', () => {
  const { sent, box, answer } = outbox();
  box.flushBefore(1000);
  answer(0, 1000);
  box.flush();
  box.flushBefore(2000);
  assert.deepEqual(sent, [0]);
});
