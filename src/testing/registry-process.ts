import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { testStorage } from './artifact-storage.ts';
import { PreparedProcess } from './prepared-process.ts';
import { registrySettings } from './registry.ts';

const SERVER = fileURLToPath(new URL('./registry-server.mjs', import.meta.url));
const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url));

let bundled: string | undefined;

/**
 * The registry as one file that is gone with this process: reading and linking its five hundred modules costs
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

/** A registry in a process of its own, to be killed. */
export class RegistryProcess extends PreparedProcess {
  url = '';

  /** A process that has its code and opens nothing yet. */
  static prepare(): RegistryProcess {
    // The SDK of S3 warns of Node's age where tests look for what went wrong.
    return new RegistryProcess(bundle(), { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' });
  }

  /** @param port 0: a free one. Rejects with what it wrote when it ends before it listens. */
  static start(dataDir: string, database: string, port = 0, artifacts = testStorage()): Promise<RegistryProcess> {
    return RegistryProcess.prepare().open(dataDir, database, port, artifacts);
  }

  /** Lets it open without waiting until it listens. */
  launch(dataDir: string, database: string, port = 0, artifacts = testStorage()): void {
    this.say({ settings: { ...registrySettings(dataDir, database), artifacts }, port });
  }

  /** As start, of a prepared one. */
  async open(dataDir: string, database: string, port = 0, artifacts = testStorage()): Promise<RegistryProcess> {
    const listening = this.firstLine();
    this.launch(dataDir, database, port, artifacts);
    this.url = `http://127.0.0.1:${await listening}`;
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
}
