import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HttpRequest } from '../payloads.ts';
import { cacheFolder } from '../targets/venv.ts';
import type { GeneratorResult, Load } from './measurement.ts';
import { runTool } from './run-tool.ts';
import { headerLines } from './wrk.ts';

const REMEDY = 'install it with: cargo install oha --locked --no-default-features --features rustls';

export interface OpenLoad extends Load {
  requestsPerSecond: number;
}

/** An open-loop result also knows how quickly requests that were not served were answered. */
export interface OpenResult extends GeneratorResult {
  refused: { p50: number; p99: number };
}

/**
 * Open loop over HTTP/1.1: requests are due at a constant rate whatever the answers do, and each latency counts from
 * the moment its request was due, so a stalled server cannot hide the wait it caused.
 */
export async function oha(port: number, request: HttpRequest, load: OpenLoad, scratch: string): Promise<OpenResult> {
  const body = join(scratch, 'oha-body');
  writeFileSync(body, request.body);
  const args = ['--no-tui', '--output-format', 'json', '--stats-success-breakdown', '--worker-threads', '1', '-w'];
  args.push('-z', `${load.seconds}s`, '-q', String(Math.round(load.requestsPerSecond)), '--latency-correction');
  args.push('-c', String(load.connections), '-m', 'POST', '-D', body);
  for (const line of headerLines(request)) args.push('-H', line);
  const url = `http://127.0.0.1:${port}${request.path}`;
  return parseOha(await runTool(ohaBinary(), [...args, url], REMEDY));
}

/** The one on the PATH, or one built by cargo and kept. */
function ohaBinary(): string {
  const root = join(cacheFolder(), 'oha');
  const cached = join(root, 'bin', 'oha');
  if (existsSync(cached)) return cached;
  if (spawnSync('oha', ['--version']).status === 0) return 'oha';
  console.error('building oha (once)');
  try {
    const features = ['--no-default-features', '--features', 'rustls'];
    execFileSync('cargo', ['install', 'oha', '--locked', ...features, '--root', root], { stdio: 'pipe' });
  } catch (error) {
    const { stderr } = error as { stderr?: Buffer };
    throw new Error(`oha cannot be built (${stderr?.toString().slice(-2000) ?? (error as Error).message}); ${REMEDY}`);
  }
  return cached;
}

type Percentiles = Record<'p50' | 'p90' | 'p99' | 'p99.9', number | null>;

interface OhaReport {
  summary: { total: number; slowest: number | null };
  latencyPercentiles: Percentiles;
  latencyPercentilesSuccessful: Percentiles;
  latencyPercentilesNotSuccessful: Percentiles;
  statusCodeDistribution: Record<string, number>;
  errorDistribution: Record<string, number>;
}

/** Reads oha's JSON report (seconds) into milliseconds. `latency` is that of successful requests. */
export function parseOha(output: string): OpenResult {
  const report = JSON.parse(output) as OhaReport;
  const ms = (seconds: number | null): number => (seconds === null ? Number.NaN : seconds * 1000);
  const total = (counts: Record<string, number>): number => Object.values(counts).reduce((a, b) => a + b, 0);
  const served = report.latencyPercentilesSuccessful;
  const refused = report.latencyPercentilesNotSuccessful;
  const succeeded = Object.entries(report.statusCodeDistribution)
    .filter(([status]) => status.startsWith('2'))
    .reduce((sum, [, count]) => sum + count, 0);
  return {
    requests: total(report.statusCodeDistribution),
    seconds: report.summary.total,
    succeeded,
    statuses: report.statusCodeDistribution,
    errors: total(report.errorDistribution),
    latency: {
      p50: ms(served.p50),
      p90: ms(served.p90),
      p99: ms(served.p99),
      p999: ms(served['p99.9']),
      max: ms(report.summary.slowest),
    },
    refused: { p50: ms(refused.p50), p99: ms(refused.p99) },
    generatorThreads: 1,
  };
}
