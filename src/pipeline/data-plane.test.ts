import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import type { ExecuteOptions } from '../backends/backend.ts';
import { COPY_LEVEL } from '../batching/types.ts';
import { createResponseCache } from '../cache/response-cache.ts';
import type { ModelConfig } from '../config/model-config.ts';
import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { floats, fp32, Loopback } from '../testing/loopback.ts';
import { testModelConfig } from '../testing/model-config.ts';
import { pipelineCache } from './cache-step.ts';
import { EnsembleDriver } from './ensemble-driver.ts';
import type { InferRequest, ParameterValue, RequestContext } from './types.ts';

const opened: Loopback[] = [];
function loopback(...args: ConstructorParameters<typeof Loopback>): Loopback {
  const made = new Loopback(...args);
  opened.push(made);
  return made;
}
after(() => {
  for (const each of opened) each.close();
});

const parametersOf = (given: Record<string, ParameterValue>): InferRequest['parameters'] =>
  Object.assign(Object.create(null), given);

const double = (inputs: Tensor[]): Tensor[] => [
  fp32(
    'y',
    inputs[0].shape,
    floats(inputs[0]).map((value) => value * 2),
  ),
];

test('requests that arrive together run as one batch and each gets its own rows', async () => {
  const loop = loopback();
  await loop.load(testModelConfig(), double);
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) => loop.infer({ id: `r${i}`, inputs: [fp32('x', [1, 4], [i, i + 0.5, -i, 1])] })),
  );
  answers.forEach((answer, i) => {
    assert.equal(answer.id, `r${i}`);
    assert.deepEqual(answer.outputs[0].shape, [1, 4]);
    assert.deepEqual(floats(answer.outputs[0]), [2 * i, 2 * i + 1, -2 * i, 2]);
  });
  assert.ok(loop.counts.batches.length < 20, `${loop.counts.batches.length} batches for 20 requests`);
  assert.equal(loop.counts.success, 20);
});

test('no answer crosses tenants, whatever the sizes, order and cancellations', async () => {
  const loop = loopback({ executors: 2 });
  await loop.load(testModelConfig(), double);
  let serial = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ rows: fc.integer({ min: 1, max: 9 }), tenant: fc.integer({ min: 0, max: 3 }) }), {
        minLength: 1,
        maxLength: 60,
      }),
      async (requests) => {
        await Promise.all(
          requests.map(async ({ rows, tenant }) => {
            const unique = ++serial;
            const values = Array.from({ length: rows * 4 }, (_, i) => unique + i / 64);
            const answer = await loop.infer(
              { id: String(unique), inputs: [fp32('x', [rows, 4], values)] },
              { tenant: `t${tenant}` },
            );
            assert.equal(answer.id, String(unique));
            assert.deepEqual(
              floats(answer.outputs[0]),
              values.map((value) => Math.fround(Math.fround(value) * 2)),
            );
          }),
        );
      },
    ),
    { numRuns: 100 },
  );
});

test('a poisoned item fails alone', async () => {
  const loop = loopback();
  await loop.load(testModelConfig(), (inputs) => {
    if (floats(inputs[0]).includes(13)) throw new Error('13 is not liked');
    return double(inputs);
  });
  const settled = await Promise.allSettled(
    Array.from({ length: 16 }, (_, i) => loop.infer({ inputs: [fp32('x', [1, 4], [i, 0, 0, 0])] })),
  );
  settled.forEach((result, i) => {
    assert.equal(result.status, i === 13 ? 'rejected' : 'fulfilled', `request ${i}`);
  });
});

/** Times the `factor` that the batch is given. */
const scaled = (inputs: Tensor[], { parameters }: ExecuteOptions): Tensor[] => [
  fp32(
    'y',
    inputs[0].shape,
    floats(inputs[0]).map((value) => value * Number(parameters?.factor ?? 1)),
  ),
];

