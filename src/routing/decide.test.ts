import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureDecide } from '../../loadtest/routing/decide-cost.ts';
import { parseRoutes } from '../config/load-routes.ts';
import { chiSquareTail } from '../experiments/statistics/gamma.ts';
import { type Decision, decide, newDecision, nextFallback } from './decide.ts';
import { requestEnded, requestStarted, sweepHealth } from './health.ts';
import { canaryWeights, initialState, withWeights } from './live-route.ts';
import type { RequestView } from './matchers.ts';
import { makeSnapshot } from './policies/snapshot.ts';
import { addReward, noEpoch } from './policies/statistics.ts';
import { applyState, compileRoutes } from './route-table.ts';

interface Asked {
  model?: string;
  path?: string;
  tenant?: string;
  headers?: Record<string, string>;
  parameters?: Record<string, string>;
  inputs?: Record<string, string>;
}

function request({
  model = 'ranker',
  path = '',
  tenant = '',
  headers = {},
  parameters = {},
  inputs = {},
}: Asked): RequestView {
  return {
    model,
    path,
    tenant,
    header: (name) => headers[name],
    parameter: (name) => parameters[name],
    input: (name) => inputs[name],
  };
}

function route(name: string, spec: string): string {
  return `apiVersion: switchyard/v1\nkind: Route\nmetadata: {name: ${name}}\nspec:\n${spec.replace(/^/gm, '  ')}\n`;
}

function compile(...documents: string[]) {
  return compileRoutes(parseRoutes([{ file: 'routes.yaml', text: documents.join('---\n') }]));
}

/** Uniform numbers from a fixed seed. */
function seeded(seed = 1): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const around = (random = seeded(), at = { now: 0, wallClock: 0 }) => ({
  random,
  now: () => at.now,
  wallClock: () => at.wallClock,
});

const TWO = 'variants: {stable: {model: ranker, version: "1"}, next: {model: ranker, version: "2"}}';

test('matching: entries are alternatives, fields within one all hold, the first route wins', () => {
  const table = compile(
    route(
      'eu',
      `match: [{model: ranker, headers: {x-tenant: {regex: "^eu-"}}}, {model: ranker, tenant: acme}]\n${TWO}\nstrategy: {weighted: {stable: 100}}`,
    ),
    route(
      'any-grpc',
      `match: [{path: {prefix: /inference.}, parameters: {p: {exact: "1"}}}]\n${TWO}\nstrategy: {weighted: {stable: 100}}`,
    ),
    route('ranker', `${TWO}\nstrategy: {weighted: {next: 100}}`),
    route(
      'absent',
      `match: [{model: other, headers: {x-a: {present: false}}}]\n${TWO}\nstrategy: {weighted: {next: 100}}`,
    ),
  );
  const out = newDecision();
  const routed = (asked: Asked) => (decide(table, request(asked), around(), out) ? out.route?.name : undefined);
  assert.equal(routed({ headers: { 'x-tenant': 'eu-1' } }), 'eu');
  assert.equal(routed({ tenant: 'acme' }), 'eu');
  assert.equal(routed({ headers: { 'x-tenant': 'us-1' } }), 'ranker');
  assert.equal(routed({ path: '/inference.Grpc', parameters: { p: '1' } }), 'any-grpc');
  assert.equal(routed({ model: 'unheard', path: '/inference.Grpc', parameters: { p: '1' } }), 'any-grpc');
  assert.equal(routed({ model: 'unheard' }), undefined);
  assert.equal(routed({ model: 'other' }), 'absent');
  assert.equal(routed({ model: 'other', headers: { 'x-a': '' } }), undefined);
});

