import { type ChildProcess, fork } from 'node:child_process';
import { createRequire } from 'node:module';
import { extname } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { childEnvironment } from './environment.ts';

const STDERR_TAIL_BYTES = 4096;

export interface Forked {
  process: ChildProcess;
  /** The last 4 KiB the child wrote to stderr: for the log, never for clients. */
  stderrTail(): string;
}

/**
 * Forks `entry` (without extension, relative to `base`) with advanced serialization and a clean environment. The file
 * has the extension of the running code; TypeScript sources bring the loader they run under along.
 *
 * @param base import.meta.url of the caller
 */
export function forkEntry(entry: string, base: string): Forked {
  const extension = extname(fileURLToPath(base));
  const path = fileURLToPath(new URL(entry + extension, base));
  const execArgv = extension === '.ts' ? ['--import', pathToFileURL(createRequire(base).resolve('tsx/esm')).href] : [];
  const child = fork(path, [], {
    serialization: 'advanced',
    execArgv,
    env: childEnvironment(process.env),
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let tail = Buffer.alloc(0);
  child.stderr?.on('data', (chunk: Buffer) => {
    tail = Buffer.concat([tail, chunk]).subarray(-STDERR_TAIL_BYTES);
  });
  return { process: child, stderrTail: () => tail.toString('utf8') };
}

/** How a child ended, in words: "crashed with SIGSEGV", "exited with code 3". */
export function describeExit(code: number | null, signal: NodeJS.Signals | null): string {
  return signal === null ? `exited with code ${code ?? 'unknown'}` : `crashed with ${signal}`;
}
