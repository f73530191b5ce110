import { once } from 'node:events';
import { createServer } from 'node:net';

/** The system gives connections and servers that ask for any port those from 32768 on. */
const [FIRST, LAST] = [20_000, 29_999];

/**
 * Ports for servers that are told which one, or that come back at the same one: free now, and never one that another
 * process gets meanwhile without having asked for it.
 */
export async function steadyPorts(count: number): Promise<number[]> {
  const probes: ReturnType<typeof createServer>[] = [];
  const ports: number[] = [];
  while (ports.length < count) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST + 1));
    const probe = createServer();
    const free = once(probe, 'listening').then(
      () => true,
      () => false,
    );
    probe.listen(port, '127.0.0.1');
    if (!(await free)) continue;
    probes.push(probe);
    ports.push(port);
  }
  for (const probe of probes) await new Promise((closed) => probe.close(closed));
  return ports;
}