test('the unit sticks, and its absence is handled as configured', () => {
  const spec = (onMissing: string) =>
    route(
      'ranker',
      `unit: {from: [{header: x-user}, {cookie: uid}, {input: user_id}], onMissing: ${onMissing}}\n${TWO}\nstrategy: {weighted: {stable: 50, next: 50}}`,
    );
  const table = compile(spec('randomUnanalysed'));
  const out = newDecision();
  const served = (asked: Asked) => {
    decide(table, request(asked), around(), out);
    return out.served;
  };
  for (let i = 0; i < 50; i++) {
    const by: Asked[] = [
      { headers: { 'x-user': `u${i}` } },
      { headers: { cookie: `a=b; uid="u${i}"; c=d` } },
      { inputs: { user_id: `u${i}` } },
    ];
    const answers = by.map(served);
    assert.equal(new Set(answers).size, 1);
    assert.equal(out.analysed, true);
  }
  const random = seeded();
  const counts = [0, 0];
  for (let i = 0; i < 1000; i++) {
    decide(table, request({}), around(random), out);
    counts[out.served]++;
    assert.equal(out.analysed, false);
  }
  assert.ok(counts[0] > 400 && counts[1] > 400);
  decide(compile(spec('default')), request({}), around(), out);
  assert.deepEqual([out.served, out.analysed, out.bucket], [0, false, -1]);
  decide(compile(spec('random')), request({}), around(), out);
  assert.equal(out.analysed, true);
});

test('overrides by header and by unit come first and are not analysed unless told', () => {
  const table = compile(
    route(
      'ranker',
      `unit: {from: [{header: x-user}]}\n${TWO}\noverrides:\n  - {headers: {x-canary: always}, variant: next}\n  - {units: [u1, u2], variant: next, analysed: true}\nstrategy: {weighted: {stable: 100}}`,
    ),
  );
  const out = newDecision();
  const decided = (headers: Record<string, string>) => {
    decide(table, request({ headers }), around(), out);
    return [out.served, out.override, out.analysed];
  };
  assert.deepEqual(decided({ 'x-canary': 'always', 'x-user': 'u9' }), [1, 0, false]);
  assert.deepEqual(decided({ 'x-user': 'u2' }), [1, 1, true]);
  assert.deepEqual(decided({ 'x-user': 'u3' }), [0, -1, true]);
});

test('a canary serves its shares with an equal control slice, and back to exactly nothing', () => {
  const table = compile(
    route(
      'ranker',
      `${TWO}\nunit: {from: [{header: x-user}]}\nstrategy: {canary: {stable: stable, candidate: next, steps: [{setWeight: 5}]}}`,
    ),
  );
  const ranker = table.routes.get('ranker')!;
  let state = initialState(ranker.spec);
  const out = newDecision();
  const shares = () => {
    const counts = { stable: 0, control: 0, candidate: 0, arm: 0 };
    for (let i = 0; i < 20_000; i++) {
      decide(table, request({ headers: { 'x-user': `u${i}` } }), around(), out);
      assert.equal(out.served, out.role === 'candidate' ? 1 : 0);
      counts[out.role]++;
    }
    return counts;
  };
  assert.equal(shares().stable, 20_000);
  state = withWeights(state, canaryWeights(5, true));
  assert.ok(applyState(ranker, state));
  assert.deepEqual(Array.from(ranker.live.pmf), [0.95, 0.05]);
  const at5 = shares();
  assert.ok(Math.abs(at5.control - 1000) < 150 && Math.abs(at5.candidate - 1000) < 150, JSON.stringify(at5));
  state = withWeights(state, canaryWeights(80, true));
  applyState(ranker, state);
  const at80 = shares();
  assert.equal(at80.stable, 0);
  state = withWeights(state, canaryWeights(0, true));
  applyState(ranker, state);
  assert.equal(shares().candidate, 0);
  assert.equal(applyState(ranker, { ...state, buckets: [[7, 10_000]] }), false);
});

test('mirroring is sampled and never copies to the variant that answers', () => {
  const table = compile(
    route('ranker', `${TWO}\nshadow: {variant: next, sample: 10%}\nstrategy: {weighted: {stable: 50, next: 50}}`),
  );
  const out = newDecision();
  const random = seeded();
  let copies = 0;
  for (let i = 0; i < 20_000; i++) {
    decide(table, request({}), around(random), out);
    if (out.served === 1) assert.equal(out.shadow, -1);
    if (out.shadow === 1) copies++;
  }
  assert.ok(Math.abs(copies - 1000) < 150, `${copies}`);
});

