import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { parse } from 'yaml';
import { type RouteDocument, routeDocumentSchema } from '../../config/route-schema.ts';
import { canaryWeights, initialState, withWeights } from '../../routing/live-route.ts';
import { monotonicMs } from '../../shared/clock.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { type FakeExecute, floats, fp32, Loopback } from '../../testing/loopback.ts';
import { testModelConfig } from '../../testing/model-config.ts';
import type { InferResponse, RequestContext } from '../types.ts';
import type { DecisionRecord, ShadowOutcome } from './record.ts';
import { RoutedDataPlane } from './routed-data-plane.ts';

const opened: { close(): void }[] = [];
after(() => {
  for (const each of opened) each.close();
});

const scale = (by: number) => (inputs: Tensor[]) => [
  fp32(
    'y',
    inputs[0].shape,
    floats(inputs[0]).map((v) => v * by),
  ),
];
const failing = () => {
  throw new Error('the weights are gone');
};

function route(spec: string): RouteDocument {
  const text = `apiVersion: switchyard/v1\nkind: Route\nmetadata: {name: ranker}\nspec:\n${spec.replace(/^/gm, '  ')}`;
  return routeDocumentSchema.parse(parse(text)) as RouteDocument;
}

const VARIANTS = 'variants:\n  stable: {model: one}\n  next: {model: two}\n';

interface Answered {
  response?: InferResponse;
  error?: SwitchyardError;
  context: RequestContext;
}

function context(deadline = Infinity, headers: Record<string, string> = {}): RequestContext {
  return {
    protocol: 'http',
    tenant: 'default',
    receivedAt: monotonicMs(),
    deadline,
    priority: 0,
    maxPriority: 0,
    traceparent: '',
    tracestate: '',
    path: '',
    headers: { header: (name) => headers[name] },
    served: undefined,
  };
}

/** Two models behind one route: 'one' doubles, 'two' trebles or does as it is told. */
async function routed(
  spec: string,
  second: FakeExecute = scale(3),
  {
    first = scale(2),
    blocking = false,
    shadowsUpTo = 1000,
  }: { first?: FakeExecute; blocking?: boolean; shadowsUpTo?: number } = {},
) {
  const loop = new Loopback({ blocking });
  await loop.load(testModelConfig({ name: 'one' }), first);
  await loop.load(testModelConfig({ name: 'two' }), second);
  const records: DecisionRecord[] = [];
  const shadows: ShadowOutcome[] = [];
  let random = 0;
  let ids = 0;
  const plane = new RoutedDataPlane(loop.plane, {
    ids: { prefix: 'id', next: () => ids++, text: (number) => `id${number}` },
    random: () => (random = (random + 0.6180339887) % 1),
    now: monotonicMs,
    wallClock: Date.now,
    steadyClock: Date.now,
    taps: [{ decided: (record) => records.push(record), shadowed: (outcome) => shadows.push(outcome) }],
    shadowsUpTo,
  });
  opened.push(plane, loop);
  const document = route(spec);
  plane.setRoutes({ routes: [document] }, new Map());
  const ask = (
    headers: Record<string, string> = {},
    model = 'ranker',
    deadline = Infinity,
    version = '',
  ): Promise<Answered> =>
    new Promise((resolve) => {
      const asked = context(deadline, headers);
      plane.infer(
        { model, version, id: 'r', inputs: [fp32('x', [1, 4], [1, 2, 3, 4])], outputs: [], parameters: undefined },
        asked,
        {
          onResponse: (response, final) => final && resolve({ response, context: asked }),
          onError: (error) => resolve({ error, context: asked }),
        },
      );
    });
  return { plane, document, ask, records, shadows, loop };
}

/** What the first element became says who answered. */
const factor = ({ response }: Answered): number => floats(response!.outputs[0])[0];

