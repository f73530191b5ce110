import { readdirSync, readFileSync } from 'node:fs';

/** Nanoseconds of CPU that each thread of a process has used, by thread id. */
export function threadCpu(pid: number): Map<number, number> {
  const used = new Map<number, number>();
  for (const name of readdirSync(`/proc/${pid}/task`)) {
    try {
      const [ns] = readFileSync(`/proc/${pid}/task/${name}/schedstat`, 'utf8').split(' ');
      used.set(Number(name), Number(ns));
    } catch {
      // It ended between the listing and the read.
    }
  }
  return used;
}

/** Threads with a nice value of their own. */
export function nicedThreads(pid: number): number[] {
  return [...threadCpu(pid).keys()].filter((tid) => {
    const line = readFileSync(`/proc/${pid}/task/${tid}/stat`, 'utf8');
    return Number(line.slice(line.lastIndexOf(')') + 2).split(' ')[16]) > 0;
  });
}

/** What each thread used between two readings. */
export function usedBetween(
  before: ReadonlyMap<number, number>,
  after: ReadonlyMap<number, number>,
): Map<number, number> {
  return new Map([...after].map(([tid, ns]) => [tid, ns - (before.get(tid) ?? 0)]));
}
