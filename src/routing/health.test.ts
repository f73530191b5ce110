import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import fc from 'fast-check';
import { parseRoutes } from '../config/load-routes.ts';
import { around, compile, request, route, TWO } from '../testing/routing.ts';
import { seeded } from '../testing/seeded.ts';
import { decide, newDecision, nextFallback } from './decide.ts';
import { newHealth, requestEnded, requestStarted, sweepHealth } from './health.ts';
import { newOutlierStates, reportOutcome, sweepOutliers } from './outlier.ts';
import { compileRoutes } from './route-table.ts';

type Outcome = Parameters<typeof requestEnded>[2];

const VARIANTS = 3;
const POLICY = { consecutive5xx: 2, interval: 100, baseEjection: 150, maxEjection: 400 };

describe('sweeping the health of a route', () => {
  it('leaves what sweeping every variant every time leaves', () => {
    const event = fc.oneof(
      fc.record({ variant: fc.nat(VARIANTS - 1), outcome: fc.constantFrom<Outcome>('ok', 'failed', 'forgotten') }),
      fc.constant('sweep' as const),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const health = newHealth({ outlier: POLICY }, VARIANTS);
        const states = newOutlierStates(VARIANTS);
        let now = 0;
        for (const each of events) {
          now += 40;
          if (each === 'sweep') {
            sweepHealth(health, now);
            sweepOutliers(states, now);
          } else {
            requestStarted(health, each.variant);
            requestEnded(health, each.variant, each.outcome, now);
            if (each.outcome !== 'forgotten')
              reportOutcome(states, each.variant, each.outcome === 'failed', now, POLICY);
          }
          assert.deepEqual(health.outliers, states);
        }
      }),
    );
  });
});

test('ejected and open variants are served by their fallbacks; the last one never goes', () => {
  const table = compile(
    route(
      'ranker',
      `variants: {a: {model: m}, b: {model: m, fallback: c}, c: {model: m}}\nfallback: {order: [b, c]}\nresilience: {outlier: {}, circuitBreaker: {minRequests: 1000000}}\nstrategy: {weighted: {a: 100}}`,
    ),
  );
  const { health, ...ranker } = table.routes.get('ranker')!;
  const clock = { now: 0, steadyClock: 0 };
  const out = newDecision();
  const served = () => {
    decide(table, request({}), around(seeded(1), clock), out);
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
  const clock = { now: 0, steadyClock: 0 };
  const out = newDecision();
  const served = () => {
    decide(table, request({}), around(seeded(1), clock), out);
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
  const clock = { now: 0, steadyClock: 0 };
  const out = newDecision();
  const decided = () => {
    decide(table, request({}), around(seeded(1), clock), out);
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
