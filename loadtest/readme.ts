import { cpuMicrosPerRequest } from './generators/measurement.ts';
import { busyGenerators, number, type RunRecord } from './report.ts';
import { type Comparison, find, type Metric, type Panel, rate, ratioOf, type ScenarioResult } from './scenario.ts';
import { median } from './statistics.ts';
import { humanNumber } from './svg.ts';

const BEGIN = '<!-- loadtest:begin -->';
const END = '<!-- loadtest:end -->';

/** How the table calls who was measured. */
const TITLES: Record<string, string> = {
  switchyard: 'Switchyard',
  'switchyard-everything-on': 'the same with a route and the event log',
  'bare-uws': 'bare uWebSockets.js, constant answer',
  'empty-grpc-js': 'empty @grpc/grpc-js handler',
  'in-process ORT': 'ONNX Runtime in process, best batch',
  triton: 'Triton 2.51, Python backend',
  mlserver: 'MLServer',
  litserve: 'LitServe',
  bentoml: 'BentoML',
  rayserve: 'Ray Serve',
};

/** The block that README and docs show of a run: who reached what, side by side, and in docs every goal with what was reached. */
export function figuresBlock(run: RunRecord, { goals }: { goals: boolean }): string {
  const { machine, settings } = run;
  const lines = [
    `Measured on ${run.startedAt.slice(0, 10)} on ${machine.cores} cores of ${machine.cpu}, load generator beside the server, Node ${machine.node},`,
    `commit ${machine.commit}: ${settings.rounds} interleaved rounds of ${settings.seconds} s after ${settings.firstWarmupSeconds} s of warm-up, medians. \`npm run loadtest\``,
    `repeats it and rewrites this block. Raw figures: \`loadtest/results/${run.startedAt.slice(0, 10)}/\`.`,
    '',
  ];
  for (const scenario of run.scenarios) {
    if (scenario.name.startsWith('small-') || scenario.name.startsWith('mid-')) lines.push(...sideBySide(scenario), '');
    const busy = scenario.panels.flatMap((panel) =>
      busyGenerators(panel).map((text) => `- ${scenario.name}, ${panel.title}: ${text}`),
    );
    if (busy.length > 0) lines.push(...busy, '');
  }
  if (!goals) return lines.join('\n').trimEnd();
  lines.push('| goal | reached | 95 % interval | wanted | |', '|---|--:|--:|--:|---|');
  for (const scenario of run.scenarios) {
    for (const panel of scenario.panels) lines.push(...panel.comparisons.flatMap((c) => goalRow(scenario, panel, c)));
  }
  return lines.join('\n');
}

/** One row per contestant, its figures panel by panel. */
function sideBySide({ name, panels }: ScenarioResult): string[] {
  const contestants = [...new Set(panels.flatMap((panel) => panel.series.map((s) => s.name)))];
  const heads = panels.flatMap(({ title, counts }) => [
    `${counts}/s, ${title}`,
    'server CPU µs',
    'Switchyard against it',
  ]);
  const rows = contestants.map((contestant) => {
    const cells = panels.flatMap((panel) => {
      const series = find(panel.series, contestant);
      if (series === undefined) return ['', '', ''];
      const middle = (metric: Metric): number => median(series.rounds.map(metric));
      const [against] = contestant.startsWith('switchyard') ? [] : ratioOf(panel.series, 'switchyard', contestant, '');
      return [
        humanNumber(middle(rate)),
        number(middle(cpuMicrosPerRequest)),
        against === undefined ? '' : `${number(against.estimate.value)} ×`,
      ];
    });
    return `| ${[TITLES[contestant] ?? contestant, ...cells].join(' | ')} |`;
  });
  return [`| ${[name, ...heads].join(' | ')} |`, `|---|${heads.map(() => '--:').join('|')}|`, ...rows];
}

function goalRow(scenario: ScenarioResult, panel: Panel, c: Comparison): string[] {
  if (c.goal === undefined) return [];
  const { value, low, high } = c.estimate;
  const { atLeast, atMost } = c.goal;
  const met = atLeast === undefined ? value <= atMost! : value >= atLeast;
  const wanted = atLeast === undefined ? `≤ ${atMost}` : `≥ ${atLeast}`;
  const title = `${scenario.name}, ${panel.title}: ${c.text}`;
  return [
    `| ${title} | ${number(value)} ${c.unit} | ${number(low)} – ${number(high)} | ${wanted} | ${met ? 'met' : 'missed'} |`,
  ];
}

/** The text with the block between its markers replaced. Throws where it has none. */
export function replaceBlock(text: string, block: string): string {
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`the file has no block from ${BEGIN} to ${END}`);
  return `${text.slice(0, begin + BEGIN.length)}\n${block}\n${text.slice(end)}`;
}