test('requests split by weight, each with a record and with its id in the context', async () => {
  const { ask, records } = await routed(`${VARIANTS}strategy:\n  weighted: {stable: 75, next: 25}`);
  const answers = await Promise.all(Array.from({ length: 400 }, () => ask()));
  const next = answers.filter((answer) => factor(answer) === 3).length;
  assert.ok(next > 90 && next < 110, `${next} of 400`);
  assert.equal(records.length, 400);
  for (const record of records) {
    assert.deepEqual(record.pmf, [0.75, 0.25]);
    assert.equal(record.status, 'ok');
    assert.equal(record.model, record.served === 'stable' ? 'one' : 'two');
    assert.equal(record.version, '1');
  }
  assert.deepEqual(new Set(answers.map(({ context }) => context.served?.id)), new Set(records.map(({ id }) => id)));
});

test('a user stays with a variant, and an override goes before', async () => {
  const { ask, plane } = await routed(
    `${VARIANTS}unit: {from: [{header: x-user-id}, {cookie: uid}]}\noverrides:\n  - {headers: {x-canary: {exact: always}}, variant: next}\nstrategy:\n  weighted: {stable: 50, next: 50}`,
  );
  const { names, units } = plane.headersOf('ranker');
  assert.deepEqual([...names].sort(), ['cookie', 'x-canary', 'x-user-id']);
  assert.deepEqual(units, ['x-user-id']);
  assert.deepEqual(plane.headersOf('other'), { names: [], units: [] });
  const served = new Set<number>();
  for (let user = 0; user < 20; user++) {
    const first = factor(await ask({ 'x-user-id': `u${user}` }));
    served.add(first);
    assert.equal(factor(await ask({ cookie: `a=b; uid=u${user}` })), first);
    assert.equal(factor(await ask({ 'x-user-id': `u${user}`, 'x-canary': 'always' })), 3);
  }
  assert.deepEqual(served, new Set([2, 3]));
});

test('a request that names a version passes by the routes', async () => {
  const spec = `match: [{model: one}]\n${VARIANTS}strategy:\n  weighted: {stable: 0, next: 100}`;
  const { ask, records } = await routed(spec);
  assert.equal(factor(await ask({}, 'one')), 3);
  assert.equal(factor(await ask({}, 'one', Infinity, '1')), 2);
  assert.equal(records.length, 1);
});

test('other models pass through without a decision', async () => {
  const { ask, records } = await routed(`${VARIANTS}strategy:\n  weighted: {stable: 0, next: 100}`);
  const answer = await ask({}, 'one');
  assert.equal(factor(answer), 2);
  assert.equal(answer.context.served, undefined);
  assert.equal(records.length, 0);
});

test('a variant that fails is answered for by its fallback, and then ejected', async () => {
  const { ask, records } = await routed(
    `${VARIANTS}fallback: {order: [stable]}\nresilience: {outlier: {consecutive5xx: 3, baseEjection: 60s}, retryBudget: {minConcurrency: 10}}\nstrategy:\n  weighted: {stable: 0, next: 100}`,
    failing,
  );
  for (let i = 0; i < 3; i++) assert.equal(factor(await ask()), 2);
  for (const record of records) {
    assert.deepEqual(record.fallbacks, [{ variant: 'next', cause: '5xx', version: '1' }]);
    assert.equal(record.served, 'stable');
    assert.equal(record.assigned, 'next');
  }
  assert.equal(factor(await ask()), 2);
  assert.deepEqual(records[3].fallbacks, []);
  assert.equal(records[3].detour, 'ejected');
  assert.deepEqual(records[3].eligible, ['stable']);
});

test('a variant that was ejected, or whose circuit is open, is asked again once it is another version', async () => {
  const aliased = VARIANTS.replace('model: two', 'model: two, alias: latest');
  const latest = (version: string) => new Map([['two', new Map([['latest', version]])]]);
  for (const [guard, detour] of [
    ['outlier: {consecutive5xx: 3, baseEjection: 60s}', 'ejected'],
    ['circuitBreaker: {minRequests: 3, open: 60s}', 'circuitOpen'],
  ]) {
    const fallback = detour === 'ejected' ? 'fallback: {order: [stable]}\n' : '';
    const { ask, records, plane } = await routed(
      `${aliased}${fallback}resilience: {${guard}, retryBudget: {minConcurrency: 10}}\nstrategy:\n  weighted: {stable: 0, next: 100}`,
      failing,
    );
    plane.setAliases(latest('1'));
    for (let i = 0; i < 4; i++) await ask();
    plane.setAliases(latest('1'));
    await ask();
    assert.deepEqual(
      records.map((record) => record.detour),
      ['', '', '', detour, detour],
    );
    plane.setAliases(latest('2'));
    await ask();
    assert.equal(records.at(-1)?.detour, '');
  }
});

