import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { SwitchyardError } from '../shared/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { fp32, Loopback } from '../testing/loopback.ts';
import { testModelConfig } from '../testing/model-config.ts';

const opened: Loopback[] = [];
after(() => {
  for (const each of opened) each.close();
});

/** An ensemble of one step, whose runs end when told. */
async function ensemble(maxInflight: number) {
  const loop = new Loopback({ blocking: false });
  opened.push(loop);
  const ends: ((error?: Error) => void)[] = [];
  await loop.load(
    testModelConfig(),
    (inputs) =>
      new Promise<Tensor[]>((resolve, reject) => {
        ends.push((error) => (error === undefined ? resolve([{ ...inputs[0], name: 'y' }]) : reject(error)));
      }),
  );
  const step = { modelName: 'test', modelVersion: '', inputMap: { x: 'x' }, outputMap: { y: 'y' } };
  await loop.load(testModelConfig({ name: 'all', ensemble: [step], maxInflight }), async () => []);
  const ask = () => loop.infer({ model: 'all', inputs: [fp32('x', [1, 4], [1, 2, 3, 4])] });
  const running = async (count: number): Promise<void> => {
    while (ends.length < count) await new Promise((resolve) => setImmediate(resolve));
  };
  return { ask, ends, running };
}

test('an ensemble refuses requests beyond its bound, and takes the next one when a place is free', async () => {
  const { ask, ends, running } = await ensemble(1);
  const first = ask();
  await assert.rejects(ask(), (error: SwitchyardError) => {
    assert.equal(error.code, 'overloaded');
    assert.match(error.message, /Ensemble 'all' has 1 requests in flight/);
    assert.ok((error.retryAfterMs ?? 0) > 0, 'says when to retry');
    return true;
  });
  await running(1);
  ends[0]();
  await first;
  const next = ask();
  await running(2);
  ends[1]();
  await next;
});

test('without a bound any number is under way', async () => {
  const { ask, ends, running } = await ensemble(0);
  const all = Promise.all(Array.from({ length: 50 }, ask));
  let done = false;
  void all.finally(() => {
    done = true;
  });
  await running(1);
  while (!done) {
    for (const end of ends) end();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal((await all).length, 50);
});

test('a failed request gives its place back', async () => {
  const { ask, ends, running } = await ensemble(1);
  const first = ask();
  await running(1);
  ends[0](new Error('no'));
  await assert.rejects(first, /in ensemble 'all', step 'test': /);
  const second = ask();
  await running(2);
  ends[1]();
  await second;
});
