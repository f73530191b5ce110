import http from 'node:http';
import https from 'node:https';

export interface LoadOptions {
  url: URL;
  body: Buffer;
  token?: string;
  concurrency: number;
  durationMs: number;
  /** Requests per second on a fixed schedule; absent: each connection sends as soon as it was answered. */
  rate?: number;
}

export interface LoadResult {
  requestsPerSecond: number;
  succeeded: number;
  failed: number;
  /** HTTP status or error code → how often. */
  errors: Record<string, number>;
  p50Ms: number;
  p90Ms: number;
  p99Ms: number;
  maxMs: number;
}

/** The nearest-rank percentile of ascending values; 0 when there are none. */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return 0;
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))];
}

/**
 * Sends one request over and over on keep-alive connections. In the open loop a request's latency counts from the time
 * it was due, so that a stalled server is not asked less and flattered for it.
 */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const { url, concurrency, durationMs } = options;
  const secure = url.protocol === 'https:';
  const agentOptions = { keepAlive: true, maxSockets: concurrency };
  const agent = secure ? new https.Agent(agentOptions) : new http.Agent(agentOptions);
  const latencies: number[] = [];
  const errors: Record<string, number> = {};
  let failed = 0;
  const start = performance.now();
  const end = start + durationMs;
  const interval = options.rate === undefined ? 0 : 1000 / options.rate;
  let next = 0;

  const connection = async (): Promise<void> => {
    while (true) {
      const due = interval === 0 ? performance.now() : start + interval * next++;
      if (due >= end || performance.now() >= end) return;
      // Timers may fire a little early, and a request sent before it is due would look faster than it was.
      for (let early = due - performance.now(); early > 0; early = due - performance.now())
        await new Promise((resolve) => setTimeout(resolve, early));
      const outcome = await sendOne(options, agent, secure);
      if (outcome === '') latencies.push(performance.now() - due);
      else {
        failed++;
        errors[outcome] = (errors[outcome] ?? 0) + 1;
      }
    }
  };
  await Promise.all(Array.from({ length: concurrency }, connection));
  const seconds = (performance.now() - start) / 1000;
  agent.destroy();
  const sorted = Float64Array.from(latencies).sort();
  return {
    requestsPerSecond: latencies.length / seconds,
    succeeded: latencies.length,
    failed,
    errors,
    p50Ms: percentile(sorted, 0.5),
    p90Ms: percentile(sorted, 0.9),
    p99Ms: percentile(sorted, 0.99),
    maxMs: percentile(sorted, 1),
  };
}

/** '' for a 2xx answer, otherwise what went wrong. Never rejects. */
function sendOne(options: LoadOptions, agent: http.Agent, secure: boolean): Promise<string> {
  const headers: Record<string, string | number> = {
    'content-type': 'application/json',
    'content-length': options.body.byteLength,
  };
  if (options.token !== undefined) headers.authorization = `Bearer ${options.token}`;
  return new Promise((resolve) => {
    const request = (secure ? https : http).request(options.url, { method: 'POST', agent, headers }, (response) => {
      const status = response.statusCode ?? 0;
      response.resume();
      response.on('end', () => resolve(status >= 200 && status < 300 ? '' : String(status)));
      response.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    });
    request.setTimeout(60_000, () => request.destroy(new Error('timeout')));
    request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    request.end(options.body);
  });
}
