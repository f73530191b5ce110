import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { LogEvaluation } from '../experiments/ope/from-log.ts';
import { cli } from '../testing/cli.ts';
import { seeded } from '../testing/seeded.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-ope-'));
after(() => rmSync(scratch, { recursive: true }));
let files = 0;

function file(lines: readonly unknown[], name = `${files++}.jsonl`): string {
  const path = join(scratch, name);
  writeFileSync(path, lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'));
  return path;
}

const bandit = (policy: string): string => `apiVersion: switchyard/v1
kind: Route
metadata: {name: shop}
spec:
  variants: {a: {model: m, version: "1"}, b: {model: m, version: "2"}, c: {model: m, version: "3"}}
  strategy:
    bandit:
      policy: ${policy}
      arms: [a, b, c]
      refresh: 1s
      reward: {wait: 2s, default: 0}
`;
const ROUTE = file([bandit('thompsonBeta\n      floor: 0.02')], 'shop.yaml');
const ARMS = ['a', 'b', 'c'];

/** Uniformly drawn decisions, ten a second; the chance of a reward by arm and by the input x. */
function log(count: number, chance: (arm: number, x: number) => number, seed = 1) {
  const random = seeded(seed);
  return Array.from({ length: count }, (_, i) => {
    const arm = Math.floor(random() * 3);
    const x = random() < 0.5 ? 0 : 1;
    return {
      id: `d${i}`,
      time: 1_700_000_000_000 + 100 * i,
      route: 'shop',
      variant: ARMS[arm],
      propensity: 1 / 3,
      features: [{ name: 'x', shape: [1], values: [x] }],
      reward: random() < chance(arm, x) ? 1 : 0,
    };
  });
}

async function evaluated(...args: string[]): Promise<LogEvaluation> {
  const { out, err } = await cli(['ope', ...args, '-o', 'json']);
  assert.notEqual(out, '', err);
  return JSON.parse(out) as LogEvaluation;
}

test('fixed shares: every estimate has the truth within its interval', async () => {
  const records = file(log(6000, (arm) => [0.1, 0.3, 0.5][arm]));
  const result = await evaluated(records, '--route', ROUTE, '--weights', 'a=1,c=3');
  const truth = 0.25 * 0.1 + 0.75 * 0.5;
  for (const estimate of [result.ips, result.snips, result.dr!])
    assert.ok(estimate.low < truth && truth < estimate.high, JSON.stringify(estimate));
  assert.ok(result.dr!.high - result.dr!.low <= result.ips.high - result.ips.low);
  assert.ok(Math.abs(result.logged.value - 0.3) < 0.02);
  assert.equal(result.refusal, '');
  const { code, out } = await cli(['ope', records, '--route', ROUTE, '--weights', 'a=1,c=3']);
  assert.equal(code, 0);
  assert.match(out, /^6000 decisions of 6000 records\n/);
  for (const name of ['as logged', 'IPS', 'SNIPS', 'DR']) assert.match(out, new RegExp(`\n${name} `));
});

test('a bandit learns along the log before each decision, and one that reads the input finds more', async () => {
  const chance = (arm: number, x: number) => (x === 0 ? [0.1, 0.2, 0.6] : [0.6, 0.2, 0.1])[arm];
  const records = file(log(6000, chance, 2));
  const blind = await evaluated(records, '--route', ROUTE);
  const policy = file(
    [`${bandit('linUCB').replace('      refresh', '      context: {inputs: [x], dim: 4}\n      refresh')}`],
    'linear.yaml',
  );
  const sighted = await evaluated(records, '--route', ROUTE, '--policy', policy);
  assert.equal(sighted.refusal, '');
  assert.ok(sighted.snips.low > blind.snips.high, `${JSON.stringify(sighted.snips)} ${JSON.stringify(blind.snips)}`);
  assert.ok(Math.abs(sighted.dr!.value - 0.6) < 0.05, JSON.stringify(sighted.dr));
});

test('too few effective samples, or wrong propensities, are refused with no figure that could be used', async () => {
  const few = await cli(['ope', file(log(90, () => 0.5)), '--route', ROUTE, '--weights', 'a=1']);
  assert.equal(few.code, 1);
  assert.match(few.out, /refused: only \d+\.\d effective samples of at least 100/);
  assert.doesNotMatch(few.out, /SNIPS/);
  const json = await cli(['ope', file(log(90, () => 0.5)), '--route', ROUTE, '--weights', 'a=1', '-o', 'json']);
  const { ips, snips, dr, refusal } = JSON.parse(json.out) as Record<string, unknown>;
  assert.deepEqual({ ips, snips, dr }, { ips: null, snips: null, dr: null });
  assert.match(String(refusal), /effective samples/);
  const enough = await cli([
    'ope',
    file(log(90, () => 0.5)),
    '--route',
    ROUTE,
    '--weights',
    'a=1',
    '--min-effective',
    '10',
  ]);
  assert.equal(enough.code, 0);
  const lied = log(3000, () => 0.5).map((record) => ({ ...record, propensity: 0.9 }));
  const wrong = await cli(['ope', file(lied), '--route', ROUTE, '--weights', 'a=1']);
  assert.equal(wrong.code, 1);
  assert.match(wrong.out, /refused: the mean weight is 0\.\d+, not 1: the logged propensities are wrong/);
});

test('rewards come from a file beside the records, as feedback or by name, each event once', async () => {
  const records = log(300, () => 0).map(({ reward: _, ...record }) => record);
  const rewards = file([
    { id: 'd0', reward: 1 },
    { id: 'd0', reward: 1 },
    { id: 'd1', rewards: { clicks: 0, reward: 0.5 } },
    { id: 'd2', reward: 7 },
    { id: 'd3', rewards: { clicks: 1 } },
    { id: 'nobody', reward: 1 },
  ]);
  const args = [file(records), '--route', ROUTE, '--rewards', rewards, '--weights', 'a=1,b=1,c=1'];
  const { out } = await cli(['ope', ...args]);
  assert.match(out, /\n2 of them rewarded, 1 rewards out of range, 1 duplicates\n/);
  assert.ok(Math.abs((await evaluated(...args)).ips.value - 1.5 / 300) < 1e-12);
});

test('decisions that say nothing of the draw are left out and counted', async () => {
  const [one, ...others] = log(200, () => 0.5);
  const odd = [
    { ...one, analysed: false },
    { ...one, route: 'other' },
    { ...one, shadow: true },
    { ...one, status: 'cancelled' },
    { ...one, assigned: one.variant === 'a' ? 'b' : 'a', detour: 'ejected', fallbacks: [] },
    { ...one, propensity: 0 },
    { ...one, override: 0 },
  ];
  const { leftOut, decisions } = await evaluated(file([...others, ...odd]), '--route', ROUTE, '--weights', 'a=1');
  assert.equal(decisions, 199);
  assert.deepEqual(Object.keys(leftOut).sort(), [
    'answered by another variant',
    'cancelled',
    'copies',
    'not analysed',
    'of other routes',
    'overridden',
    'without a propensity',
  ]);
});

test('an arm that failed counts with the default reward, whoever answered in its place', async () => {
  const random = seeded(11);
  const truth = log(20_000, () => 0.8, 7);
  const records = truth.map((record) => {
    if (record.variant !== 'b' || random() < 0.5) return record;
    // The fallback's reward says nothing of b.
    return { ...record, assigned: 'b', variant: 'a', fallbacks: [{ variant: 'b', cause: '5xx' }], reward: 1 };
  });
  const { ips, snips, leftOut, decisions } = await evaluated(file(records), '--route', ROUTE, '--weights', 'b=1');
  assert.deepEqual([decisions, leftOut], [20_000, {}]);
  for (const { low, high } of [ips, snips]) assert.ok(low < 0.4 && 0.4 < high, `${low} to ${high}`);
});

test('a log that was sampled by outcome gives the estimate of the whole one', async () => {
  const random = seeded(5);
  const all = log(30_000, (arm) => [0.1, 0.3, 0.5][arm], 3);
  // Decisions without a reward were kept one in five times.
  const kept = all.flatMap((record) => {
    const sampleRate = record.reward === 1 ? 1 : 0.2;
    return random() < sampleRate ? [{ ...record, sampleRate }] : [];
  });
  const whole = await evaluated(file(all), '--route', ROUTE, '--weights', 'b=1');
  const sampled = await evaluated(file(kept), '--route', ROUTE, '--weights', 'b=1');
  for (const name of ['ips', 'snips', 'dr'] as const)
    assert.ok(Math.abs(sampled[name]!.value - whole[name]!.value) < 0.03, `${name} ${sampled[name]!.value}`);
});

test('wrong lines are named by file and line, and nothing is evaluated', async () => {
  const good = log(3, () => 0.5);
  const path = file([...good, '{"id": ', { ...good[0], propensity: 2 }, { ...good[0], time: 'now' }]);
  const { code, out, err } = await cli(['ope', path, '--route', ROUTE]);
  assert.deepEqual([code, out], [1, '']);
  assert.match(err, /0?\.jsonl:4: .*JSON/);
  assert.match(err, /:5: propensity is 2; it must be a number from 0 to 1/);
  assert.match(err, /:6: time is "now"; it must be a number/);
  const missing = await cli(['ope', join(scratch, 'none'), '--route', ROUTE]);
  assert.match(missing.err, /none: cannot be read/);
  const shares = await cli(['ope', path, '--route', ROUTE, '--weights', 'd=1']);
  assert.equal(shares.code, 2);
  assert.match(shares.err, /names d; route shop has a, b, c/);
  const headers = file(
    [bandit('linUCB').replace('      refresh', '      context: {headers: [h]}\n      refresh')],
    'h.yaml',
  );
  const context = await cli(['ope', file(good), '--route', ROUTE, '--policy', headers]);
  assert.match(context.err, /the context uses h, which are headers or parameters/);
  // The log has the context of another policy: it is not taken for this one's.
  const logging = file(
    [bandit('linUCB').replace('      refresh', '      context: {headers: [g]}\n      refresh')],
    'g.yaml',
  );
  const held = file(good.map((record) => ({ ...record, context: new Array(16).fill(1) })));
  const other = await cli(['ope', held, '--route', logging, '--policy', headers]);
  assert.match(other.err, /the context uses h, which are headers or parameters/);
  const own = await cli(['ope', held, '--route', logging]);
  assert.match(own.out, /^3 decisions of 3 records/);
});
