import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { describeMachine } from './machine.ts';
import { figuresBlock, replaceBlock } from './readme.ts';
import { chartName, markdownReport, panelChart, type RunRecord } from './report.ts';
import type { Scenario, Settings } from './scenario.ts';
import { codecs } from './scenarios/codecs.ts';
import { features } from './scenarios/features.ts';
import { smallBinary, smallGrpc, smallJson } from './scenarios/front-ends.ts';
import { gpu } from './scenarios/gpu.ts';
import { grpcTls } from './scenarios/grpc-tls.ts';
import { httpSockets } from './scenarios/http-sockets.ts';
import { latency } from './scenarios/latency.ts';
import { logCost } from './scenarios/log-cost.ts';
import { logFaults } from './scenarios/log-faults.ts';
import { midBinary, midJson } from './scenarios/mid-model.ts';
import { overload } from './scenarios/overload.ts';
import { registrySearches, registryWrites } from './scenarios/registry.ts';
import { registryAlias } from './scenarios/registry-alias.ts';
import { registryUploads } from './scenarios/registry-uploads.ts';
import { routes } from './scenarios/routes.ts';
import { scale } from './scenarios/scale.ts';
import { start } from './scenarios/start.ts';
import { swap } from './scenarios/swap.ts';
import { thousandModels } from './scenarios/thousand-models.ts';
import { PEERS } from './targets/peers.ts';
import { endAllServers } from './targets/server-process.ts';

const SCENARIOS: Scenario[] = [
  smallJson,
  smallBinary,
  smallGrpc,
  midBinary,
  midJson,
  codecs,
  thousandModels,
  routes,
  overload,
  latency,
  scale,
  registryWrites,
  registrySearches,
  registryUploads,
  registryAlias,
  logCost,
  logFaults,
  features,
  grpcTls,
  httpSockets,
  start,
  swap,
  gpu,
];

/** What README shows, and what runs when no scenario is named. */
const HEADLINE = [smallJson, smallBinary, smallGrpc, midBinary, midJson, codecs, thousandModels, overload, latency].map(
  (s) => s.name,
);

const USAGE = `npm run loadtest -- [scenario …] [options]

Without a scenario: ${HEADLINE.join(', ')}, in about a quarter of an hour, and the figures in README.md and
docs/benchmarks.md are replaced by what they measured.

Scenarios:
${SCENARIOS.map((s) => `  ${s.name.padEnd(16)} ${s.description}`).join('\n')}

Options:
  --quick          two short rounds of fewer variants: shows that everything runs, measures nothing
  --peers a,b      peers to measure beside: ${Object.keys(PEERS).join(', ')}; "none" for none (default: all)
  --duration s     seconds of each measurement (default 5; 2 without a scenario)
  --rounds n       interleaved rounds (default 5; 3 without a scenario)
  --out dir        folder of the report (default loadtest/results/<date>)
`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      peers: { type: 'string' },
      duration: { type: 'string' },
      rounds: { type: 'string' },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const headline = positionals.length === 0;
  const scenarios = pick(
    'scenario',
    headline ? HEADLINE : positionals,
    SCENARIOS.map((s) => s.name),
  ).map((name) => SCENARIOS.find((s) => s.name === name)!);
  const peers = values.peers === 'none' ? [] : pick('peer', values.peers?.split(',') ?? [], Object.keys(PEERS));
  const seconds = positive('--duration', values.duration, values.quick ? 1 : headline ? 2 : 5);
  const rounds = Math.ceil(positive('--rounds', values.rounds, values.quick ? 2 : headline ? 3 : 5));
  if (!existsSync(join(import.meta.dirname, '..', 'dist', 'cli', 'main.js'))) {
    throw new Error('the gateway is not built: run npm run build first');
  }

  const startedAt = new Date().toISOString();
  const out = values.out ?? join(import.meta.dirname, 'results', startedAt.slice(0, 10));
  const scratch = mkdtempSync(join(tmpdir(), 'switchyard-loadtest-'));
  const timing = {
    seconds,
    warmupSeconds: Math.max(1, Math.round(seconds / 3)),
    firstWarmupSeconds: values.quick ? 1 : headline ? 6 : 10,
  };
  const settings: Settings = {
    quick: values.quick,
    rounds,
    timing,
    peers,
    scratch,
    say: (line) => console.error(line),
  };
  const run: RunRecord = {
    startedAt,
    machine: describeMachine(),
    settings: { rounds, quick: values.quick, ...timing },
    scenarios: [],
  };
  const failed: string[] = [];
  // On exit rather than in a finally block: an interrupted run leaves nothing behind either.
  process.once('exit', () => rmSync(scratch, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }));
  for (const scenario of scenarios) {
    try {
      run.scenarios.push(await scenario.run(settings));
    } catch (error) {
      failed.push(scenario.name);
      console.error(`${scenario.name} failed: ${(error as Error).message}`);
    }
  }
  if (run.scenarios.length > 0) {
    writeReport(out, run);
    console.log(markdownReport(run, false));
  }
  if (headline) {
    console.log(figuresBlock(run, { goals: true }));
    // A quick or partial run says nothing, and must not stand where figures are expected.
    if (!values.quick && failed.length === 0) writeFigures(run);
  }
  if (failed.length > 0 && scenarios.length > 1) console.error(`failed: ${failed.join(', ')}`);
  return failed.length > 0 ? 1 : 0;
}

/** Adds this run to the folder: files of scenarios it did not run are left alone. */
function writeReport(out: string, run: RunRecord): void {
  mkdirSync(out, { recursive: true });
  for (const scenario of run.scenarios) {
    scenario.panels.forEach((panel, i) => {
      writeFileSync(join(out, chartName(scenario.name, i)), panelChart(scenario, panel));
    });
    writeFileSync(
      join(out, `${scenario.name}.json`),
      `${JSON.stringify({ ...run, scenarios: [scenario] }, null, 1)}\n`,
    );
  }
  const name = HEADLINE.every((each) => run.scenarios.some((s) => s.name === each))
    ? 'README'
    : run.scenarios.map((s) => s.name).join('+');
  writeFileSync(join(out, `${name}.md`), `${markdownReport(run, true)}\n`);
  console.error(`report: ${join(out, `${name}.md`)}`);
}

function writeFigures(run: RunRecord): void {
  const root = join(import.meta.dirname, '..');
  for (const [name, goals] of [
    ['README.md', false],
    ['docs/benchmarks.md', true],
  ] as const) {
    const file = join(root, name);
    writeFileSync(file, replaceBlock(readFileSync(file, 'utf8'), figuresBlock(run, { goals })));
    console.error(`figures: ${name}`);
  }
}

/** The asked names, all known ones when none is asked. Throws on a name that does not exist. */
function pick(kind: string, asked: readonly string[], known: readonly string[]): readonly string[] {
  for (const name of asked) {
    if (!known.includes(name)) throw new Error(`unknown ${kind} "${name}"; there are ${known.join(', ')}`);
  }
  return asked.length === 0 ? known : asked;
}

function positive(flag: string, text: string | undefined, fallback: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new Error(`${flag} is "${text}"; it takes a number above 0`);
  return value;
}

process.once('exit', endAllServers);
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => process.exit(130));
process.exitCode = await main().catch((error: Error) => {
  console.error(error.message);
  return 2;
});
