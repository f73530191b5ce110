import { readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { formatBytes } from '../../format-bytes.ts';
import type { SupervisorOrder } from './order.ts';
import { ownMemory, tree } from './proc.ts';

const MEMORY_MS = 500;
/** When half of it is used, growth must be seen sooner. */
const MEMORY_SOON_MS = 100;
const DISK_MS = 2000;
/** Walking a work folder takes at most one part in so many of the supervisor's time. */
const WALK_SHARE = 20;

/** Watches what no rlimit bounds for several processes together. `exceeded` is called once, with why. */
export function watchLimits(
  roots: readonly number[],
  workDir: string,
  limits: SupervisorOrder['limits'],
  exceeded: (reason: string) => void,
): () => void {
  let stopped = false;
  const timers = new Set<NodeJS.Timeout>();
  const later = (ms: number, look: () => void): void => {
    if (stopped) return;
    const timer = setTimeout(() => {
      timers.delete(timer);
      look();
    }, ms);
    timers.add(timer);
  };
  const stop = (): void => {
    stopped = true;
    for (const timer of timers) clearTimeout(timer);
  };
  const over = (reason: string): void => {
    if (stopped) return;
    stop();
    exceeded(reason);
  };
  const memory = (): void => {
    const used = roots.flatMap(tree).reduce((sum, pid) => sum + ownMemory(pid), 0);
    if (used > limits.memoryBytes) {
      over(`out of memory: it used ${formatBytes(used)}, and may use ${formatBytes(limits.memoryBytes)}`);
      return;
    }
    later(used > limits.memoryBytes / 2 ? MEMORY_SOON_MS : MEMORY_MS, memory);
  };
  const disk = async (): Promise<void> => {
    const begun = performance.now();
    const { bavail, bsize } = await statfs(workDir).catch(() => ({ bavail: Number.POSITIVE_INFINITY, bsize: 1 }));
    if (bavail * bsize < limits.minFreeBytes) {
      over(
        `the disk is full: ${formatBytes(bavail * bsize)} are free, and ${formatBytes(limits.minFreeBytes)} must be`,
      );
      return;
    }
    const used = await usage(workDir, limits.diskBytes);
    if (used > limits.diskBytes) {
      over(`out of disk: its work folder is larger than ${formatBytes(limits.diskBytes)}`);
      return;
    }
    later(Math.max(DISK_MS, (performance.now() - begun) * WALK_SHARE), () => void disk());
  };
  later(MEMORY_SOON_MS, memory);
  later(DISK_MS / 4, () => void disk());
  return stop;
}

/** Bytes on disk below a folder; stops counting beyond `enough`. */
export async function usage(folder: string, enough: number): Promise<number> {
  let total = 0;
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) total += await usage(path, enough - total);
    else if (entry.isFile())
      total += await stat(path).then(
        ({ blocks }) => blocks * 512,
        () => 0,
      );
    if (total > enough) break;
  }
  return total;
}
