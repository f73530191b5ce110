import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BANDIT_SETTING, banditReport, simulateBandits, simulateWith } from './bandits.ts';
import { canaryReport, simulateCanaries } from './canary.ts';
import { INTERVAL_SETTING, intervalReport, simulateIntervals } from './intervals.ts';
import { SETTING } from './stream.ts';

const USAGE = `npm run simulate -- canary|bandits|intervals [options]

  canary    false rollbacks and detection delay of judges on the same rollouts
  bandits   regret of policies on the same rewards
  intervals how often tests of an A/B experiment are wrong when users come again, and how soon they are right

Options:
  --runs n      rollouts a scenario (default 2000), seeds a policy (default 200), experiments (default 2000)
  --python p    interpreter with mabwiser, to play its policies too
  --vw p        the same with vowpalwabbit
  --out dir     folder of the report (default loadtest/results/experiments)
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string' }, python: { type: 'string' }, vw: { type: 'string' }, out: { type: 'string' } },
});
const out = values.out ?? join(import.meta.dirname, '..', 'results', 'experiments');
const say = (line: string) => console.error(line);
const runs = values.runs === undefined ? undefined : Number(values.runs);

if (runs !== undefined && !(Number.isInteger(runs) && runs > 1)) {
  console.error(`--runs is ${JSON.stringify(values.runs)}; it takes a whole number above 1`);
  process.exitCode = 2;
} else if (positionals[0] === 'canary') {
  const rollouts = runs ?? 2000;
  const rows = simulateCanaries(rollouts, say);
  write('canary', { rollouts, setting: SETTING, rows }, canaryReport(rows, rollouts));
} else if (positionals[0] === 'bandits') {
  const seeds = runs ?? 200;
  const rows = [
    ...simulateBandits(seeds, say),
    ...simulateWith('mabwiser_regret.py', values.python, seeds, say),
    ...simulateWith('vw_regret.py', values.vw, seeds, say),
  ];
  write('bandits', { seeds, setting: BANDIT_SETTING, rows }, banditReport(rows, seeds));
} else if (positionals[0] === 'intervals') {
  const seeds = runs ?? 2000;
  const rows = simulateIntervals(seeds, say);
  write('intervals', { seeds, setting: INTERVAL_SETTING, rows }, intervalReport(rows, seeds));
} else {
  console.error(USAGE);
  process.exitCode = 2;
}

function write(name: string, raw: object, report: string): void {
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, `${name}.json`), `${JSON.stringify(raw, null, 1)}\n`);
  writeFileSync(join(out, `${name}.md`), `${report}\n`);
  console.log(report);
}