test('failures of a version that was replaced meanwhile do not eject the one in its place', async () => {
  const aliased = VARIANTS.replace('model: two', 'model: two, alias: latest');
  const latest = (version: string) => new Map([['two', new Map([['latest', version]])]]);
  let fail = (): void => {};
  const held = new Promise<void>((resolve) => {
    fail = resolve;
  });
  const { ask, records, plane } = await routed(
    `${aliased}fallback: {order: [stable]}\nresilience: {outlier: {consecutive5xx: 3, baseEjection: 60s}, retryBudget: {minConcurrency: 10}}\nstrategy:\n  weighted: {stable: 0, next: 100}`,
    async () => {
      await held;
      return failing();
    },
  );
  plane.setAliases(latest('1'));
  const old = Array.from({ length: 5 }, () => ask());
  plane.setAliases(latest('2'));
  fail();
  await Promise.all(old);
  assert.deepEqual(
    new Set(records.flatMap(({ fallbacks }) => fallbacks.map(({ version }) => version))),
    new Set(['1']),
  );
  await ask();
  assert.equal(records.at(-1)?.detour, '');
});

test('without a fallback the error is the answer, and is on record', async () => {
  const { ask, records } = await routed(`${VARIANTS}strategy:\n  weighted: {stable: 0, next: 100}`, failing);
  const { error, context } = await ask();
  assert.match(String(error), /the weights are gone/);
  assert.equal(records[0].status, 'internal');
  const { id, variant, version } = context.served!;
  assert.deepEqual({ id, variant, version }, { id: 'id0', variant: 'next', version: '1' });
});

test('a failure is of the version that was asked for', async () => {
  const named = VARIANTS.replace('model: two', 'model: two, version: "1"');
  const { ask, records } = await routed(`${named}strategy:\n  weighted: {stable: 0, next: 100}`, failing);
  const { context } = await ask();
  assert.deepEqual([records[0].status, records[0].version, context.served?.version], ['internal', '1', '1']);
});

test('a slow variant is given up after its timeout, but not after the deadline of the request', async () => {
  const slow = async (inputs: Tensor[]) => {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    return scale(3)(inputs);
  };
  const { ask, records } = await routed(
    `${VARIANTS}fallback: {order: [stable]}\nresilience: {timeout: 500ms}\nstrategy:\n  weighted: {stable: 0, next: 100}`,
    slow,
  );
  assert.equal(factor(await ask()), 2);
  assert.deepEqual(records[0].fallbacks, [{ variant: 'next', cause: 'timeout', version: '1' }]);
  const { error } = await ask({}, 'ranker', monotonicMs() + 15);
  assert.equal(error?.code, 'deadline_exceeded');
  assert.deepEqual(records[1].fallbacks, []);
});

test("a deadline that was the client's own doing says nothing of the variant; the timeout of the route does", async () => {
  const spec = (timeout: string): string =>
    `${VARIANTS}fallback: {on: [ejected], order: [stable]}\nresilience: {${timeout}outlier: {consecutive5xx: 3, baseEjection: 60s}}\nstrategy:\n  weighted: {stable: 0, next: 100}`;
  const hangs = () => new Promise<Tensor[]>(() => {});
  const hasty = await routed(spec(''), hangs);
  for (let i = 0; i < 5; i++) {
    assert.equal((await hasty.ask({}, 'ranker', monotonicMs() + 10)).error?.code, 'deadline_exceeded');
  }
  assert.deepEqual(
    hasty.records.map(({ detour }) => detour),
    ['', '', '', '', ''],
  );
  const slow = await routed(spec('timeout: 500ms, '), hangs);
  for (let i = 0; i < 3; i++) {
    assert.equal((await slow.ask({}, 'ranker', monotonicMs() + 60_000)).error?.code, 'deadline_exceeded');
  }
  assert.equal(factor(await slow.ask()), 2);
  assert.equal(slow.records[3].detour, 'ejected');
});