test('requests share a batch only with those of the same parameters, and each batch is given them', async () => {
  const loop = loopback();
  const given: ExecuteOptions['parameters'][] = [];
  await loop.load(testModelConfig({ backend: 'javascript' }), (inputs, options) => {
    given.push(options.parameters);
    return scaled(inputs, options);
  });
  const answers = await Promise.all(
    Array.from({ length: 32 }, (_, i) =>
      loop.infer({
        inputs: [fp32('x', [1, 4], [i, 0, 0, 0])],
        // Those for the gateway differ from request to request, and split no batch.
        parameters: parametersOf({ ...(i % 3 > 0 ? { factor: i % 3 } : {}), timeout: 10_000_000 + i, priority: i % 2 }),
      }),
    ),
  );
  answers.forEach((answer, i) => {
    assert.equal(floats(answer.outputs[0])[0], i * (i % 3 || 1), `request ${i}`);
  });
  assert.ok(given.length < 32, `${given.length} batches for 32 requests`);
  for (const parameters of given) assert.ok(parameters === undefined || Object.keys(parameters).join() === 'factor');
});

test('a cached answer is given for its own parameters only, and whatever those for the gateway are', async () => {
  const loop = loopback({ cache: pipelineCache(createResponseCache({ maxBytes: 1_000_000, ttlMs: 60_000 })) });
  const runs = { javascript: 0, onnxruntime: 0 };
  for (const backend of ['javascript', 'onnxruntime'] as const)
    await loop.load(testModelConfig({ name: backend, backend, responseCache: true }), (inputs, options) => {
      runs[backend]++;
      return scaled(inputs, options);
    });
  const ask = async (model: string, parameters: Record<string, ParameterValue>): Promise<number> => {
    const answer = await loop.infer({
      model,
      inputs: [fp32('x', [1, 4], [5, 0, 0, 0])],
      parameters: parametersOf(parameters),
    });
    return floats(answer.outputs[0])[0];
  };
  assert.equal(await ask('javascript', { factor: 2 }), 10);
  assert.equal(await ask('javascript', { factor: 3 }), 15);
  assert.equal(runs.javascript, 2);
  assert.equal(await ask('javascript', { factor: 2, timeout: 1_000_000, priority: 3, binary_data_output: true }), 10);
  assert.equal(runs.javascript, 2);
  const various: Record<string, ParameterValue>[] = [{}, { factor: 2 }, { timeout: 1_000_000 }];
  for (const parameters of various) assert.equal(await ask('onnxruntime', parameters), 5);
  assert.equal(runs.onnxruntime, 1, 'ONNX Runtime reads no parameters');
});

test('bad requests are refused by name and value, and the next one is served', async () => {
  const loop = loopback();
  await loop.load(testModelConfig(), double);
  const good = fp32('x', [1, 4], [1, 2, 3, 4]);
  const cases: [Parameters<Loopback['infer']>[0], RegExp][] = [
    [{ model: 'nothing', inputs: [good] }, /unknown model: 'nothing'/],
    [{ version: '9', inputs: [good] }, /version 9 is not found/],
    [{ inputs: [fp32('z', [1, 4], [1, 2, 3, 4])] }, /unexpected inference input 'z'.*'x'/],
    [{ inputs: [] }, /input 'x' is missing/],
    [{ inputs: [good, good] }, /'x' is given twice/],
    [{ inputs: [fp32('x', [1, 3], [1, 2, 3])] }, /Expected \[-1,4\], got \[1,3\]/],
    [{ inputs: [fp32('x', [2, 4], [1, 2, 3, 4])] }, /16 bytes, but shape \[2,4\] of FP32 takes 32/],
    [{ inputs: [fp32('x', [0, 4], [])] }, /got \[0,4\]/],
    [{ inputs: [{ ...good, datatype: 'INT32' }] }, /'INT32', but model 'test' expects 'FP32'/],
    [{ inputs: [fp32('x', [33, 4], new Array(132).fill(0))] }, /<= 32 for 'test', got 33/],
    [{ inputs: [good], outputs: [{ name: 'q', binary: false, classification: 0 }] }, /unexpected inference output 'q'/],
  ];
  for (const [request, message] of cases) {
    await assert.rejects(loop.infer(request), (error: SwitchyardError) => {
      assert.ok(['invalid_argument', 'not_found'].includes(error.code), error.code);
      assert.match(error.message, message);
      return true;
    });
    assert.deepEqual(
      floats((await loop.infer({ inputs: [fp32('x', [1, 4], [1, 2, 3, 4])] })).outputs[0]),
      [2, 4, 6, 8],
    );
  }
});

