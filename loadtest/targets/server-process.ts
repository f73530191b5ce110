import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { get } from 'node:https';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { treePids } from '../process-cpu.ts';
import type { Ports, Target, Workload } from './target.ts';
import { TLS_FILES } from './tls.ts';

const READY_TIMEOUT_MS = 120_000;
const LOOK_MS = 10;
const STOP_TIMEOUT_MS = 10_000;

const running = new Set<number>();

/** Ends every server still running, at once. For the way out of an interrupted load test: servers lead sessions of their own. */
export function endAllServers(): void {
  for (const root of running) for (const pid of treePids(root)) signal(pid, 'SIGKILL');
}

/** A started target. */
export class ServerProcess {
  readonly pid: number;
  readonly ports: Ports;
  #exited = false;

  private constructor(child: ChildProcess, ports: Ports) {
    this.pid = child.pid!;
    this.ports = ports;
    running.add(this.pid);
    child.once('exit', () => {
      this.#exited = true;
    });
  }

  /** Starts the target on free loopback ports and waits until it is ready. Throws with the end of its log if it is not. */
  static async start(target: Target, workload: Workload): Promise<ServerProcess> {
    const ports: Ports = {
      http: await freePort(),
      grpc: await freePort(),
      metrics: await freePort(),
      admin: await freePort(),
    };
    const launch = target.launch(workload, ports);
    const logFile = join(workload.scratch, `${target.name}.log`);
    const log = openSync(logFile, 'a');
    const child = spawn(launch.command, launch.args, {
      cwd: launch.cwd,
      env: { ...process.env, ...launch.env },
      detached: true,
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    const failed = new Promise<never>((_resolve, reject) => child.once('error', reject));
    if (child.pid === undefined) await failed;
    failed.catch(() => {});
    const server = new ServerProcess(child, ports);
    try {
      await server.waitUntilReady(target);
    } catch (error) {
      await server.stop();
      const tail = readFileSync(logFile, 'utf8').split('\n').slice(-25).join('\n');
      throw new Error(`${target.name}: ${(error as Error).message}; the end of its log:\n${tail}`);
    }
    return server;
  }

  /** Resolves once it answers that it is ready, again after its gateway process was lost. */
  async waitUntilReady(target: Target): Promise<void> {
    const deadline = performance.now() + READY_TIMEOUT_MS;
    while (performance.now() < deadline) {
      if (this.#exited) throw new Error('it exited before it was ready');
      if (
        target.readyPath === undefined
          ? await accepts(this.ports.grpc)
          : target.tls
            ? await answersTls(this.ports.http, target.readyPath)
            : await answers(this.ports.http, target.readyPath)
      )
        return;
      await sleep(LOOK_MS);
    }
    throw new Error(`it was not ready within ${READY_TIMEOUT_MS / 1000} s`);
  }

  pause(): void {
    for (const pid of treePids(this.pid)) signal(pid, 'SIGSTOP');
  }

  resume(): void {
    for (const pid of treePids(this.pid)) signal(pid, 'SIGCONT');
  }

  /** Asks it to end, then ends what is left of its tree. */
  async stop(): Promise<void> {
    this.resume();
    // Taken before the parent goes: orphans are no longer found through it.
    const pids = treePids(this.pid);
    signal(this.pid, 'SIGTERM');
    const deadline = performance.now() + STOP_TIMEOUT_MS;
    while (!this.#exited && performance.now() < deadline) await sleep(50);
    for (const pid of new Set([...pids, ...treePids(this.pid)])) signal(pid, 'SIGKILL');
    while (!this.#exited) await sleep(20);
    running.delete(this.pid);
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended already.
  }
}

/** A loopback port that nothing listens on now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

async function answers(port: number, path: string): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(2000) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

function answersTls(port: number, path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const ca = readFileSync(TLS_FILES.ca);
    const request = get({ host: '127.0.0.1', port, path, ca, servername: 'localhost', timeout: 2000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.once('timeout', () => request.destroy());
    request.once('error', () => resolve(false));
  });
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