test('an open circuit answers at once, on record; a full one too, unless a fallback may answer', async () => {
  const { ask, records, loop } = await routed(
    `${VARIANTS}resilience: {circuitBreaker: {minRequests: 2, open: 60s}}\nstrategy:\n  weighted: {stable: 0, next: 100}`,
    failing,
  );
  for (let i = 0; i < 2; i++) assert.equal((await ask()).error?.code, 'internal');
  const { error, context } = await ask();
  assert.equal(error?.code, 'unavailable');
  assert.match(String(error), /variant next of route ranker is not asked now: its circuit is open/);
  assert.equal(context.served?.variant, 'next');
  assert.deepEqual(
    [records[2].status, records[2].detour, records[2].assigned, records[2].eligible],
    ['unavailable', 'circuitOpen', 'next', ['stable']],
  );
  assert.equal(loop.plane.inFlight, 0);

  let open = (): void => {};
  const held = new Promise<void>((resolve) => {
    open = resolve;
  });
  const slow = async (inputs: Tensor[]): Promise<Tensor[]> => {
    await held;
    return scale(3)(inputs);
  };
  const limit = 'resilience: {circuitBreaker: {maxInFlight: 1}}\nstrategy:\n  weighted: {stable: 0, next: 100}';
  const full = await routed(`${VARIANTS}${limit}`, slow);
  const helped = await routed(`${VARIANTS}fallback: {on: [unavailable], order: [stable]}\n${limit}`, slow);
  const first = [full.ask(), helped.ask()];
  assert.match(String((await full.ask()).error), /or 1 requests are in flight on this thread;/);
  assert.equal(factor(await helped.ask()), 2);
  assert.deepEqual(helped.records[0].fallbacks, [{ variant: 'next', cause: 'unavailable', version: '1' }]);
  open();
  for (const one of first) assert.equal(factor(await one), 3);
  assert.equal(factor(await full.ask()), 3, 'the refused one held no place');
});

test('the retry budget ends fallbacks when everything fails', async () => {
  const { ask, records } = await routed(
    `${VARIANTS}fallback: {order: [stable]}\nresilience: {retryBudget: {percent: 0, minConcurrency: 2}}\nstrategy:\n  weighted: {stable: 0, next: 100}`,
    failing,
  );
  await Promise.all(Array.from({ length: 50 }, () => ask()));
  const fellBack = records.filter(({ fallbacks }) => fallbacks.length > 0).length;
  assert.ok(fellBack >= 2 && fellBack < 50, `${fellBack} of 50`);
});

test('a shadow gets a copy, is compared, and never changes the answer', async () => {
  const shadow = 'shadow: {variant: next, sample: 1, compare: {atol: 0, rtol: 0}}\n';
  const same = await routed(`${VARIANTS}${shadow}strategy:\n  weighted: {stable: 100, next: 0}`, scale(2));
  assert.equal(factor(await same.ask()), 2);
  await same.loop.plane.idle();
  assert.deepEqual(
    same.shadows.map(({ id, outcome, version }) => ({ id, outcome, version })),
    [{ id: same.records[0].id, outcome: 'match', version: '1' }],
  );
  const other = await routed(`${VARIANTS}${shadow}strategy:\n  weighted: {stable: 100, next: 0}`, scale(3));
  assert.equal(factor(await other.ask()), 2);
  await other.loop.plane.idle();
  assert.equal(other.shadows[0].outcome, 'mismatch');
  assert.match(other.shadows[0].difference, /^output 'y' element 0 differs by 1 \(atol [\d.e-]+, rtol [\d.e-]+\)$/);
  const broken = await routed(`${VARIANTS}${shadow}strategy:\n  weighted: {stable: 100, next: 0}`, failing);
  assert.equal(factor(await broken.ask()), 2);
  await broken.loop.plane.idle();
  assert.equal(broken.shadows[0].outcome, 'failed');
});

