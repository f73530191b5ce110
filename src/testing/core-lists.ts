import { readdirSync, readFileSync } from 'node:fs';

/** Cores that each thread of a process may use, as `0-3`, by the kernel's number of the thread. */
export function coreLists(pid: number): Map<number, string> {
  const lists = new Map<number, string>();
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const list = coresIn(`/proc/${pid}/task/${thread}/status`);
    if (list !== undefined) lists.set(Number(thread), list);
  }
  return lists;
}

/** Those that a `status` file names; undefined: its thread has ended. */
function coresIn(file: string): string | undefined {
  try {
    return /Cpus_allowed_list:\s*(\S+)/.exec(readFileSync(file, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
