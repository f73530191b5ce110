import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Change, type Coverage, coverageOf } from '../../src/testing/interval-coverage.ts';

/**
 * `npm run simulate:intervals [-- trials rows]`: how often the 95 % intervals of effects hold what the effect is without
 * sampling. Reference and window are drawn anew in each trial. Prints the shares and writes them to
 * loadtest/results/drift/intervals.json. Ends with 1 when one is below 90 %.
 */
const [trials = 400, rows = 1000] = process.argv.slice(2).map(Number);
const NORMAL: Change[] = [{ shift: 0 }, { shift: 0.2 }, { shift: 0.5 }, { shift: 1 }];
const CATEGORIES: Change = { from: [0.5, 0.3, 0.2], to: [0.4, 0.3, 0.3] };

const coverages: Coverage[] = [];
for (const statistic of ['psi', 'jensenShannon', 'lInfinity', 'wasserstein', 'ks'] as const) {
  const ofBins = statistic !== 'ks' && statistic !== 'wasserstein';
  for (const change of ofBins ? [...NORMAL, CATEGORIES] : NORMAL) {
    const found = coverageOf(statistic, change, rows, trials);
    coverages.push(found);
    const share = found.covered / trials;
    process.stdout.write(
      `${statistic}, ${JSON.stringify(change)}: ${found.truth.toFixed(4)} held by ${(100 * share).toFixed(1)} % of ${trials} intervals\n`,
    );
    if (share >= 0.9) continue;
    process.stdout.write('NOT as it should be: at least 90 % are stated\n');
    process.exitCode = 1;
  }
}
const folder = fileURLToPath(new URL('../results/drift', import.meta.url));
mkdirSync(folder, { recursive: true });
writeFileSync(`${folder}/intervals.json`, `${JSON.stringify({ nominal: 0.95, rows, coverages }, undefined, 1)}\n`);
