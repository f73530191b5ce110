import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { registrySettings } from './registry.ts';

const SERVER = fileURLToPath(new URL('./registry-server.mjs', import.meta.url));
const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url));

let bundled: string | undefined;

/**
 * The built registry as one file that is gone with this process: reading and linking its five hundred modules costs
 * more than all else that a test which kills hundreds of registries does. Below node_modules, where what is not bundled
 * is found.
 */
function bundle(): string {
  if (bundled !== undefined) return bundled;
  const cache = join(realpathSync(MODULES), '.cache');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'registry-server-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const outfile = join(folder, 'server.cjs');
  buildSync({
    entryPoints: [SERVER],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    external: ['libsql', 'pg', '@aws-sdk/*'],
    logLevel: 'error',
  });
  bundled = outfile;
  return outfile;
}

/** A registry in a process of its own, to be killed. Build first. */
export class RegistryProcess {
  readonly child: ChildProcess;
  /** What it complained of: with its log's errors, '' when all went well. */
  stderr = '';
  url = '';
  private stdout = '';

  private constructor() {
    this.child = spawn(process.execPath, [bundle()], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.stderr += chunk;
    });
    this.child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      this.stdout += chunk;
    });
    // Of one that was killed before it read what to open.
    this.child.stdin?.on('error', () => {});
  }

  /** A process that has its code and opens nothing yet. */
  static prepare(): RegistryProcess {
    return new RegistryProcess();
  }

  /** @param port 0: a free one. Rejects with what it wrote when it ends before it listens. */
  static start(dataDir: string, database: string, port = 0): Promise<RegistryProcess> {
    return RegistryProcess.prepare().open(dataDir, database, port);
  }

  /** Lets it open without waiting until it listens. */
  launch(dataDir: string, database: string, port = 0): void {
    this.child.stdin?.write(`${JSON.stringify({ settings: registrySettings(dataDir, database), port })}\n`);
  }

  /** As start, of a prepared one. */
  async open(dataDir: string, database: string, port = 0): Promise<RegistryProcess> {
    const { child } = this;
    const listening = new Promise<void>((resolve, reject) => {
      child.stdout?.on('data', () => {
        if (!this.stdout.includes('\n')) return;
        this.url = `http://127.0.0.1:${this.stdout.trim()}`;
        resolve();
      });
      child.once('close', (code, signal) =>
        reject(new Error(`the registry ended with ${code ?? signal} before it listened:\n${this.stderr}`)),
      );
    });
    this.launch(dataDir, database, port);
    await listening;
    return this;
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
