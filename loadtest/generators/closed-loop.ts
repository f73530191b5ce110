import http from 'node:http';
import { quantile } from '../statistics.ts';
import type { GeneratorResult } from './measurement.ts';

export interface JsonCall {
  method: 'GET' | 'POST';
  path: string;
  body: unknown;
}

/**
 * Closed loop in this process: each connection sends its next call when the last is answered. For calls that differ
 * from one another, which the compiled generators cannot make.
 * @param next makes the n-th call of a connection.
 */
export async function closedLoop(
  port: number,
  load: { connections: number; seconds: number },
  next: (connection: number, n: number) => JsonCall,
): Promise<GeneratorResult> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: load.connections });
  const statuses: Record<string, number> = {};
  const latencies: number[] = [];
  let errors = 0;
  const begun = performance.now();
  const end = begun + load.seconds * 1000;
  const connection = async (id: number): Promise<void> => {
    for (let n = 0; performance.now() < end; n++) {
      const call = next(id, n);
      const sent = performance.now();
      try {
        const { status } = await send(agent, port, call);
        statuses[status] = (statuses[status] ?? 0) + 1;
        latencies.push(performance.now() - sent);
      } catch {
        errors++;
      }
    }
  };
  await Promise.all(Array.from({ length: load.connections }, (_, id) => connection(id)));
  const seconds = (performance.now() - begun) / 1000;
  agent.destroy();
  const at = (q: number): number => (latencies.length === 0 ? Number.NaN : quantile(latencies, q));
  return {
    requests: latencies.length,
    seconds,
    succeeded: statuses[200] ?? 0,
    statuses,
    errors,
    latency: { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) },
    generatorThreads: 1,
  };
}

/** One call on its own or one of an agent's connections. Rejects when no whole answer comes. */
export function send(
  agent: http.Agent | undefined,
  port: number,
  { method, path, body }: JsonCall,
): Promise<{ status: number; body: string }> {
  const text = method === 'GET' ? '' : JSON.stringify(body);
  const headers =
    method === 'GET' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, method, path, headers, agent }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(text);
  });
}
