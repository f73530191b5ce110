import { argoRollouts, type JudgeKind, kayenta, switchyard } from './judges.ts';
import { type Effect, rollout, SETTING } from './stream.ts';

export interface CanaryRow {
  judge: string;
  rule: string;
  /** By scenario: rolled back, of how many. */
  rolledBack: number[];
  /** Looks until the rollback: median and 90th percentile of those rolled back. */
  medianLooks: number[];
  p90Looks: number[];
}

export const SCENARIOS: { name: string; effect: Effect }[] = [
  { name: 'A/A', effect: { errors: 0, latency: 1 } },
  { name: 'errors +1 %', effect: { errors: 0.01, latency: 1 } },
  { name: 'p99 +20 %', effect: { errors: 0, latency: 1.2 } },
];

const JUDGES: JudgeKind[] = [
  switchyard(0.002, 0.05),
  switchyard(0, 0),
  argoRollouts(0.95, 1.5),
  argoRollouts(0.985, 1.1),
  kayenta(30),
  kayenta(5),
];

/** Every judge on the same rollouts. */
export function simulateCanaries(rollouts: number, say: (line: string) => void): CanaryRow[] {
  const delays = JUDGES.map(() => SCENARIOS.map((): number[] => []));
  SCENARIOS.forEach(({ name, effect }, s) => {
    for (let seed = 1; seed <= rollouts; seed++) {
      const judges = JUDGES.map((kind) => kind.start());
      const ended = new Set<number>();
      let look = 0;
      for (const pair of rollout(seed * 2654435761 + s, effect)) {
        look++;
        judges.forEach((judge, j) => {
          if (ended.has(j) || !judge(pair)) return;
          ended.add(j);
          delays[j][s].push(look);
        });
        if (ended.size === judges.length) break;
      }
    }
    say(`${name}: ${JUDGES.map((kind, j) => `${kind.name} ${delays[j][s].length}`).join('; ')}`);
  });
  return JUDGES.map(({ name, rule }, j) => ({
    judge: name,
    rule,
    rolledBack: delays[j].map((list) => list.length),
    medianLooks: delays[j].map((list) => at(list, 0.5)),
    p90Looks: delays[j].map((list) => at(list, 0.9)),
  }));
}

function at(values: number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length === 0 ? Number.NaN : sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

export function canaryReport(rows: readonly CanaryRow[], rollouts: number): string {
  const { looks, perLook, errorRate, medianMs, sigma } = SETTING;
  const share = (count: number) => `${((100 * count) / rollouts).toFixed(1)} %`;
  const delay = (row: CanaryRow, s: number) =>
    row.rolledBack[s] === 0 ? '–' : `${share(row.rolledBack[s])}, ${row.medianLooks[s]} (${row.p90Looks[s]}) looks`;
  return [
    `${rollouts} rollouts a scenario, up to ${looks} looks of ${perLook} requests on each side; ${100 * errorRate} % errors, latency`,
    `log-normal (median ${medianMs} ms, σ ${sigma}). Rolled back, and after how many looks: median (90th percentile).`,
    '',
    '| judge | A/A: false rollbacks | errors +1 % | p99 +20 % |',
    '|---|--:|--:|--:|',
    ...rows.map((row) => `| ${row.judge} | ${share(row.rolledBack[0])} | ${delay(row, 1)} | ${delay(row, 2)} |`),
    '',
    ...rows.map((row) => `- ${row.judge}: ${row.rule}.`),
  ].join('\n');
}
