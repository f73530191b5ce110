import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureDecide } from '../../loadtest/routing/decide-cost.ts';
import { type Asked, around, compile, request, route, TWO } from '../testing/routing.ts';
import { seeded } from '../testing/seeded.ts';
import { decide, newDecision } from './decide.ts';
import { canaryWeights, initialState, withWeights } from './live-route.ts';
import { applyState } from './route-table.ts';

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
  const random = seeded(1);
  const counts = [0, 0];
  for (let i = 0; i < 1000; i++) {
    decide(table, request({}), around(random), out);
    counts[out.served]++;
    assert.equal(out.analysed, false);
  }
  assert.ok(counts[0] > 400 && counts[1] > 400);
  decide(compile(spec('default')), request({}), around(), out);
  assert.deepEqual([out.served, out.analysed, out.bucket, Array.from(out.pmf)], [0, false, -1, [1, 0]]);
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
    return [out.served, out.override, out.analysed, Array.from(out.pmf)];
  };
  assert.deepEqual(decided({ 'x-canary': 'always', 'x-user': 'u9' }), [1, 0, false, [0, 1]]);
  assert.deepEqual(decided({ 'x-user': 'u2' }), [1, 1, true, [0, 1]], 'nothing was drawn: it is certain');
  assert.deepEqual(decided({ 'x-user': 'u3' }), [0, -1, true, [1, 0]]);
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
  const random = seeded(1);
  let copies = 0;
  for (let i = 0; i < 20_000; i++) {
    decide(table, request({}), around(random), out);
    if (out.served === 1) assert.equal(out.shadow, -1);
    if (out.shadow === 1) copies++;
  }
  assert.ok(Math.abs(copies - 1000) < 150, `${copies}`);
});

test('deciding allocates nothing that stays, whatever the number of routes', () => {
  assert.ok(measureDecide(50_000, 50).bytes < 64);
});