test('on a busy executor copies run after every client, though they are due before', async () => {
  const ran: string[] = [];
  let open = (): void => {};
  const held = new Promise<void>((resolve) => {
    open = resolve;
  });
  const { ask, loop, shadows } = await routed(
    `${VARIANTS}shadow: {variant: next, sample: 1, compare: {atol: 0, rtol: 0}}\nstrategy:\n  weighted: {stable: 100, next: 0}`,
    (inputs) => {
      ran.push('copies');
      return scale(2)(inputs);
    },
    {
      blocking: true,
      first: async (inputs) => {
        ran.push('clients');
        if (ran.length === 1) await held;
        return scale(2)(inputs);
      },
    },
  );
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const first = ask();
  while (ran.length === 0) await turn();
  // The executor is busy with the first client; its copy waits there, and others come.
  const later = [ask(), ask(), ask()];
  for (let i = 0; i < 5; i++) await turn();
  open();
  for (const answer of await Promise.all([first, ...later])) assert.equal(factor(answer), 2);
  await loop.plane.idle();
  assert.ok(ran.indexOf('copies') === -1 || ran.indexOf('copies') > ran.lastIndexOf('clients'), ran.join());
  assert.equal(shadows.length, 4);
});

test('the client has its answer before its copy is compared', async () => {
  const { plane, shadows, loop } = await routed(
    `${VARIANTS}shadow: {variant: next, sample: 1, compare: {atol: 0, rtol: 0}}\nstrategy:\n  weighted: {stable: 100, next: 0}`,
    scale(2),
    {
      first: async (inputs) => {
        // The copy is ready before.
        for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
        return scale(2)(inputs);
      },
    },
  );
  const seen = await new Promise<number>((resolve, reject) => {
    plane.infer(
      {
        model: 'ranker',
        version: '',
        id: '',
        inputs: [fp32('x', [1, 4], [1, 2, 3, 4])],
        outputs: [],
        parameters: undefined,
      },
      context(),
      { onResponse: () => resolve(shadows.length), onError: reject },
    );
  });
  assert.equal(seen, 0);
  await loop.plane.idle();
  assert.equal(shadows[0].outcome, 'match');
});

test('a copy that failed says so only where the client was answered', async () => {
  const spec = `${VARIANTS}shadow: {variant: next, sample: 1}\nstrategy:\n  weighted: {stable: 100, next: 0}`;
  const one = await routed(spec, failing);
  assert.equal(factor(await one.ask()), 2);
  await one.loop.plane.idle();
  assert.equal(one.shadows[0].outcome, 'failed');
  assert.equal(one.shadows[0].difference, 'failed with internal', 'a message may hold what was sent');
  const refusing = await routed(spec, () => {
    throw new SwitchyardError('invalid_argument', 'x must be positive');
  });
  assert.equal(factor(await refusing.ask()), 2);
  await refusing.loop.plane.idle();
  assert.equal(refusing.shadows[0].outcome, 'failed', 'the client was answered: refusing its input differs');
  const both = await routed(spec, failing, { first: failing });
  assert.equal((await both.ask()).error?.code, 'internal');
  await both.loop.plane.idle();
  assert.deepEqual(
    both.shadows.map(({ outcome }) => outcome),
    ['uncompared'],
  );
  const shed = await routed(spec, () => {
    throw new SwitchyardError('overloaded', 'the queue is full');
  });
  assert.equal(factor(await shed.ask()), 2);
  await shed.loop.plane.idle();
  assert.equal(shed.shadows[0].outcome, 'dropped');
});

