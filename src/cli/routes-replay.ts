import { type Command, Option } from 'commander';
import type { Metric } from '../config/route-schema.ts';
import type { Look, Replay } from '../experiments/replay/replay.ts';
import { CliError, EXIT, type Output } from './io.ts';
import { readLines, routeOf } from './log-files.ts';
import { collect, positiveNumber } from './options.ts';
import { formatTable } from './table.ts';

interface ReplayFlags {
  route: string[];
  name?: string;
  template?: string[];
  control?: string;
  candidate?: string;
  every: number;
  output: 'table' | 'json';
}

const VERDICT_EXIT = { pass: EXIT.ok, fail: EXIT.failed, inconclusive: 3 } as const;

/** `routes replay`: the judge over logged records. */
export function addReplay(routes: Command, output: Output, setExit: (code: number) => void): void {
  routes
    .command('replay')
    .description('run an analysis over logged records, as a canary would have been judged')
    .argument('<records...>', 'files of JSON lines: log records')
    .requiredOption('--route <file>', 'route file with the route and its analysis templates; repeatable', collect)
    .option('--name <route>', 'where the file has several')
    .option('--template <name>', "to run, repeatable; default: those of the route's canary", collect)
    .option('--control <variant>', "compare by variant instead of by the canary's roles")
    .option('--candidate <variant>')
    .addOption(new Option('--every <seconds>', 'of the log, between two looks').argParser(positiveNumber).default(1))
    .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
    .addHelpText('after', '\nExit codes: 0 passed, 1 failed or wrong input, 2 wrong command line, 3 inconclusive')
    .action(async (files: string[], flags: ReplayFlags) => setExit(await run(files, flags, output)));
}

async function run(files: string[], flags: ReplayFlags, output: Output): Promise<number> {
  const { readLogged } = await import('../experiments/replay/logged-record.ts');
  const { replay } = await import('../experiments/replay/replay.ts');
  const { route, templates } = await routeOf(flags.route, flags.name);
  const { canary } = route.spec.strategy;
  const names = new Set(
    flags.template ?? [
      ...(canary?.steps.flatMap(({ analysis }) => analysis?.templates ?? []) ?? []),
      ...(canary?.background?.templates ?? []),
    ],
  );
  const known = [...templates.keys()].join(', ') || 'none';
  if (names.size === 0)
    throw new CliError(`name an analysis template with --template; there are: ${known}`, EXIT.usage);
  const metrics = [...names].flatMap((name): Metric[] => {
    const template = templates.get(name);
    if (template === undefined)
      throw new CliError(`no AnalysisTemplate is called ${name}; there are: ${known}`, EXIT.usage);
    return template.spec.metrics;
  });
  const records = await readLines(files, readLogged);
  records.sort((a, b) => a.time - b.time);
  let result: Replay;
  try {
    const { control, candidate } = flags;
    result = replay(records, { route, metrics, control, candidate, lookEvery: flags.every * 1000 });
  } catch (error) {
    if (error instanceof RangeError) throw new CliError(error.message, EXIT.usage);
    throw error;
  }
  output.out(flags.output === 'json' ? JSON.stringify(result, undefined, 2) : render(result, records.length));
  return VERDICT_EXIT[result.verdict];
}

function render(result: Replay, records: number): string {
  const { verdict, decided, last, looks, windows, leftOut, unjudged } = result;
  const aside = Object.entries(leftOut).map(([why, count]) => `${count} ${why}`);
  const lines = [
    `${result.records} of ${records} records${aside.length === 0 ? '' : ` (left out: ${aside.join(', ')})`}, ${looks} looks, ${windows} window${windows === 1 ? '' : 's'}`,
    ...(unjudged.length === 0 ? [] : [`not judged, since they ask Prometheus: ${unjudged.join(', ')}`]),
  ];
  if (last === undefined) return [...lines, 'inconclusive: there is nothing to judge'].join('\n');
  if (decided === undefined) lines.push('', 'inconclusive at the end:', renderLook(last));
  else {
    lines.push('', `${verdict} at ${new Date(decided.time).toISOString()}:`, renderLook(decided));
    if (last !== decided) lines.push('', 'at the end:', renderLook(last));
  }
  return lines.join('\n');
}

function renderLook({ control, candidate, reports }: Look): string {
  const rows = reports.map(({ metric, verdict, requests, reason }) => [metric, verdict, String(requests), reason]);
  return [
    `control ${control.requests} requests, ${control.errors} errors · candidate ${candidate.requests} requests, ${candidate.errors} errors`,
    formatTable(['metric', 'verdict', 'requests', 'why'], rows),
  ].join('\n');
}
