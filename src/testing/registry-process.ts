import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { registrySettings } from './registry.ts';

const SERVER = fileURLToPath(new URL('./registry-server.mjs', import.meta.url));

/** A registry in a process of its own, to be killed. Build first. */
export class RegistryProcess {
  readonly child: ChildProcess;
  /** What it complained of: with its log's errors, '' when all went well. */
  stderr = '';
  url = '';
  private stdout = '';

  private constructor(dataDir: string, database: string, port: number) {
    const settings = JSON.stringify(registrySettings(dataDir, database));
    this.child = spawn(process.execPath, [SERVER, settings, String(port)], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.stderr += chunk;
    });
    this.child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      this.stdout += chunk;
    });
  }

  /** Starts without waiting until it listens. */
  static launch(dataDir: string, database: string): RegistryProcess {
    return new RegistryProcess(dataDir, database, 0);
  }

  /** @param port 0: a free one. Rejects with what it wrote when it ends before it listens. */
  static async start(dataDir: string, database: string, port = 0): Promise<RegistryProcess> {
    const started = new RegistryProcess(dataDir, database, port);
    const { child } = started;
    await new Promise<void>((resolve, reject) => {
      child.stdout?.on('data', () => {
        if (!started.stdout.includes('\n')) return;
        started.url = `http://127.0.0.1:${started.stdout.trim()}`;
        resolve();
      });
      child.once('close', (code, signal) =>
        reject(new Error(`the registry ended with ${code ?? signal} before it listened:\n${started.stderr}`)),
      );
    });
    return started;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** The most resident memory it has had, in bytes. */
  peakMemory(): number {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }

  /** kill -9. Resolves when all that it wrote is here. */
  kill(): Promise<void> {
    const { child } = this;
    if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
    return new Promise((resolve) => {
      child.once('close', () => resolve());
      child.kill('SIGKILL');
    });
  }
}