test('shadows are dropped beyond their bound, and counted', async () => {
  const hold = () => new Promise<Tensor[]>(() => {});
  const { ask, shadows } = await routed(
    `${VARIANTS}shadow: {variant: next, sample: 1, maxInFlight: 2, timeout: 1s}\nstrategy:\n  weighted: {stable: 100, next: 0}`,
    hold,
  );
  await Promise.all(Array.from({ length: 10 }, () => ask()));
  assert.equal(shadows.filter(({ outcome }) => outcome === 'dropped').length, 8);
  while (shadows.length < 10) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(shadows.filter(({ outcome }) => outcome === 'dropped').length, 10, 'too late is dropped, too');
  await ask();
  assert.equal(shadows.length, 10, 'places are given back');
});

test('a thread that has enough to do sends no copies, until it has less to do', async () => {
  let open = (): void => {};
  const held = new Promise<void>((resolve) => {
    open = resolve;
  });
  const { ask, shadows, loop } = await routed(
    `${VARIANTS}shadow: {variant: next, sample: 1}\nstrategy:\n  weighted: {stable: 100, next: 0}`,
    scale(2),
    {
      first: async (inputs) => {
        await held;
        return scale(2)(inputs);
      },
      shadowsUpTo: 4,
    },
  );
  // Requests in flight when each of them asks for its copy, itself and copies included: 1, 3, 5 …
  const asked = [ask(), ask(), ask(), ask()];
  const dropped = () => shadows.filter(({ outcome }) => outcome === 'dropped').length;
  const atOnce = dropped();
  open();
  for (const answer of await Promise.all(asked)) assert.equal(factor(answer), 2, 'clients are served all the same');
  await loop.plane.idle();
  assert.deepEqual([atOnce, dropped(), shadows.length], [2, 2, 4]);
  await ask();
  await loop.plane.idle();
  assert.deepEqual([dropped(), shadows.length], [2, 5], 'copies are sent again');
});

test('a new state moves traffic without touching the rest; one that does not fit is ignored', async () => {
  const canary = `${VARIANTS}strategy:\n  canary: {stable: stable, candidate: next, steps: [{setWeight: 50}]}`;
  const { ask, plane, document, records } = await routed(canary);
  assert.equal(factor(await ask()), 2);
  const state = initialState(document.spec);
  plane.setState('ranker', withWeights(state, canaryWeights(100, false)));
  assert.equal(factor(await ask()), 3);
  assert.equal(records[1].role, 'candidate');
  plane.setState('ranker', { ...state, version: 9, buckets: [[7, 10_000]] });
  plane.setState('nobody', state);
  assert.equal(factor(await ask()), 3);
});

test('variants follow aliases; one that points nowhere is unavailable', async () => {
  const { ask, plane } = await routed(
    'variants:\n  stable: {model: one, alias: champion}\nstrategy:\n  weighted: {stable: 100}',
  );
  const { error } = await ask();
  assert.equal(error?.code, 'unavailable');
  assert.match(String(error), /Alias 'champion' of model 'one'/);
  plane.setAliases(new Map([['one', new Map([['champion', '1']])]]));
  assert.equal(factor(await ask()), 2);
});

test('a name that only a route has shows the model behind it', async () => {
  const { plane } = await routed(`${VARIANTS}strategy:\n  weighted: {stable: 75, next: 25}`);
  const { models } = plane.currentTable();
  assert.equal(models.get('ranker')?.versions[0].model, 'one');
  assert.equal(models.get('two')?.name, 'two');
});

test('a client that goes away is on record as cancelled', async () => {
  const { plane, records, loop } = await routed(`${VARIANTS}strategy:\n  weighted: {stable: 100, next: 0}`);
  let called = 0;
  plane
    .infer(
      {
        model: 'ranker',
        version: '',
        id: '',
        inputs: [fp32('x', [1, 4], [1, 2, 3, 4])],
        outputs: [],
        parameters: undefined,
      },
      context(),
      { onResponse: () => called++, onError: () => called++ },
    )
    .cancel();
  await loop.plane.idle();
  assert.equal(called, 0);
  assert.equal(records[0].status, 'cancelled');
});
