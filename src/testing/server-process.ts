import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const STRAYS_MS = 30_000;
export const FIXTURES = fileURLToPath(new URL('./fixtures', import.meta.url));

export interface Ports {
  http: number;
  grpc: number;
  metrics: number;
  admin: number;
}

/** A real `switchyard serve` on free loopback ports, with a data folder of its own. Build first. */
export class ServerProcess {
  readonly child: ChildProcess;
  readonly dataDir: string;
  /** Log lines as objects, oldest first. */
  readonly log: Record<string, unknown>[] = [];
  stderr = '';
  ports: Ports = { http: 0, grpc: 0, metrics: 0, admin: 0 };
  private waiters: {
    predicate(line: Record<string, unknown>): boolean;
    resolve(line: Record<string, unknown>): void;
  }[] = [];
  private readonly ownsData: boolean;
  private readonly over: Promise<number | null>;

  private constructor(args: string[], dataDir: string | undefined, env: Record<string, string>) {
    this.ownsData = dataDir === undefined;
    this.dataDir = dataDir ?? mkdtempSync(join(tmpdir(), 'switchyard-'));
    const ports = ['--http-port', '0', '--grpc-port', '0', '--metrics-port', '0', '--admin-port', '0'];
    this.child = spawn(process.execPath, [CLI, 'serve', ...ports, '--data-dir', this.dataDir, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    const { child } = this;
    this.over = new Promise((resolve) =>
      child.once('exit', (code) => {
        // What it wrote last may still be in the pipes, which a process that it left behind may hold open.
        const timer = setTimeout(() => resolve(code), STRAYS_MS).unref();
        child.once('close', () => {
          clearTimeout(timer);
          resolve(code);
        });
      }),
    );
    let rest = '';
    const take = (chunk: string): void => {
      rest += chunk;
      const lines = rest.split('\n');
      rest = lines.pop() as string;
      for (const line of lines) if (line.startsWith('{')) this.add(JSON.parse(line) as Record<string, unknown>);
    };
    this.child.stdout?.setEncoding('utf8').on('data', take);
    this.child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.stderr += chunk;
      take(chunk);
    });
  }

  /** Starts and waits until ready. Rejects with the log when it ends before that. */
  static async start(
    args: string[],
    options: { dataDir?: string; env?: Record<string, string> } = {},
  ): Promise<ServerProcess> {
    const server = new ServerProcess(args, options.dataDir, options.env ?? {});
    const ended = server.exited().then((code) => {
      throw new Error(
        `the server ended with ${code} before it was ready:\n${server.stderr}\n${JSON.stringify(server.log.slice(-5))}`,
      );
    });
    await Promise.race([server.waitReady(), ended]);
    return server;
  }

  /** Starts without waiting: for servers that are not to become ready. */
  static launch(args: string[], options: { dataDir?: string; env?: Record<string, string> } = {}): ServerProcess {
    return new ServerProcess(args, options.dataDir, options.env ?? {});
  }

  async waitReady(from = 0): Promise<void> {
    const line = await this.waitFor((entry) => entry.msg === 'ready', from);
    this.ports = { http: line.http, grpc: line.grpc, metrics: line.metrics, admin: line.admin } as Ports;
  }

  /** The first log line, past or future, from index `from` on, that satisfies the predicate. */
  waitFor(predicate: (line: Record<string, unknown>) => boolean, from = 0): Promise<Record<string, unknown>> {
    const known = this.log.slice(from).find(predicate);
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((resolve) => this.waiters.push({ predicate, resolve }));
  }

  /** The process that serves, a child of the supervisor. Throws while there is none. */
  servingPid(): number {
    const children = readFileSync(`/proc/${this.child.pid}/task/${this.child.pid}/children`, 'utf8').trim();
    // A kill of process 0 would end the test's whole group.
    if (children === '') throw new Error('no process serves');
    return Number(children.split(' ')[0]);
  }

  /** As nothing but a lost machine ends it: neither the supervisor nor the process that serves hears of it. */
  async kill(): Promise<void> {
    const serving = this.servingPid();
    this.child.kill('SIGKILL');
    process.kill(serving, 'SIGKILL');
    await this.exited();
    // Nobody waits for an orphan but the system.
    while (existsSync(`/proc/${serving}`)) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.ports.http}${path}`;
  }

  /** Resolves with its exit code when all that it wrote is here. */
  exited(): Promise<number | null> {
    return this.over;
  }

  async stop(): Promise<number | null> {
    this.child.kill('SIGTERM');
    const code = await this.exited();
    if (this.ownsData) rmSync(this.dataDir, { recursive: true, force: true });
    return code;
  }

  private add(line: Record<string, unknown>): void {
    this.log.push(line);
    this.waiters = this.waiters.filter((waiter) => {
      if (!waiter.predicate(line)) return true;
      waiter.resolve(line);
      return false;
    });
  }
}

/** One v2 JSON inference. */
export async function infer(
  server: ServerProcess,
  model: string,
  inputs: { name: string; shape: number[]; datatype: string; data: unknown[] }[],
  headers: Record<string, string> = {},
): Promise<{
  status: number;
  body: { error?: string; model_version?: string; outputs?: { name: string; data: unknown[]; shape: number[] }[] };
}> {
  const response = await fetch(server.url(`/v2/models/${model}/infer`), {
    method: 'POST',
    headers,
    body: JSON.stringify({ inputs }),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? {} : JSON.parse(text) };
}
