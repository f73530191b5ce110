import { type ChildProcess, fork } from 'node:child_process';
import { loaderFlags, programFile } from '../../shared/program-files.ts';
import { childEnvironment } from './environment.ts';

const STDERR_TAIL_BYTES = 4096;

export interface Forked {
  process: ChildProcess;
  /** The last 4 KiB the child wrote to stderr: for the log, never for clients. */
  stderrTail(): string;
}

/** Forks an entry of the program, as `models/preflight/child`, with advanced serialization and a clean environment. */
export function forkEntry(entry: string): Forked {
  const child = fork(programFile(entry), [], {
    serialization: 'advanced',
    execArgv: loaderFlags(),
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
