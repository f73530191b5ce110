import { quantile } from '../statistics.ts';
import { type JsonCall, KeepAlive } from './keep-alive.ts';
import type { GeneratorResult } from './measurement.ts';

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
  const statuses: Record<string, number> = {};
  const latencies: number[] = [];
  let errors = 0;
  const begun = performance.now();
  const end = begun + load.seconds * 1000;
  const connection = async (id: number): Promise<void> => {
    const wire = new KeepAlive(port);
    for (let n = 0; performance.now() < end; n++) {
      const call = next(id, n);
      const sent = performance.now();
      try {
        const { status } = await wire.send(call);
        statuses[status] = (statuses[status] ?? 0) + 1;
        latencies.push(performance.now() - sent);
      } catch {
        errors++;
      }
    }
    wire.close();
  };
  await Promise.all(Array.from({ length: load.connections }, (_, id) => connection(id)));
  const seconds = (performance.now() - begun) / 1000;
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

/** One call on a connection of its own. Rejects when no whole answer comes. */
export async function send(port: number, call: JsonCall): Promise<{ status: number; body: string }> {
  const wire = new KeepAlive(port);
  try {
    const { status, body } = await wire.send(call);
    return { status, body: body.toString() };
  } finally {
    wire.close();
  }
}
