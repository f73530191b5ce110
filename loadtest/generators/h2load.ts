import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { quantile } from '../statistics.ts';
import type { GeneratorResult, Load } from './measurement.ts';
import { runTool } from './run-tool.ts';

const REMEDY = 'install h2load (Debian: apt-get install nghttp2-client)';
export const INFER_PATH = '/inference.GRPCInferenceService/ModelInfer';

export interface H2Load extends Load {
  /** Streams in flight at once on each connection. */
  streams: number;
  /** Constant rate over all connections; undefined: closed loop. */
  requestsPerSecond?: number;
  tls?: boolean;
}

/**
 * Posts one gRPC frame again and again over HTTP/2. h2load reads no trailers, so an answer counts as a success
 * by its bytes: `expectedFrame` is the length of a whole answer frame, and an error answer carries no data at all.
 */
export async function h2loadGrpc(
  port: number,
  frame: Uint8Array,
  expectedFrame: number,
  load: H2Load,
  scratch: string,
): Promise<GeneratorResult> {
  const body = join(scratch, 'h2load-body');
  const log = join(scratch, 'h2load-log');
  writeFileSync(body, frame);
  const args = ['-t', '1', '-c', String(load.connections), '-m', String(load.streams), '-D', String(load.seconds)];
  args.push('-d', body, '-H', 'content-type: application/grpc', '-H', 'te: trailers');
  if (load.requestsPerSecond !== undefined) {
    writeFileSync(log, '');
    args.push('--rps', String(load.requestsPerSecond / load.connections), '--log-file', log);
  }
  const output = await runTool(
    'h2load',
    [...args, `${load.tls ? 'https' : 'http'}://127.0.0.1:${port}${INFER_PATH}`],
    REMEDY,
  );
  const micros = load.requestsPerSecond === undefined ? [] : parseLog(readFileSync(log, 'utf8'));
  return parseH2load(output, load.seconds, expectedFrame, micros);
}

/** Third column of h2load's log: microseconds from a request's start to the end of its answer. */
export function parseLog(text: string): number[] {
  const micros: number[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split('\t');
    if (fields.length >= 3) micros.push(Number(fields[2]));
  }
  return micros;
}

/** Reads h2load's summary. `micros`: latencies from its log, may be empty. */
export function parseH2load(
  output: string,
  seconds: number,
  expectedFrame: number,
  micros: readonly number[],
): GeneratorResult {
  const requests = output.match(/(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/);
  const data = output.match(/\((\d+)\) data/);
  if (requests === null || data === null) throw new Error(`h2load printed no summary:\n${output}`);
  const [done, succeeded, , errored, timedOut] = requests.slice(1).map(Number);
  const whole = expectedFrame === 0 ? succeeded : Math.min(succeeded, Math.floor(Number(data[1]) / expectedFrame));
  const at = (q: number): number => (micros.length === 0 ? Number.NaN : quantile(micros, q) / 1000);
  return {
    requests: done,
    seconds,
    succeeded: whole,
    statuses: { '2xx': succeeded, 'not whole': succeeded - whole },
    errors: errored + timedOut,
    latency: { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) },
    generatorThreads: 1,
  };
}
