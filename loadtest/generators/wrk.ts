import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HttpRequest } from '../payloads.ts';
import type { GeneratorResult, Load } from './measurement.ts';
import { runTool } from './run-tool.ts';

const SCRIPT = join(import.meta.dirname, 'post.lua');
const REMEDY = 'install the wrk package (Debian: apt-get install wrk)';

interface WrkReport {
  requests: number;
  micros: number;
  status: number;
  connect: number;
  read: number;
  write: number;
  timeout: number;
  p50: number;
  p90: number;
  p99: number;
  p999: number;
  max: number;
}

/**
 * Closed loop over HTTP/1.1 keep-alive: every connection sends its next request as soon as it has its answer.
 * `paths`: requests go to these in turn instead of `request.path`; behind a path, after a tab, may stand a header of its
 * own ("name: value"). `scratch`: folder for the request files.
 */
export async function wrk(
  port: number,
  request: HttpRequest,
  load: Load,
  scratch: string,
  paths?: readonly string[],
): Promise<GeneratorResult> {
  const files = [join(scratch, 'wrk-body'), join(scratch, 'wrk-headers')];
  writeFileSync(files[0], request.body);
  writeFileSync(files[1], headerLines(request).join('\n'));
  if (paths !== undefined) {
    files.push(join(scratch, 'wrk-paths'));
    writeFileSync(files[2], paths.join('\n'));
  }
  const url = `http://127.0.0.1:${port}${request.path}`;
  const size = ['-t', '1', '-c', String(load.connections), '-d', `${load.seconds}s`, '--timeout', '10s'];
  const output = await runTool('wrk', [...size, '-s', SCRIPT, url, '--', ...files], REMEDY);
  return parseWrk(output);
}

/** Reads the line of JSON that post.lua prints. */
export function parseWrk(output: string): GeneratorResult {
  const line = output.split('\n').find((text) => text.startsWith('{'));
  if (line === undefined) throw new Error(`wrk printed no result:\n${output}`);
  const report = JSON.parse(line) as WrkReport;
  const ms = (micros: number): number => micros / 1000;
  return {
    requests: report.requests,
    seconds: report.micros / 1e6,
    succeeded: report.requests - report.status,
    statuses: { '2xx': report.requests - report.status, 'not 2xx': report.status },
    errors: report.connect + report.read + report.write + report.timeout,
    latency: {
      p50: ms(report.p50),
      p90: ms(report.p90),
      p99: ms(report.p99),
      p999: ms(report.p999),
      max: ms(report.max),
    },
    generatorThreads: 1,
  };
}

export function headerLines(request: HttpRequest): string[] {
  return Object.entries(request.headers).map(([name, value]) => `${name}: ${value}`);
}