test('a deadline that passes while the backend is busy answers at once, and later requests are served', async () => {
  const loop = loopback({ blocking: false });
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  await loop.load(testModelConfig(), async (inputs) => {
    if (floats(inputs[0])[0] === 1) await gate;
    return double(inputs);
  });
  const { monotonicMs } = await import('../shared/clock.ts');
  await assert.rejects(
    loop.infer({ inputs: [fp32('x', [1, 4], [1, 0, 0, 0])] }, { deadline: monotonicMs() + 30 }),
    (error: SwitchyardError) => error.code === 'deadline_exceeded',
  );
  release();
  assert.deepEqual(floats((await loop.infer({ inputs: [fp32('x', [1, 4], [2, 0, 0, 0])] })).outputs[0]), [4, 0, 0, 0]);
});

test('a full house is refused early with a time to retry, and nothing is counted twice', async () => {
  const loop = loopback({ blocking: false, maxOutstanding: 8 });
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  await loop.load(
    testModelConfig({ batching: { ...testModelConfig().batching, enabled: false, maxBatchSize: 1 } }),
    async (inputs) => {
      await gate;
      return double(inputs);
    },
  );
  const all = Array.from({ length: 30 }, () => loop.infer({ inputs: [fp32('x', [1, 4], [1, 2, 3, 4])] }));
  setTimeout(release, 20);
  const settled = await Promise.allSettled(all);
  const refused = settled
    .filter((result) => result.status === 'rejected')
    .map((result) => (result as PromiseRejectedResult).reason as SwitchyardError);
  assert.equal(refused.length, 22);
  for (const error of refused) {
    assert.equal(error.code, 'overloaded');
    assert.ok((error.retryAfterMs ?? 0) > 0);
  }
  assert.deepEqual([loop.counts.success, loop.counts.failure], [8, 22]);
  await loop.infer({ inputs: [fp32('x', [1, 4], [1, 2, 3, 4])] });
});

test('what the queue of a model surely has no place for is refused here, and its place is given back', async () => {
  const loop = loopback();
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { batching } = testModelConfig();
  const defaultQueuePolicy = { ...batching.defaultQueuePolicy, maxQueueSize: 4 };
  let ran = 0;
  await loop.load(
    testModelConfig({ batching: { ...batching, maxBatchSize: 2, defaultQueuePolicy } }),
    async (inputs) => {
      await gate;
      ran += inputs[0].shape[0];
      return double(inputs);
    },
  );
  const burst = () =>
    Promise.allSettled(Array.from({ length: 40 }, () => loop.infer({ inputs: [fp32('x', [1, 4], [1, 2, 3, 4])] })));
  const first = burst();
  setTimeout(release, 20);
  for (const settled of [await first, await burst()]) {
    const refused = settled
      .filter((result) => result.status === 'rejected')
      .map(({ reason }) => reason as SwitchyardError);
    assert.ok(refused.length >= 40 - 8 && refused.length < 40, `${refused.length} of 40 refused`);
    for (const error of refused) {
      assert.equal(error.code, 'overloaded');
      assert.match(error.message, /Exceeds maximum queue size of model 'test' \(4 on each executor\)/);
      assert.equal(error.retryAfterMs, 1000);
    }
  }
  assert.equal(ran, loop.counts.success);
});

