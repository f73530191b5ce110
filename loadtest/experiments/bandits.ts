import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { draw } from '../../src/routing/policies/distribution.ts';
import { makeSnapshot } from '../../src/routing/policies/snapshot.ts';
import { addReward, fold, keepPerEpoch, noEpoch, type Totals } from '../../src/routing/policies/statistics.ts';
import { mulberry32 } from './random.ts';

/** Shared with mabwiser_regret.py, which plays the same rewards. */
export interface BanditScenario {
  name: string;
  /** Rates of the arms; drifting ones change places in the middle. */
  rates: number[];
  drift: boolean;
  /** Steps until a reward is known. */
  delay: number;
  /** Steps between two refreshes of the policy. */
  batch: number;
}

export const BANDIT_SETTING = { steps: 4000, scenarios: [] as BanditScenario[] };
const RATES = [0.1, 0.13, 0.17];
BANDIT_SETTING.scenarios.push(
  { name: 'Bernoulli', rates: RATES, drift: false, delay: 0, batch: 50 },
  { name: 'drifting', rates: RATES, drift: true, delay: 0, batch: 50 },
  { name: 'delayed by 500', rates: RATES, drift: false, delay: 500, batch: 50 },
  { name: 'batches of 500', rates: RATES, drift: false, delay: 0, batch: 500 },
);

export interface BanditRow {
  policy: string;
  /** Mean regret per scenario, and its standard error. */
  regret: number[];
  error: number[];
}

const POLICIES = [
  {
    name: 'Switchyard epsilonGreedy, ε 0.1',
    policy: 'epsilonGreedy',
    epsilon: 0.1,
    exploration: 1,
    floor: 0,
    halfLife: undefined,
  },
  { name: 'Switchyard ucb1, α 0.5', policy: 'ucb1', epsilon: 0, exploration: 0.5, floor: 0, halfLife: undefined },
  {
    name: 'Switchyard thompsonBeta',
    policy: 'thompsonBeta',
    epsilon: 0,
    exploration: 1,
    floor: 0,
    halfLife: undefined,
  },
  {
    name: 'Switchyard thompsonBeta, floor 0.02',
    policy: 'thompsonBeta',
    epsilon: 0,
    exploration: 1,
    floor: 0.02,
    halfLife: undefined,
  },
  {
    name: 'Switchyard thompsonBeta, half-life 1,000',
    policy: 'thompsonBeta',
    epsilon: 0,
    exploration: 1,
    floor: 0,
    halfLife: 1000,
  },
] as const;

/** Rates at a step. */
export function ratesAt({ rates, drift }: BanditScenario, step: number): number[] {
  return drift && step >= BANDIT_SETTING.steps / 2 ? [...rates].reverse() : rates;
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

function play(settings: (typeof POLICIES)[number], scenario: BanditScenario, seed: number): number {
  const arms = scenario.rates.map((_, k) => `arm${k}`);
  const spec = {
    ...settings,
    arms,
    context: undefined,
    regularisation: 1,
    reward: { range: [0, 1] as [number, number] },
  };
  const rewards = mulberry32(seed);
  const choices = mulberry32(seed + 1_000_000);
  const keep = keepPerEpoch(scenario.batch, settings.halfLife);
  let totals: Totals = { epoch: 0, arms: noEpoch(0, arms.length).arms, folded: {} };
  let epoch = noEpoch(0, arms.length);
  let pmf: readonly number[] = arms.map(() => 1 / arms.length);
  const pending: { step: number; arm: number; reward: number }[] = [];
  let regret = 0;
  for (let step = 0; step < BANDIT_SETTING.steps; step++) {
    const rates = ratesAt(scenario, step);
    const drawn = rates.map((rate) => (rewards() < rate ? 1 : 0));
    const arm = draw(pmf, choices());
    regret += Math.max(...rates) - rates[arm];
    pending.push({ step, arm, reward: drawn[arm] });
    while (pending.length > 0 && pending[0].step + scenario.delay <= step) {
      const known = pending.shift()!;
      addReward(epoch.arms[known.arm], known.reward);
    }
    if ((step + 1) % scenario.batch !== 0) continue;
    const closed = epoch.epoch + 1;
    totals = fold(totals, [{ node: 'one', closed, epochs: [epoch] }], closed, keep, (node) => node.closed);
    epoch = noEpoch(epoch.epoch + 1, arms.length);
    pmf = makeSnapshot(spec, totals.arms, step, 0).pmf!;
  }
  return regret;
}

function summary(values: readonly number[]): { mean: number; error: number } {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const squares = values.reduce((sum, v) => sum + (v - mean) ** 2, 0);
  return { mean, error: Math.sqrt(squares / (values.length - 1) / values.length) };
}

/** mabwiser's policies on the same rewards, where its environment is installed; see .ci/oracles/setup.sh. */
export function simulateMabwiser(python: string | undefined, seeds: number, say: (line: string) => void): BanditRow[] {
  if (python === undefined || !existsSync(python)) {
    say('mabwiser is left out: pass --python with an interpreter that has it');
    return [];
  }
  const run = spawnSync(python, [join(import.meta.dirname, 'mabwiser_regret.py')], {
    input: JSON.stringify({ ...BANDIT_SETTING, seeds }),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (run.status !== 0) throw new Error(`mabwiser failed: ${run.stderr}`);
  return (JSON.parse(run.stdout) as { policy: string; regrets: number[][] }[]).map(({ policy, regrets }) => {
    const rows = regrets.map(summary);
    return { policy, regret: rows.map(({ mean }) => mean), error: rows.map(({ error }) => error) };
  });
}

export function banditReport(rows: readonly BanditRow[], seeds: number): string {
  const { steps, scenarios } = BANDIT_SETTING;
  return [
    `Regret after ${steps} steps with arms of ${RATES.join(', ')}, mean of ${seeds} seeds ± its standard error. Policies are`,
    'refreshed every 50 steps (500 where it says so), mabwiser by partial_fit at the same steps.',
    '',
    `| policy | ${scenarios.map(({ name }) => name).join(' | ')} |`,
    `|---|${scenarios.map(() => '--:').join('|')}|`,
    ...rows.map(
      ({ policy, regret, error }) =>
        `| ${policy} | ${regret.map((value, i) => `${value.toFixed(1)} ± ${error[i].toFixed(1)}`).join(' | ')} |`,
    ),
  ].join('\n');
}