test('ejected and open variants are served by their fallbacks; the last one never goes', () => {
  const table = compile(
    route(
      'ranker',
      `variants: {a: {model: m}, b: {model: m, fallback: c}, c: {model: m}}\nfallback: {order: [b, c]}\nresilience: {outlier: {}, circuitBreaker: {minRequests: 1000000}}\nstrategy: {weighted: {a: 100}}`,
    ),
  );
  const { health, ...ranker } = table.routes.get('ranker')!;
  const clock = { now: 0, wallClock: 0 };
  const out = newDecision();
  const served = () => {
    decide(table, request({}), around(seeded(), clock), out);
    return [out.served, out.detour, out.eligible];
  };
  const fail = (variant: number, times = 5) => {
    for (let i = 0; i < times; i++) {
      requestStarted(health, variant);
      requestEnded(health, variant, 'failed', clock.now);
    }
  };
  assert.deepEqual(served(), [0, '', 0b111]);
  fail(0, 4);
  requestStarted(health, 0);
  requestEnded(health, 0, 'ok', 0);
  fail(0, 4);
  assert.deepEqual(served(), [0, '', 0b111]);
  fail(0, 1);
  assert.deepEqual(served(), [1, 'ejected', 0b110]);
  fail(1);
  assert.deepEqual(served(), [2, 'ejected', 0b100]);
  fail(2, 50);
  assert.deepEqual(served(), [2, 'ejected', 0b100]);
  clock.now = 30_000;
  sweepHealth(health, clock.now);
  assert.deepEqual(served(), [0, '', 0b111]);
  fail(0);
  clock.now += 30_000;
  sweepHealth(health, clock.now);
  assert.equal(served()[0], 1, 'the second ejection in a row lasts twice as long');
  clock.now += 30_000;
  sweepHealth(health, clock.now);
  assert.equal(served()[0], 0);
  assert.equal(nextFallback(out.route!, 0, 0b111, 0b011), 2);
  assert.equal(nextFallback(out.route!, 0, 0b111, 0b111), 0);
  assert.deepEqual(ranker.fallbacks, [[1, 2], [2], [1]]);
});

test('a circuit opens by failure ratio, tries one request, and closes', () => {
  const table = compile(
    route(
      'ranker',
      `${TWO}\nfallback: {order: [next]}\nresilience: {circuitBreaker: {minRequests: 10, failureRatio: 50%, open: 5s, maxInFlight: 20}}\nstrategy: {weighted: {stable: 100}}`,
    ),
  );
  const { health } = table.routes.get('ranker')!;
  const clock = { now: 0, wallClock: 0 };
  const out = newDecision();
  const served = () => {
    decide(table, request({}), around(seeded(), clock), out);
    return out.served;
  };
  const end = (outcome: 'ok' | 'failed' | 'forgotten') => {
    requestStarted(health, 0);
    requestEnded(health, 0, outcome, clock.now);
  };
  for (let i = 0; i < 6; i++) end('ok');
  for (let i = 0; i < 5; i++) end('failed');
  assert.equal(served(), 0);
  end('failed');
  assert.equal(served(), 1);
  clock.now = 5000;
  assert.equal(served(), 0);
  requestStarted(health, 0);
  assert.equal(served(), 1, 'one trial at a time');
  requestEnded(health, 0, 'forgotten', clock.now);
  assert.equal(served(), 0);
  end('failed');
  assert.equal(served(), 1);
  clock.now = 10_000;
  assert.equal(served(), 0);
  end('ok');
  for (let i = 0; i < 5; i++) assert.equal(served(), 0);
  for (let i = 0; i < 20; i++) requestStarted(health, 0);
  assert.equal(served(), 1, 'full');
  requestEnded(health, 0, 'ok', clock.now);
  assert.equal(served(), 0);
  // Failures of long ago are forgotten.
  for (let i = 0; i < 9; i++) end('failed');
  clock.now += 60_000;
  end('failed');
  assert.equal(served(), 0);
});

