import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { PolicyName } from '../../src/config/strategy-schema.ts';
import { draw } from '../../src/routing/policies/distribution.ts';
import { isContextual, loadPolicy, makeSnapshot, policyPmf } from '../../src/routing/policies/snapshot.ts';
import { addReward, fold, keepPerEpoch, noEpoch, type Totals } from '../../src/routing/policies/statistics.ts';
import { mulberry32 } from './random.ts';

/** Shared with mabwiser_regret.py and vw_regret.py, which play the same rewards. */
export interface BanditScenario {
  name: string;
  /** Rates of the arms; drifting ones change places in the middle. */
  rates: number[];
  drift: boolean;
  /** Steps until a reward is known. */
  delay: number;
  /** Steps between two refreshes of the policy. */
  batch: number;
  /** Kinds of users, each with the arms' rates in another order. Contextual policies see which one asks. */
  segments: number;
}

export const BANDIT_SETTING = { steps: 4000, scenarios: [] as BanditScenario[] };
const RATES = [0.1, 0.13, 0.17];
const PLAIN = { rates: RATES, drift: false, delay: 0, batch: 50, segments: 1 };
BANDIT_SETTING.scenarios.push(
  { ...PLAIN, name: 'Bernoulli' },
  { ...PLAIN, name: 'drifting', drift: true },
  { ...PLAIN, name: 'delayed by 500', delay: 500 },
  { ...PLAIN, name: 'batches of 500', batch: 500 },
  { ...PLAIN, name: 'drifting, delayed by 500', drift: true, delay: 500 },
  { ...PLAIN, name: 'drifting, batches of 500', drift: true, batch: 500 },
  { ...PLAIN, name: 'three segments', segments: 3 },
);

export interface BanditRow {
  policy: string;
  /** Mean regret per scenario, and its standard error. */
  regret: number[];
  error: number[];
}

interface Settings {
  name: string;
  policy: PolicyName;
  epsilon: number;
  exploration: number;
  floor: number;
  halfLife: number | undefined;
}

const USUAL = { epsilon: 0, exploration: 1, floor: 0, halfLife: undefined };
const POLICIES: readonly Settings[] = [
  { ...USUAL, name: 'Switchyard epsilonGreedy, ε 0.1', policy: 'epsilonGreedy', epsilon: 0.1 },
  { ...USUAL, name: 'Switchyard ucb1, α 0.5', policy: 'ucb1', exploration: 0.5 },
  { ...USUAL, name: 'Switchyard thompsonBeta', policy: 'thompsonBeta' },
  { ...USUAL, name: 'Switchyard thompsonBeta, floor 0.02', policy: 'thompsonBeta', floor: 0.02 },
  { ...USUAL, name: 'Switchyard thompsonBeta, half-life 1,000', policy: 'thompsonBeta', halfLife: 1000 },
  { ...USUAL, name: 'Switchyard thompsonGaussian', policy: 'thompsonGaussian' },
  { ...USUAL, name: 'Switchyard thompsonGaussian, half-life 1,000', policy: 'thompsonGaussian', halfLife: 1000 },
  { ...USUAL, name: 'Switchyard linUCB, α 0.5', policy: 'linUCB', exploration: 0.5 },
  { ...USUAL, name: 'Switchyard linThompson, ν 0.5', policy: 'linThompson', exploration: 0.5 },
];

/** Rates at a step, for a segment of users. */
function ratesAt({ rates, drift }: BanditScenario, step: number, segment: number): number[] {
  const now = drift && step >= BANDIT_SETTING.steps / 2 ? [...rates].reverse() : rates;
  return segment === 0 ? now : now.map((_, arm) => now[(arm + segment) % now.length]);
}

export function simulateBandits(seeds: number, say: (line: string) => void): BanditRow[] {
  return POLICIES.map((settings) => {
    const rows = BANDIT_SETTING.scenarios.map((scenario) => {
      const regrets = Array.from({ length: seeds }, (_, seed) => play(settings, scenario, seed + 1));
      return summary(regrets);
    });
    say(`${settings.name}: ${rows.map(({ mean }) => mean.toFixed(1)).join(', ')}`);
    return { policy: settings.name, regret: rows.map(({ mean }) => mean), error: rows.map(({ error }) => error) };
  });
}

