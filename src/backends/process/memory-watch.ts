import { readFile } from 'node:fs/promises';

/**
 * Looks at a process's resident memory every `intervalMs` and calls `seen` with its bytes. Where there is no /proc,
 * nothing is seen. Returns what ends the watch.
 */
export function watchMemory(pid: number, intervalMs: number, seen: (bytes: number) => void): () => void {
  let ended = false;
  const timer = setInterval(async () => {
    const bytes = await residentBytes(pid);
    if (bytes > 0 && !ended) seen(bytes);
  }, intervalMs);
  timer.unref();
  return () => {
    ended = true;
    clearInterval(timer);
  };
}

/** Bytes of a process in memory; 0 when it is gone. VmRSS and not statm: that counts in pages of unknown size. */
export async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}
