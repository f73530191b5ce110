import { readFile } from 'node:fs/promises';

const INTERVAL_MS = 1000;

/**
 * Looks at a process's resident memory each second, and calls `exceeded` once with its bytes when they are over `limit`.
 * Where there is no /proc, nothing is watched. Returns what ends the watch.
 */
export function watchMemory(
  pid: number,
  limit: number,
  exceeded: (bytes: number) => void,
  intervalMs = INTERVAL_MS,
): () => void {
  const timer = setInterval(async () => {
    const bytes = await residentBytes(pid);
    if (bytes <= limit || ended) return;
    stop();
    exceeded(bytes);
  }, intervalMs);
  timer.unref();
  let ended = false;
  const stop = () => {
    ended = true;
    clearInterval(timer);
  };
  return stop;
}

/** Bytes of a process in memory; 0 when it is gone. VmRSS and not statm: that counts in pages of unknown size. */
export async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}