function play(settings: Settings, scenario: BanditScenario, seed: number): number {
  const arms = scenario.rates.map((_, k) => `arm${k}`);
  const dim = isContextual(settings.policy) ? scenario.segments : 0;
  const contexts = Array.from({ length: scenario.segments }, (_, segment) =>
    Float64Array.from({ length: scenario.segments }, (_, i) => Number(i === segment)),
  );
  const spec = {
    ...settings,
    arms,
    context: dim === 0 ? undefined : { inputs: [], headers: [], parameters: [], dim },
    regularisation: 1,
    reward: { range: [0, 1] as [number, number] },
  };
  const rewards = mulberry32(seed);
  const choices = mulberry32(seed + 1_000_000);
  const users = mulberry32(seed + 2_000_000);
  const keep = keepPerEpoch(scenario.batch, settings.halfLife);
  let totals: Totals = { epoch: 0, arms: noEpoch(0, arms.length, dim).arms, folded: {} };
  let epoch = noEpoch(0, arms.length, dim);
  let pmfs = contexts.map((): ArrayLike<number> => arms.map(() => 1 / arms.length));
  const pending: { step: number; arm: number; reward: number; x: Float64Array }[] = [];
  let regret = 0;
  for (let step = 0; step < BANDIT_SETTING.steps; step++) {
    const segment = Math.floor(users() * scenario.segments);
    const rates = ratesAt(scenario, step, segment);
    const drawn = rates.map((rate) => (rewards() < rate ? 1 : 0));
    const arm = draw(pmfs[segment], choices());
    regret += Math.max(...rates) - rates[arm];
    pending.push({ step, arm, reward: drawn[arm], x: contexts[segment] });
    while (pending.length > 0 && pending[0].step + scenario.delay <= step) {
      const known = pending.shift()!;
      addReward(epoch.arms[known.arm], known.reward, known.x);
    }
    if ((step + 1) % scenario.batch !== 0) continue;
    const closed = epoch.epoch + 1;
    totals = fold(totals, [{ node: 'one', closed, epochs: [epoch] }], closed, keep, (node) => node.closed);
    epoch = noEpoch(epoch.epoch + 1, arms.length, dim);
    const policy = loadPolicy(makeSnapshot(spec, totals.arms, step, 0));
    pmfs = contexts.map((x) => policyPmf(policy, x).slice());
  }
  return regret;
}

function summary(values: readonly number[]): { mean: number; error: number } {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const squares = values.reduce((sum, v) => sum + (v - mean) ** 2, 0);
  return { mean, error: Math.sqrt(squares / (values.length - 1) / values.length) };
}

/** What another library's policies earn on the same rewards, played by a script of this folder. */
export function simulateWith(
  script: string,
  python: string | undefined,
  seeds: number,
  say: (line: string) => void,
): BanditRow[] {
  if (python === undefined || !existsSync(python)) {
    say(`${script} is left out: name an interpreter that has what it imports`);
    return [];
  }
  const run = spawnSync(python, [join(import.meta.dirname, script)], {
    input: JSON.stringify({ ...BANDIT_SETTING, seeds }),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (run.status !== 0) throw new Error(`${script} failed: ${run.stderr}`);
  return (JSON.parse(run.stdout) as { policy: string; regrets: number[][] }[]).map(({ policy, regrets }) => {
    const rows = regrets.map(summary);
    return { policy, regret: rows.map(({ mean }) => mean), error: rows.map(({ error }) => error) };
  });
}

export function banditReport(rows: readonly BanditRow[], seeds: number): string {
  const { steps, scenarios } = BANDIT_SETTING;
  return [
    `Regret after ${steps} steps with arms of ${RATES.join(', ')}, mean of ${seeds} seeds ± its standard error. Policies are`,
    'refreshed every 50 steps (500 where it says so), mabwiser by partial_fit and vowpalwabbit by learn at the same steps. Drifting',
    'arms change places in the middle. Three segments of users find the arms good in another order each: linear policies see',
    'which one asks.',
    '',
    `| policy | ${scenarios.map(({ name }) => name).join(' | ')} |`,
    `|---|${scenarios.map(() => '--:').join('|')}|`,
    ...rows.map(
      ({ policy, regret, error }) =>
        `| ${policy} | ${regret.map((value, i) => `${value.toFixed(1)} ± ${error[i].toFixed(1)}`).join(' | ')} |`,
    ),
  ].join('\n');
}