test('without a fallback an ejected variant is served still, one whose circuit is open is not', () => {
  const table = compile(
    route(
      'ranker',
      `${TWO}\nresilience: {outlier: {consecutive5xx: 2}, circuitBreaker: {minRequests: 4, open: 5s}}\nshadow: {variant: next}\nstrategy: {weighted: {stable: 100}}`,
    ),
  );
  const { health } = table.routes.get('ranker')!;
  const clock = { now: 0, wallClock: 0 };
  const out = newDecision();
  const decided = () => {
    decide(table, request({}), around(seeded(), clock), out);
    return [out.served, out.detour, out.shadow];
  };
  const fail = (times: number) => {
    for (let i = 0; i < times; i++) {
      requestStarted(health, 0);
      requestEnded(health, 0, 'failed', clock.now);
    }
  };
  fail(2);
  assert.deepEqual(decided(), [0, '', 1]);
  assert.equal(out.eligible, 0b10);
  fail(2);
  assert.deepEqual(decided(), [0, 'circuitOpen', -1], 'nothing is copied of what is not asked');
  clock.now = 5000;
  assert.deepEqual(decided(), [0, '', 1], 'a trial');
});

test('other resilience settings begin anew; the same ones keep what is known', () => {
  const text = (resilience: string) =>
    route(
      'ranker',
      `${TWO}\nfallback: {order: [next]}\nresilience: ${resilience}\nstrategy: {weighted: {stable: 100}}`,
    );
  const reload = (resilience: string, before: ReturnType<typeof compile>) =>
    compileRoutes(parseRoutes([{ file: 'routes.yaml', text: text(resilience) }]), { table: before });
  const first = compile(text('{outlier: {consecutive5xx: 2}, retryBudget: {minConcurrency: 0}}'));
  const out = newDecision();
  const served = (table: ReturnType<typeof compile>) => {
    decide(table, request({}), around(), out);
    return out.served;
  };
  const fail = (table: ReturnType<typeof compile>, times: number) => {
    const { health } = table.routes.get('ranker')!;
    for (let i = 0; i < times; i++) {
      requestStarted(health, 0);
      requestEnded(health, 0, 'failed', 0);
    }
  };
  fail(first, 2);
  assert.equal(served(first), 1);
  const same = reload('{outlier: {consecutive5xx: 2}, retryBudget: {minConcurrency: 0}, timeout: 1s}', first);
  assert.equal(served(same), 1, 'still ejected');
  assert.equal(served(reload('{retryBudget: {minConcurrency: 0}}', same)), 0, 'nobody is ejected where nobody may be');
  const other = reload('{outlier: {consecutive5xx: 4}, circuitBreaker: {minRequests: 3}}', same);
  fail(other, 2);
  assert.equal(served(other), 0, 'the new threshold');
  fail(other, 1);
  assert.equal(served(other), 1, 'the new circuit');
  assert.equal(same.routes.get('ranker')!.retries.tryRetry(), false);
  assert.equal(other.routes.get('ranker')!.retries.tryRetry(), true, 'the new budget');
});

const BANDIT = (extra: string) =>
  route(
    'ranker',
    `variants: {a: {model: m}, b: {model: m}, c: {model: m}}\nstrategy:\n  bandit: {arms: [c, a, b], ${extra}}`,
  );