test('copies for a shadow take no place of a client, and what they took is given back', async () => {
  const loop = loopback({ maxOutstanding: 4 });
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  await loop.load(testModelConfig(), async (inputs) => {
    await gate;
    return double(inputs);
  });
  const inputs = () => [fp32('x', [1, 4], [1, 2, 3, 4])];
  const copies = Array.from({ length: 6 }, () => loop.infer({ inputs: inputs() }, { priority: COPY_LEVEL }));
  const late = loop.infer({ inputs: inputs() }, { priority: COPY_LEVEL, deadline: monotonicMs() + 20 });
  const clients = Array.from({ length: 6 }, () => loop.infer({ inputs: inputs() }));
  const settled = Promise.allSettled([...copies, ...clients]);
  await assert.rejects(late, /overloaded|deadline/);
  release();
  const states = (await settled).map(({ status }) => status === 'fulfilled');
  assert.deepEqual([states.slice(0, 6).filter(Boolean).length, states.slice(6).filter(Boolean).length], [4, 4]);
  const again = await Promise.allSettled(Array.from({ length: 6 }, () => loop.infer({ inputs: inputs() })));
  assert.equal(again.filter(({ status }) => status === 'fulfilled').length, 4, 'as many places as before');
});

test('a cancelled request leaves no trace: its place is free and its batch mates are answered', async () => {
  const loop = loopback({ maxOutstanding: 4 });
  await loop.load(testModelConfig(), double);
  for (let round = 0; round < 50; round++) {
    let called = 0;
    const cancelled = loop.plane.infer(
      {
        model: 'test',
        version: '',
        id: '',
        inputs: [fp32('x', [1, 4], [9, 9, 9, 9])],
        outputs: [],
        parameters: undefined,
      },
      {
        protocol: 'http',
        tenant: 'a',
        receivedAt: 0,
        deadline: Number.POSITIVE_INFINITY,
        priority: 0,
        maxPriority: 0,
        traceparent: '',
        tracestate: '',
        path: '',
        headers: undefined,
        served: undefined,
      },
      { onResponse: () => called++, onError: () => called++ },
    );
    const mate = loop.infer({ inputs: [fp32('x', [1, 4], [1, 2, 3, 4])] });
    cancelled.cancel();
    assert.deepEqual(floats((await mate).outputs[0]), [2, 4, 6, 8]);
    assert.equal(called, 0);
  }
  assert.equal(loop.plane.inFlight, 0);
});

test('an ensemble feeds each step with what the one before answered', async () => {
  const loop = loopback();
  await loop.load(testModelConfig({ name: 'first' }), double);
  await loop.load(testModelConfig({ name: 'second' }), (inputs) => [
    fp32(
      'y',
      inputs[0].shape,
      floats(inputs[0]).map((value) => value + 1),
    ),
  ]);
  const step = (modelName: string, from: string, to: string) => ({
    modelName,
    modelVersion: '',
    inputMap: { x: from },
    outputMap: { y: to },
  });
  await loop.load(
    testModelConfig({ name: 'both', ensemble: [step('first', 'x', 'middle'), step('second', 'middle', 'y')] }),
    () => [],
  );
  const answers = await Promise.all(
    [1, 2, 3].map((i) => loop.infer({ model: 'both', inputs: [fp32('x', [1, 4], [i, 0, 0, 0])] })),
  );
  for (const [i, answer] of answers.entries()) assert.deepEqual(floats(answer.outputs[0]), [2 * (i + 1) + 1, 1, 1, 1]);
  assert.equal(loop.plane.inFlight, 0);
});

