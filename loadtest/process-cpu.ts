import { readdirSync, readFileSync } from 'node:fs';

/** Linux counts CPU time in these on every architecture Node runs on (USER_HZ). */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

interface ProcessStat {
  pid: number;
  parent: number;
  session: number;
  /** Own user and system time plus that of children already reaped, seconds. */
  cpuSeconds: number;
  /** Time of reaped children alone, seconds. */
  childSeconds: number;
  /** Resident memory; pages that processes share count for each. */
  residentBytes: number;
}

/** Reads one line of /proc/<pid>/stat. The command name may hold spaces and parentheses, so fields start after its last one. */
export function parseStat(line: string): ProcessStat {
  const close = line.lastIndexOf(')');
  const fields = line.slice(close + 2).split(' ');
  const [user, system, childUser, childSystem] = fields.slice(11, 15).map(Number);
  return {
    pid: Number.parseInt(line, 10),
    parent: Number(fields[1]),
    session: Number(fields[3]),
    cpuSeconds: (user + system + childUser + childSystem) / TICKS_PER_SECOND,
    childSeconds: (childUser + childSystem) / TICKS_PER_SECOND,
    residentBytes: Number(fields[21]) * PAGE_BYTES,
  };
}

/** Pids of a server: its descendants, and whatever stayed in the session it leads after being orphaned. */
export function treeOf(all: readonly ProcessStat[], root: number): ProcessStat[] {
  const members = new Set<number>([root]);
  for (let grew = true; grew; ) {
    grew = false;
    for (const p of all) {
      if (!members.has(p.pid) && (members.has(p.parent) || p.session === root)) {
        members.add(p.pid);
        grew = true;
      }
    }
  }
  return all.filter((p) => members.has(p.pid));
}

function readAll(): ProcessStat[] {
  const all: ProcessStat[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      all.push(parseStat(readFileSync(`/proc/${name}/stat`, 'utf8')));
    } catch {
      // It ended between the listing and the read.
    }
  }
  return all;
}

/** CPU seconds used so far by the process and everything below it. */
export function treeCpuSeconds(root: number): number {
  return treeOf(readAll(), root).reduce((sum, p) => sum + p.cpuSeconds, 0);
}

/** Resident memory of the process and everything below it. */
export function treeMemoryBytes(root: number): number {
  return treeOf(readAll(), root).reduce((sum, p) => sum + p.residentBytes, 0);
}

export function treePids(root: number): number[] {
  return treeOf(readAll(), root).map((p) => p.pid);
}

/** CPU seconds of this process's children that have ended: the difference around a run is the load generator's. */
export function endedChildrenCpuSeconds(): number {
  return parseStat(readFileSync('/proc/self/stat', 'utf8')).childSeconds;
}
