import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { steadyPorts } from './ports.ts';

const SCRIPT = fileURLToPath(new URL('../../.ci/services/triton.sh', import.meta.url));

export interface TritonPorts {
  http: number;
  grpc: number;
  metrics: number;
}

/** Removes the shared memory that a killed Triton's workers left behind; triton.sh names it by the gRPC port. */
export async function sweepTriton(ports: TritonPorts): Promise<void> {
  for (const name of await readdir('/dev/shm')) {
    if (name.startsWith(`switchyard_triton_${ports.grpc}_`)) await rm(`/dev/shm/${name}`);
  }
}

export async function freeTritonPorts(): Promise<TritonPorts> {
  const [http, grpc, metrics] = await steadyPorts(3);
  return { http, grpc, metrics };
}

/** Starts a Triton of the test's own and waits until it is ready. The child is tritonserver itself. */
export async function startTriton(ports: TritonPorts): Promise<ChildProcess> {
  const child = spawn(SCRIPT, ['run'], {
    stdio: 'ignore',
    // A process group of its own: killed hard, Triton leaves its Python workers behind.
    detached: true,
    env: {
      ...process.env,
      TRITON_HTTP_PORT: String(ports.http),
      TRITON_GRPC_PORT: String(ports.grpc),
      TRITON_METRICS_PORT: String(ports.metrics),
    },
  });
  const orphan = () => process.kill(-child.pid!, 'SIGKILL');
  process.once('exit', orphan);
  child.once('exit', () => process.off('exit', orphan));
  for (let i = 0; i < 600; i++) {
    if (child.exitCode !== null) throw new Error(`triton.sh ended with code ${child.exitCode}`);
    const response = await fetch(`http://127.0.0.1:${ports.http}/v2/health/ready`).catch(() => undefined);
    if (response?.ok) return child;
    await sleep(100);
  }
  await stopTriton(child, 'SIGKILL');
  throw new Error('Triton was not ready within 60 s');
}

/** Ends a Triton that startTriton started, and the workers of its group. */
export async function stopTriton(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  process.kill(-child.pid!, signal);
  await exit;
}