test('the answer of an ensemble is cached as long as its steps stay the same, and none that reads the feature store', async () => {
  const loop = loopback({ cache: pipelineCache(createResponseCache({ maxBytes: 1_000_000, ttlMs: 60_000 })) });
  let runs = 0;
  let release = (): void => {};
  let gate = Promise.resolve();
  const counted = (add: number) => async (inputs: Tensor[]) => {
    runs++;
    await gate;
    return [
      fp32(
        'y',
        inputs[0].shape,
        floats(inputs[0]).map((value) => value + add),
      ),
    ];
  };
  const ensemble = [{ modelName: 'step', modelVersion: '', inputMap: { x: 'x' }, outputMap: { y: 'y' } }];
  await loop.load(testModelConfig({ name: 'step' }), counted(1));
  await loop.load(testModelConfig({ name: 'inner', ensemble }), () => []);
  const outer = [{ ...ensemble[0], modelName: 'inner' }];
  await loop.load(testModelConfig({ name: 'outer', ensemble: outer, responseCache: true }), () => []);
  const ask = async (model = 'outer'): Promise<number> =>
    floats((await loop.infer({ model, inputs: [fp32('x', [1, 4], [5, 0, 0, 0])] })).outputs[0])[0];
  assert.deepEqual([await ask(), await ask(), runs], [6, 6, 1]);

  await loop.load(testModelConfig({ name: 'step' }), counted(2), '2');
  assert.deepEqual([await ask(), await ask(), runs], [7, 7, 2], 'a step has a new version');

  gate = new Promise((resolve) => {
    release = resolve;
  });
  await loop.load(testModelConfig({ name: 'step' }), counted(3), '3');
  const answer = ask();
  while (runs < 3) await new Promise((resolve) => setImmediate(resolve));
  await loop.load(testModelConfig({ name: 'step' }), counted(4), '4');
  release();
  assert.deepEqual([await answer, await ask(), runs], [8, 9, 4], 'it changed meanwhile');

  const features = {} as ModelConfig['features'];
  await loop.load(testModelConfig({ name: 'fed', ensemble: outer, responseCache: true, features }), () => []);
  assert.equal(new EnsembleDriver(loop.plane).identity(loop.plane.findVersion('fed', '')), undefined);
});

test('a client that goes away takes the steps of an ensemble along whose answer would be cached', async () => {
  const loop = loopback({
    blocking: false,
    cache: pipelineCache(createResponseCache({ maxBytes: 1_000_000, ttlMs: 60_000 })),
  });
  let signal: AbortSignal | undefined;
  await loop.load(testModelConfig({ name: 'step' }), (_inputs, options) => {
    signal = options.signal;
    return new Promise(() => {});
  });
  const ensemble = [{ modelName: 'step', modelVersion: '', inputMap: { x: 'x' }, outputMap: { y: 'y' } }];
  await loop.load(testModelConfig({ name: 'both', ensemble, responseCache: true }), () => []);
  const context = {
    tenant: 'default',
    receivedAt: monotonicMs(),
    deadline: Number.POSITIVE_INFINITY,
    priority: 0,
    traceparent: '',
    tracestate: '',
  };
  const submission = loop.plane.infer(
    {
      model: 'both',
      version: '',
      id: '',
      inputs: [fp32('x', [1, 4], [1, 0, 0, 0])],
      outputs: [],
      parameters: undefined,
    },
    context as RequestContext,
    { onResponse: () => assert.fail('answered'), onError: () => assert.fail('told') },
  );
  while (signal === undefined) await new Promise((resolve) => setImmediate(resolve));
  submission.cancel();
  while (!signal.aborted) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(loop.plane.inFlight, 0);
});

test('requests of a lost executor are answered by another', async () => {
  const loop = loopback({ executors: 2, blocking: false });
  const version = await loop.load(testModelConfig(), double);
  const waiting = Array.from({ length: 10 }, () => loop.infer({ inputs: [fp32('x', [1, 4], [1, 2, 3, 4])] }));
  version.executors.splice(0, 1);
  loop.plane.loseExecutor(0);
  for (const answer of await Promise.all(waiting)) assert.deepEqual(floats(answer.outputs[0]), [2, 4, 6, 8]);
});

const GONE = new SwitchyardError('unavailable', 'its process crashed with SIGKILL');

