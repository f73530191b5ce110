import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  allowedAlarms,
  FALSE_ALARMS,
  type Rate,
  ROWS,
  simulateAlarms,
  twentyColumns,
} from '../../src/testing/false-alarms.ts';

/**
 * `npm run simulate:drift [-- references windows]`: how often a window in which nothing changed is flagged, and how often
 * one in which something did. Every reference is drawn anew. Prints the rates and writes them to
 * loadtest/results/drift/false-alarms.json. Ends with 1 when the rate is above its stated level by more than chance.
 */
const [references = 100, windows = 20] = process.argv.slice(2).map(Number);

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
  // The other statistics: first without a threshold, then with one that their users know.
  [{ jensenShannon: 1e-9 }, 0],
  [{ lInfinity: 1e-9 }, 0],
  [{ wasserstein: 1e-9 }, 0],
  [{ ks: 1e-9 }, 0],
  [{ lInfinity: 0.1 }, 0],
  [{ wasserstein: 0.1 }, 0],
  [{ ks: 0.1 }, 0],
];

const rates: Rate[] = [];
for (const [i, [statistics, shift]] of CASES.entries()) {
  const rate = simulateAlarms({ statistics, shift, seed: 100 + i, references, windows, columns: twentyColumns });
  rates.push(rate);
  const share = ((100 * rate.flagged) / rate.windows).toFixed(2);
  const what = shift === 0 ? 'nothing changed' : `three of 20 columns moved by ${shift} σ`;
  process.stdout.write(
    `${JSON.stringify(statistics)}, ${what}: ${rate.flagged} of ${rate.windows} windows flagged (${share} %)\n`,
  );
  if (shift === 0 && rate.flagged > allowedAlarms(rate)) {
    process.stdout.write(`NOT as it should be: at most ${FALSE_ALARMS * 100} % are stated\n`);
    process.exitCode = 1;
  }
}
const folder = fileURLToPath(new URL('../results/drift', import.meta.url));
mkdirSync(folder, { recursive: true });
const settings = { rows: ROWS, columns: 20, falseAlarms: FALSE_ALARMS, references, windowsEach: windows };
writeFileSync(`${folder}/false-alarms.json`, `${JSON.stringify({ settings, rates }, undefined, 1)}\n`);