test('the logged propensity is that of the draw, also with an arm ejected', () => {
  const table = compile(BANDIT('policy: thompsonBeta, floor: 0.1'));
  const ranker = table.routes.get('ranker')!;
  const sums = noEpoch(0, 3);
  for (let i = 0; i < 40; i++) for (let k = 0; k < 3; k++) addReward(sums.arms[k], i % (k + 2) === 0 ? 1 : 0);
  const policy = makeSnapshot(ranker.bandit!, sums.arms, 7, 0);
  applyState(ranker, { ...initialState(ranker.spec), policy });
  const out: Decision = newDecision();
  const random = seeded(5);
  for (const ejected of [-1, 0]) {
    if (ejected >= 0) for (let i = 0; i < 5; i++) ranker.health.outliers[ejected].ejectedUntil = 1e9;
    ranker.health.calm = ejected < 0;
    const counts = [0, 0, 0];
    const total = 20_000;
    for (let i = 0; i < total; i++) {
      decide(table, request({}), around(random), out);
      counts[out.served]++;
      assert.equal(out.detour, '');
    }
    assert.equal(out.snapshotVersion, 7);
    let chiSquare = 0;
    let sum = 0;
    out.pmf.forEach((p, k) => {
      sum += p;
      if (p === 0) assert.equal(counts[k], 0);
      else {
        assert.ok(p >= 0.1 - 1e-12);
        chiSquare += (counts[k] - total * p) ** 2 / (total * p);
      }
    });
    assert.ok(Math.abs(sum - 1) < 1e-12);
    assert.ok(chiSquareTail(chiSquare, 2) > 1e-3, `${chiSquare}`);
  }
});

test('without a snapshot, with a stale one, and as an apprentice, the default is served', () => {
  const table = compile(BANDIT('policy: epsilonGreedy, default: b, mode: apprentice, refresh: 10s'));
  const ranker = table.routes.get('ranker')!;
  const out = newDecision();
  const clock = { now: 0, wallClock: 0 };
  const decided = () => {
    decide(table, request({}), around(seeded(), clock), out);
    return [out.served, out.detour, Array.from(out.pmf)];
  };
  assert.deepEqual(decided(), [1, 'noSnapshot', [0, 1, 0]]);
  const sums = noEpoch(0, 3);
  addReward(sums.arms[0], 1);
  addReward(sums.arms[1], 0);
  addReward(sums.arms[2], 0);
  applyState(ranker, { ...initialState(ranker.spec), policy: makeSnapshot(ranker.bandit!, sums.arms, 1, 0) });
  assert.deepEqual(decided(), [1, 'apprentice', [0, 1, 0]]);
  assert.ok(Math.abs(out.proposedPmf[2] - (0.9 + 0.1 / 3)) < 1e-12);
  assert.ok(out.proposed >= 0);
  clock.wallClock = 100_001;
  assert.deepEqual(decided(), [1, 'staleSnapshot', [0, 1, 0]]);
});

test('contextual arms are drawn by what the request holds', () => {
  const table = compile(BANDIT('policy: linThompson, context: {inputs: [locale], dim: 16}, floor: 0.02'));
  const ranker = table.routes.get('ranker')!;
  const spec = ranker.bandit!;
  const policy = makeSnapshot(spec, noEpoch(0, 3, 16).arms, 1, 0);
  applyState(ranker, { ...initialState(ranker.spec), policy });
  const out = newDecision();
  const sums = noEpoch(0, 3, 16);
  const random = seeded(3);
  for (let i = 0; i < 900; i++) {
    const locale = i % 2 === 0 ? 'de' : 'fr';
    decide(table, request({ inputs: { locale } }), around(random), out);
    const arm = i % 3;
    // Arm 0 is right for German, arm 1 for French.
    addReward(sums.arms[arm], arm === (locale === 'de' ? 0 : 1) ? 1 : 0, out.context);
  }
  applyState(ranker, {
    ...initialState(ranker.spec),
    policy: JSON.parse(JSON.stringify(makeSnapshot(spec, sums.arms, 2, 0))),
  });
  for (const [locale, best] of [
    ['de', 2],
    ['fr', 0],
  ] as const) {
    decide(table, request({ inputs: { locale } }), around(random), out);
    assert.ok(out.pmf[best] > 0.9, `${locale}: ${out.pmf}`);
    assert.ok(Math.min(...out.pmf) >= 0.02 - 1e-12);
  }
});

test('deciding allocates nothing that stays, whatever the number of routes', () => {
  assert.ok(measureDecide(50_000, 50).bytes < 64);
});
