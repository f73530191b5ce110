import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { programFile } from '../shared/program-files.ts';
import type { SupervisorSettings } from './supervisor-settings.ts';

/** The server's exit code for a configuration or start-up mistake: starting again would not help. */
export const EXIT_CONFIG = 78;

const WINDOW_MS = 60_000;
const CRASHES_TO_QUARANTINE = 3;
const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 10_000;

export function crashFile(dataDir: string): string {
  return join(dataDir, 'crashes.json');
}

/** Times (ms since the epoch) of the gateway process's crashes within the last minute, oldest first. */
export function recentCrashes(dataDir: string, now: number): number[] {
  const file = crashFile(dataDir);
  if (!existsSync(file)) return [];
  try {
    const times = JSON.parse(readFileSync(file, 'utf8')) as unknown;
    return Array.isArray(times)
      ? times.filter((time): time is number => typeof time === 'number' && now - time < WINDOW_MS)
      : [];
  } catch {
    return [];
  }
}

/** True when the newest version has to be set aside before serving again. */
export function mustQuarantine(crashes: readonly number[]): boolean {
  return crashes.length >= CRASHES_TO_QUARANTINE;
}

export function recordCrashes(dataDir: string, times: readonly number[]): void {
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(crashFile(dataDir), JSON.stringify(times));
}

/** Milliseconds to wait after the n-th crash in a row: short at first, so that one crash costs about a second. */
export function restartDelay(crashesInARow: number): number {
  const doublings = Math.max(0, crashesInARow - CRASHES_TO_QUARANTINE);
  return Math.min(FIRST_DELAY_MS * 2 ** Math.min(doublings, 20), LONGEST_DELAY_MS);
}

/** So many cores the threads that serve keep busy by themselves: a gateway thread and an executor. */
const CROWDED_CORES = 2;

/**
 * Of bytecode, twice to three times what V8 takes by itself: a request goes through many small functions, and where its way
 * is longer, as behind a route, the budget was spent before the end of it.
 */
const INLINING = ['--max-inlined-bytecode-size=920', '--max-inlined-bytecode-size-cumulative=3000'];

/**
 * Flags of V8 for the gateway process. Its collector's helper threads are no nicer than those that serve: on few cores they take
 * a core from a model's run, and a gateway thread that collects waits for helpers that wait for a core.
 */
export function engineFlags(cores: number): string[] {
  return cores <= CROWDED_CORES ? ['--single-threaded-gc', ...INLINING] : INLINING;
}

/** How the server process ended: by a signal, or with a code. */
export interface ServerEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** The supervisor's exit code if the server's end is final; undefined: it crashed, start it again. */
export function finalExitCode(end: ServerEnd, stopping: boolean, restart: boolean): number | undefined {
  if (stopping) return end.code ?? 0;
  if (end.code === 0 || end.code === EXIT_CONFIG) return end.code;
  return restart ? undefined : (end.code ?? 1);
}

/**
 * Runs the server as a child process and starts it again when it crashes. The crash times are left in the data
 * directory: a server that starts after three within a minute quarantines the newest model version. `settings` is asked
 * at each crash. Resolves with the exit code once the child ended by itself or was told to.
 */
export function supervise(args: readonly string[], settings: () => Promise<SupervisorSettings>): Promise<number> {
  let child: ChildProcess | undefined;
  let stopping = false;
  let crashesInARow = 0;
  let wake: () => void = () => {};
  const stop = (signal: NodeJS.Signals): void => {
    stopping = true;
    child?.kill(signal);
    wake();
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('SIGHUP', () => child?.kill('SIGHUP'));

  const loop = async (): Promise<number> => {
    while (true) {
      const startedAt = Date.now();
      const execArgv = [...engineFlags(availableParallelism()), ...process.execArgv];
      child = fork(programFile('main'), args, { stdio: 'inherit', execArgv });
      const end = await ended(child);
      child = undefined;
      const { dataDir, restart } = await settings();
      const code = finalExitCode(end, stopping, restart);
      if (code !== undefined) return code;
      const now = Date.now();
      crashesInARow = now - startedAt < WINDOW_MS ? crashesInARow + 1 : 1;
      noteCrash(dataDir, now, end);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, restartDelay(crashesInARow));
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      if (stopping) return 0;
    }
  };
  return loop();
}

function ended(child: ChildProcess): Promise<ServerEnd> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    // It could not even be started: no 'exit' follows.
    child.once('error', (error) => {
      say(`the gateway process could not be started: ${error.message}`);
      if (child.pid === undefined) resolve({ code: 1, signal: null });
    });
  });
}

function noteCrash(dataDir: string, now: number, { code, signal }: ServerEnd): void {
  say(`the gateway process ended with ${signal ?? `code ${code}`}; starting it again`);
  try {
    recordCrashes(dataDir, [...recentCrashes(dataDir, now), now]);
  } catch (error) {
    // Serving again matters more than the count.
    say(`the crash could not be noted in the data directory: ${(error as NodeJS.ErrnoException).code}`);
  }
}

/** A log line like the server's own. */
function say(msg: string): void {
  process.stderr.write(`${JSON.stringify({ level: 50, time: Date.now(), name: 'supervisor', msg })}\n`);
}
