import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The server's exit code for a configuration or start-up mistake: starting again would not help. */
export const EXIT_CONFIG = 78;

const WINDOW_MS = 60_000;
const CRASHES_TO_QUARANTINE = 3;
const RESTART_DELAY_MS = 200;

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

/**
 * Runs the server as a child process and, with `restart`, starts it again when it crashes. The crash times are left in the data
 * directory: a server that starts after three within a minute quarantines the newest model version. Resolves with the
 * exit code once the child ended by itself or was told to.
 */
export function supervise(args: string[], dataDir: string, restart = true): Promise<number> {
  const entry = fileURLToPath(new URL(`../main${extname(fileURLToPath(import.meta.url))}`, import.meta.url));
  return new Promise((resolve) => {
    let child: ChildProcess;
    let stopping = false;
    const forward = (signal: NodeJS.Signals): void => {
      stopping = true;
      child.kill(signal);
    };
    process.on('SIGTERM', forward);
    process.on('SIGINT', forward);
    process.on('SIGHUP', () => child.kill('SIGHUP'));
    const start = (): void => {
      child = fork(entry, args, { stdio: 'inherit' });
      child.on('exit', (code, signal) => {
        if (!restart || stopping || code === 0 || code === EXIT_CONFIG) {
          resolve(code ?? (stopping ? 0 : 1));
          return;
        }
        const now = Date.now();
        recordCrashes(dataDir, [...recentCrashes(dataDir, now), now]);
        process.stderr.write(
          `${JSON.stringify({ level: 50, time: now, name: 'supervisor', msg: `the gateway process ended with ${signal ?? `code ${code}`}; starting it again` })}\n`,
        );
        setTimeout(start, RESTART_DELAY_MS);
      });
    };
    start();
  });
}