test('what an executor cannot run is run by another, at most once and alone: only the cause of it fails', async () => {
  for (const cause of ['an executor', 'a request'] as const) {
    const loop = loopback({ executors: 2, blocking: false });
    const tries: number[] = new Array(24).fill(0);
    await loop.load(testModelConfig(), async (inputs, _, executor) => {
      const firsts = floats(inputs[0]).filter((_, at) => at % 4 === 0);
      for (const first of firsts) tries[first]++;
      if (cause === 'an executor' ? executor === 0 : firsts.includes(13)) throw GONE;
      return double(inputs);
    });
    const settled = await Promise.allSettled(
      Array.from({ length: 24 }, (_, i) => loop.infer({ inputs: [fp32('x', [1, 4], [i, 0, 0, 0])] })),
    );
    settled.forEach((result, i) => {
      const bad = cause === 'a request' && i === 13;
      assert.equal(result.status, bad ? 'rejected' : 'fulfilled', `${cause}: request ${i}`);
      if (result.status === 'fulfilled') assert.equal(floats(result.value.outputs[0])[0], 2 * i);
    });
    assert.ok(Math.max(...tries) === 2, `${cause}: ${tries}`);
    const failures = cause === 'a request' ? 1 : 0;
    assert.deepEqual([loop.counts.success, loop.counts.failure, loop.plane.inFlight], [24 - failures, failures, 0]);
  }
});

test('of the requests of a lost executor, no more are sent again than a share of those in flight, and 64', async () => {
  for (const [requests, again] of [
    [100, 64],
    [1000, 200],
  ]) {
    const loop = loopback({ executors: 2, blocking: false });
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const version = await loop.load(testModelConfig(), async (inputs) => {
      await gate;
      return double(inputs);
    });
    // Only the first is asked, until it is lost.
    version.executors.splice(0, 2, 0);
    const base = { inputs: [fp32('x', [1, 4], [1, 2, 3, 4])] };
    const waiting = Array.from({ length: requests }, () => loop.infer(base, {}, true));
    version.executors.push(1);
    loop.plane.loseExecutor(0);
    release();
    const settled = await Promise.allSettled(waiting);
    assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, again, `of ${requests}`);
    // The budget is whole again.
    const { success } = loop.counts;
    await loop.infer(base);
    assert.equal(loop.counts.success, success + 1);
  }
});

test('preserve_ordering: a fast executor does not answer before a slow one whose requests came first, and a gone client is not waited for', async () => {
  const loop = loopback({ executors: 2 });
  const base = testModelConfig();
  const config = testModelConfig({ batching: { ...base.batching, preserveOrdering: true } });
  const runs: { first: number; end(error?: Error): void }[] = [];
  await loop.load(
    config,
    (inputs) =>
      new Promise((resolve, reject) =>
        runs.push({
          first: floats(inputs[0])[0],
          end: (error) => (error === undefined ? resolve(double(inputs)) : reject(error)),
        }),
      ),
  );
  const answered: number[] = [];
  const ask = (i: number): Promise<unknown> =>
    loop.infer({ inputs: [fp32('x', [1, 4], [i, 0, 0, 0])] }).then(
      () => answered.push(i),
      () => answered.push(-i),
    );
  // Least loaded, in turns: 1, 3, 5 on one executor, 2, 4, 6 on the other.
  const all = [1, 2, 3, 4, 5, 6].map(ask);
  const turn = async (done: () => boolean): Promise<void> => {
    while (!done()) await new Promise((resolve) => setImmediate(resolve));
  };
  await turn(() => runs.length === 2);
  const run = (first: number) => runs.find((each) => each.first === first) as (typeof runs)[number];
  run(2).end();
  await turn(() => loop.counts.batches.length === 1);
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(answered, [], 'the second waits for the first');
  run(1).end();
  await Promise.all(all);
  assert.deepEqual(answered, [1, 2, 3, 4, 5, 6]);

  const slow = loop.infer({ inputs: [fp32('x', [1, 4], [7, 0, 0, 0])] }, { deadline: monotonicMs() + 50 });
  const next = ask(8);
  await turn(() => runs.some(({ first }) => first === 8));
  run(8).end();
  await assert.rejects(slow, { code: 'deadline_exceeded' });
  await next;
  assert.equal(answered.at(-1), 8, 'a request that ended by its deadline holds nobody up');
  runs.find(({ first }) => first === 7)?.end();
});
