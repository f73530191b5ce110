import { cpuMicrosPerRequest, generatorUtilization, type Measurement } from './generators/measurement.ts';
import type { Machine } from './machine.ts';
import type { Series } from './rounds.ts';
import type { Comparison, Metric, Panel, ScenarioResult } from './scenario.ts';
import { rate } from './scenario.ts';
import { bootstrapMedian, type Estimate, median } from './statistics.ts';
import { type Bar, barChart, humanNumber } from './svg.ts';

/** Everything one run measured, as kept in results.json. */
export interface RunRecord {
  startedAt: string;
  machine: Machine;
  settings: { rounds: number; seconds: number; warmupSeconds: number; firstWarmupSeconds: number; quick: boolean };
  scenarios: ScenarioResult[];
}

/** Busier than this, waits for the generator are in the figure: a thread is never busy all of the time. */
const BUSY = 0.85;

/** File name of a panel's chart. */
export function chartName(scenario: string, index: number): string {
  return `${scenario}-${index + 1}.svg`;
}

export function panelChart(scenario: ScenarioResult, panel: Panel): string {
  const bars: Bar[] = panel.series.map((s) => {
    const { value, low, high } = bootstrapMedian(s.rounds.map(rate));
    return { label: s.name, value, low, high, role: s.role };
  });
  return barChart(`${scenario.name}: ${panel.title}`, `${panel.counts} per second, median with 95 % interval`, bars);
}

/** The report of a run. `charts`: whether files named by chartName lie beside it. */
export function markdownReport(run: RunRecord, charts: boolean): string {
  const { machine, settings } = run;
  const tools = Object.entries(machine.tools).map(([name, version]) => `${name}: ${version}`);
  const lines = [
    `# Load test of ${run.startedAt.slice(0, 10)}`,
    '',
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, Node ${machine.node}; commit ${machine.commit}; ${tools.join('; ')}.`,
    `${settings.rounds} interleaved rounds of ${settings.seconds} s after ${settings.warmupSeconds} s of warm-up each (${settings.firstWarmupSeconds} s before the first)${settings.quick ? ' (quick run: too short to conclude from)' : ''}. Load generator and server share the cores. Ratios are medians of the ratios within each round, with 95 % bootstrap intervals.`,
    '',
  ];
  for (const scenario of run.scenarios) {
    lines.push(`## ${scenario.name}`, '', scenario.description, '');
    scenario.panels.forEach((panel, i) => {
      lines.push(`### ${panel.title}`, '', panelTable(panel), '');
      if (charts) lines.push(`![${scenario.name}, ${panel.title}](${chartName(scenario.name, i)})`, '');
      lines.push(...panel.comparisons.map((c) => `- ${comparisonLine(c)}`));
      lines.push(...busyGenerators(panel).map((text) => `- ${text}`), '');
    });
    if (scenario.notes.length > 0) lines.push(...scenario.notes.map((note) => `- ${note}`), '');
  }
  return lines.join('\n');
}

function panelTable(panel: Panel): string {
  const header = `| target | ${panel.counts}/s | 95 % interval | p50 ms | p99 ms | server CPU µs each | generator busy | refused | no answer |`;
  const rows = panel.series.map((s) => {
    const { value, low, high } = bootstrapMedian(s.rounds.map(rate));
    const of = (metric: Metric): string => number(middle(s, metric));
    const refused = s.rounds.reduce((sum, m) => sum + m.requests - m.succeeded, 0);
    const errors = s.rounds.reduce((sum, m) => sum + m.errors, 0);
    const busy = middle(s, generatorUtilization);
    return [
      s.name,
      humanNumber(value),
      `${humanNumber(low)} – ${humanNumber(high)}`,
      of((m) => m.latency.p50),
      of((m) => m.latency.p99),
      of(cpuMicrosPerRequest),
      busy > 0 ? `${Math.round(busy * 100)} %` : '–',
      String(Math.round(refused)),
      String(errors),
    ].join(' | ');
  });
  return [header, '|---|--:|--:|--:|--:|--:|--:|--:|--:|', ...rows.map((row) => `| ${row} |`)].join('\n');
}

/** "0.61 × [0.58, 0.63] of bare …: goal ≥ 0.55, met" */
export function comparisonLine(c: Comparison): string {
  const { value, low, high } = c.estimate;
  return `${number(value)} ${c.unit} [${number(low)}, ${number(high)}] ${c.text}${goalText(c.goal, c.estimate)}`;
}

function goalText(goal: Comparison['goal'], estimate: Estimate): string {
  if (goal?.atLeast !== undefined)
    return `: goal ≥ ${goal.atLeast}, ${estimate.value >= goal.atLeast ? 'met' : 'missed'}`;
  if (goal?.atMost !== undefined) return `: goal ≤ ${goal.atMost}, ${estimate.value <= goal.atMost ? 'met' : 'missed'}`;
  return '';
}

/** The generator as the limit, named where it was. */
export function busyGenerators(panel: Panel): string[] {
  return panel.series.flatMap((s) => {
    const busy = middle(s, generatorUtilization);
    if (!(busy > BUSY)) return [];
    const percent = Math.round(busy * 100);
    return [
      `The load generator was busy ${percent} % of the time against ${s.name}: that target may be faster than this figure.`,
    ];
  });
}

function middle(series: Series, metric: (m: Measurement) => number): number {
  const values = series.rounds.map(metric).filter(Number.isFinite);
  return values.length === 0 ? Number.NaN : median(values);
}

export function number(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(3))) : '–';
}
