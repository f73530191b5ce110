import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Counters, freeze } from '../../src/monitoring/counters.ts';
import { monitorSchema } from '../../src/monitoring/document.ts';
import type { Value } from '../../src/monitoring/statistics/bins.ts';
import { seededRandom } from '../../src/monitoring/statistics/interval.ts';
import type { Reference } from '../../src/monitoring/types.ts';
import { judgeWindow } from '../../src/monitoring/verdict.ts';

/**
 * `npm run simulate:drift [-- references windows]`: how often a window in which nothing changed is flagged, and how often
 * one in which something did. Every reference is drawn anew. Prints the rates and writes them to
 * loadtest/results/drift/false-alarms.json. Ends with 1 when the rate is above its stated level by more than chance.
 */
const ROWS = 1000;
const FALSE_ALARMS = 0.01;
const [references = 100, windows = 20] = process.argv.slice(2).map(Number);

type Draw = (random: () => number) => Value[];

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Twenty columns of all kinds; `shift` moves three of them by so many standard deviations. */
function columns(shift: number): Draw {
  return (random) => [
    normal(random) + shift,
    Math.exp(normal(random)) * (1 + shift / 2),
    -3 * Math.log(1 - random()) * (1 + shift),
    ...Array.from({ length: 7 }, () => normal(random)),
    ...Array.from({ length: 4 }, () => Math.floor(17 * random())),
    ...Array.from({ length: 3 }, () => (random() < 0.9 ? 0 : random())),
    random() < 0.3 ? 'a' : random() < 0.5 ? 'b' : 'c',
    random() < 0.02 ? null : Math.floor(300 * random()),
    random() < 0.05,
  ];
}

interface Rate {
  statistics: Record<string, number>;
  shift: number;
  windows: number;
  flagged: number;
  insufficient: number;
}

function simulate(statistics: Record<string, number>, shift: number, seed: number): Rate {
  const { spec } = monitorSchema.parse({
    apiVersion: 'switchyard/v1',
    kind: 'Monitor',
    metadata: { name: 'simulation' },
    spec: { model: 'm', reference: { records: ROWS }, statistics, falseAlarms: FALSE_ALARMS },
  });
  const sketched = statistics.ks !== undefined || statistics.wasserstein !== undefined;
  const random = seededRandom(seed);
  const [same, moved] = [columns(0), columns(shift)];
  const names = same(random).map((_, i) => `inputs.c${i}`);
  const rate: Rate = { statistics, shift, windows: 0, flagged: 0, insufficient: 0 };
  for (let i = 0; i < references; i++) {
    const rows = Array.from({ length: ROWS }, () => ({ values: same(random), slices: [] }));
    const reference: Reference = {
      monitor: 'simulation',
      version: '1',
      digest: '',
      frozenAt: 0,
      source: '',
      ...freeze(names, rows, sketched),
    };
    for (let j = 0; j < windows; j++) {
      const counters = new Counters(reference.columns, sketched);
      for (let row = 0; row < ROWS; row++) counters.add(moved(random), []);
      const facts = {
        monitor: 'simulation',
        version: '1',
        digest: '',
        from: 0,
        to: 0,
        firstId: '',
        lastId: '',
        season: '',
      };
      const { state } = judgeWindow(spec, reference, { ...facts, slices: counters.take() }, 0);
      rate.windows++;
      if (state === 'drifted') rate.flagged++;
      if (state === 'insufficient') rate.insufficient++;
    }
  }
  return rate;
}

// Without any threshold worth the name it is the test alone that decides: its level is what is stated.
const CASES: [Record<string, number>, number][] = [
  [{ psi: 1e-9 }, 0],
  [{ psi: 0.1 }, 0],
  [{ psi: 0.2 }, 0],
  [{ jensenShannon: 0.1 }, 0],
  [{ psi: 0.1 }, 0.2],
  [{ psi: 0.1 }, 0.35],
  [{ psi: 0.1 }, 0.5],
  [{ psi: 0.2 }, 0.5],
];

const rates: Rate[] = [];
for (const [i, [statistics, shift]] of CASES.entries()) {
  const rate = simulate(statistics, shift, 100 + i);
  rates.push(rate);
  const share = ((100 * rate.flagged) / rate.windows).toFixed(2);
  const what = shift === 0 ? 'nothing changed' : `three of 20 columns moved by ${shift} σ`;
  process.stdout.write(
    `${JSON.stringify(statistics)}, ${what}: ${rate.flagged} of ${rate.windows} windows flagged (${share} %)\n`,
  );
  const bound = rate.windows * FALSE_ALARMS + 4 * Math.sqrt(rate.windows * FALSE_ALARMS);
  if (shift === 0 && rate.flagged > bound) {
    process.stdout.write(`NOT as it should be: at most ${FALSE_ALARMS * 100} % are stated\n`);
    process.exitCode = 1;
  }
}
const folder = fileURLToPath(new URL('../results/drift', import.meta.url));
mkdirSync(folder, { recursive: true });
const settings = { rows: ROWS, columns: 20, falseAlarms: FALSE_ALARMS, references, windowsEach: windows };
writeFileSync(`${folder}/false-alarms.json`, `${JSON.stringify({ settings, rates }, undefined, 1)}\n`);
