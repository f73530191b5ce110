import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { monotonicMs } from '../shared/clock.ts';
import type { SwitchyardError } from '../shared/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { floats, fp32, Loopback } from '../testing/loopback.ts';
import { testModelConfig } from '../testing/model-config.ts';
import type { RequestContext, ServingTable } from './types.ts';

const opened: Loopback[] = [];
after(() => {
  for (const each of opened) each.close();
});

const double = (inputs: Tensor[]): Tensor[] => [
  fp32(
    'y',
    inputs[0].shape,
    floats(inputs[0]).map((value) => value * 2),
  ),
];
const input = fp32('x', [1, 4], [1, 2, 3, 4]);

/** Models that are loaded when the test says so. */
class Dormant {
  readonly loop: Loopback;
  readonly demanded: string[] = [];
  readonly used: string[] = [];
  private readonly ends: (() => void)[] = [];
  private awake: ServingTable | undefined;

  constructor(options: ConstructorParameters<typeof Loopback>[0] = {}) {
    this.loop = new Loopback({
      ...options,
      onUsed: (model) => this.used.push(model),
      demand: (model) => {
        this.demanded.push(model);
        return new Promise((resolve) => this.ends.push(resolve));
      },
    });
    opened.push(this.loop);
  }

  /** Takes these models out of memory; by default all. */
  sleep(...names: string[]): void {
    this.awake = this.loop.plane.currentTable();
    const models = new Map(this.awake.models);
    for (const [name, model] of models) {
      if (names.length > 0 && !names.includes(name)) continue;
      models.set(name, { ...model, versions: [], onDemand: true });
    }
    this.loop.plane.setTable({ generation: 1000, models });
  }

  /** What was demanded is loaded. */
  wake(): void {
    this.loop.plane.setTable(this.awake as ServingTable);
    this.turn();
  }

  /** Every load so far ends, whatever is in memory. */
  turn(): void {
    for (const end of this.ends.splice(0)) end();
  }
}

const code = (expected: string) => (error: SwitchyardError) => {
  assert.equal(error.code, expected, error.message);
  return true;
};

test('a request waits for its model, and is answered when it is there', async () => {
  const dormant = new Dormant();
  await dormant.loop.load(testModelConfig(), double);
  dormant.sleep();
  const answer = dormant.loop.infer({ inputs: [input] });
  assert.equal(dormant.loop.plane.inFlight, 1);
  let idle = false;
  const whenIdle = dormant.loop.plane.idle().then(() => {
    idle = true;
  });
  dormant.wake();
  assert.deepEqual(floats((await answer).outputs[0]), [2, 4, 6, 8]);
  await whenIdle;
  assert.equal(idle, true);
  assert.equal(dormant.loop.plane.inFlight, 0);
});

test('a deadline holds while the model is loaded, and the failure counts for the version that was', async () => {
  const dormant = new Dormant();
  await dormant.loop.load(testModelConfig(), double);
  dormant.sleep();
  await assert.rejects(
    dormant.loop.infer({ inputs: [input] }, { deadline: monotonicMs() + 5 }),
    code('deadline_exceeded'),
  );
  assert.equal(dormant.loop.plane.inFlight, 0);
  assert.equal(dormant.loop.counts.failure, 0, 'its version is not known yet');
  dormant.wake();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(dormant.loop.counts.failure, 1);
});

test('the default time limit holds there, too', async () => {
  const dormant = new Dormant({ defaultTimeoutMs: 5 });
  await dormant.loop.load(testModelConfig(), double);
  dormant.sleep();
  await assert.rejects(dormant.loop.infer({ inputs: [input] }), code('deadline_exceeded'));
});

test('no more wait for a model than an executor would take, and others are not hindered', async () => {
  const dormant = new Dormant({ maxOutstanding: 3 });
  await dormant.loop.load(testModelConfig(), double);
  await dormant.loop.load(testModelConfig({ name: 'other' }), double);
  dormant.sleep('test');
  const waiting = [1, 2, 3].map(() => dormant.loop.infer({ inputs: [input] }));
  await assert.rejects(dormant.loop.infer({ inputs: [input] }), (error: SwitchyardError) => {
    assert.ok((error.retryAfterMs ?? 0) > 0, 'says when to retry');
    return code('overloaded')(error);
  });
  await dormant.loop.infer({ model: 'other', inputs: [input] });
  dormant.wake();
  assert.equal((await Promise.all(waiting)).length, 3);
});

test('who goes away while it waits is not run', async () => {
  const dormant = new Dormant();
  let runs = 0;
  await dormant.loop.load(testModelConfig(), (inputs) => {
    runs++;
    return double(inputs);
  });
  dormant.sleep();
  const context: RequestContext = {
    protocol: 'http',
    tenant: 'default',
    receivedAt: monotonicMs(),
    deadline: Number.POSITIVE_INFINITY,
    priority: 0,
    maxPriority: 0,
    traceparent: '',
    tracestate: '',
    path: '',
    headers: undefined,
    served: undefined,
  };
  const request = { model: 'test', version: '', id: '', inputs: [input], outputs: [], parameters: undefined };
  const never = (): void => assert.fail('nobody is there to be told');
  dormant.loop.plane.infer(request, context, { onResponse: never, onError: never }).cancel();
  assert.equal(dormant.loop.plane.inFlight, 0);
  dormant.wake();
  await dormant.loop.infer({ inputs: [input] });
  assert.equal(runs, 1);
});

/** `outer` runs `inner`, an ensemble that runs `test`. */
async function nested(): Promise<Dormant> {
  const dormant = new Dormant();
  await dormant.loop.load(testModelConfig(), double);
  const step = (modelName: string) => [{ modelName, modelVersion: '', inputMap: { x: 'x' }, outputMap: { y: 'y' } }];
  const none = async (): Promise<Tensor[]> => [];
  await dormant.loop.load(testModelConfig({ name: 'inner', ensemble: step('test') }), none);
  await dormant.loop.load(testModelConfig({ name: 'outer', ensemble: step('inner') }), none);
  return dormant;
}

test('what an ensemble composes is loaded for it, to any depth', async () => {
  const dormant = await nested();
  dormant.sleep('test');
  const answer = dormant.loop.infer({ model: 'outer', inputs: [input] });
  assert.deepEqual(dormant.demanded, ['test']);
  dormant.wake();
  assert.deepEqual(floats((await answer).outputs[0]), [2, 4, 6, 8]);
});

test('a step that is evicted again before its request comes round is loaded again, but not for ever', async () => {
  const dormant = await nested();
  dormant.sleep('test');
  const answer = dormant.loop.infer({ model: 'outer', inputs: [input] });
  answer.catch(() => {});
  for (let i = 0; i < 3; i++) {
    dormant.turn();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await assert.rejects(answer, code('unavailable'));
  assert.equal(dormant.demanded.length, 3);
  assert.equal(dormant.loop.counts.failure, 1);
});

test('asking for an ensemble is use of all it composes', async () => {
  const dormant = await nested();
  await dormant.loop.infer({ model: 'outer', inputs: [input] });
  assert.deepEqual(dormant.used.toSorted(), ['inner', 'outer', 'test']);
});
