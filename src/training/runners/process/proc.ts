import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** A process that cannot be mistaken for a later one with its number. */
export interface ProcessId {
  pid: number;
  /** Ticks since the boot `boot`; '' where there is no /proc. */
  startTime: string;
  boot: string;
}

/** Variable that marks every process of an attempt, whatever session or parent it has got itself. */
export const COOKIE = 'SWITCHYARD_ATTEMPT';

const read = (file: string): string => {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
};

const boot = read('/proc/sys/kernel/random/boot_id').trim();

interface Stat {
  state: string;
  startTime: string;
}

function stat(pid: number): Stat | undefined {
  const text = read(`/proc/${pid}/stat`);
  // The name may hold spaces and parentheses.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return text === '' ? undefined : { state: fields[0], startTime: fields[19] };
}

export function processId(pid: number): ProcessId {
  return { pid, startTime: stat(pid)?.startTime ?? '', boot };
}

/** Whether it still runs. Where there is no /proc, whether anything of that number does. */
export function isAlive(id: ProcessId): boolean {
  if (id.startTime === '') return signal(id.pid, 0);
  if (id.boot !== boot) return false;
  const now = stat(id.pid);
  return now !== undefined && now.startTime === id.startTime && now.state !== 'Z' && now.state !== 'X';
}

/** False: there is no such process. */
export function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}

/** Processes that carry the cookie of an attempt, besides this one. Empty where there is no /proc. */
export function marked(name: string): number[] {
  const needle = `${COOKIE}=${name}`;
  return pids().filter((pid) => {
    if (pid === process.pid) return false;
    return read(`/proc/${pid}/environ`).split('\0').includes(needle) && stat(pid)?.state !== 'Z';
  });
}

function pids(): number[] {
  try {
    return readdirSync('/proc')
      .filter((entry) => /^\d+$/.test(entry))
      .map(Number);
  } catch {
    return [];
  }
}

/** A process with all its descendants. */
export function tree(root: number): number[] {
  const found = [root];
  for (let i = 0; i < found.length; i++) {
    const pid = found[i];
    let threads: string[] = [];
    try {
      threads = readdirSync(`/proc/${pid}/task`);
    } catch {
      // Gone meanwhile.
    }
    for (const thread of threads) {
      const children = read(`/proc/${pid}/task/${thread}/children`).trim();
      if (children !== '') found.push(...children.split(' ').map(Number));
    }
  }
  return found;
}

/** Bytes of a process that are its own: what it allocated and what it shares by name, not files mapped in. */
export function ownMemory(pid: number): number {
  const text = read(`/proc/${pid}/status`);
  const kilobytes = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0);
  return (kilobytes('RssAnon') + kilobytes('RssShmem')) * 1024;
}

/**
 * Ends everything that carries the cookie: `first` to all, KILL to what is left after `graceMs`. Resolves when nothing is
 * left, at the latest 5 s after the KILL.
 */
export async function endMarked(name: string, first: 'SIGTERM' | 'SIGKILL', graceMs: number): Promise<void> {
  let left = marked(name);
  for (const pid of left) signal(pid, first);
  const killAt = performance.now() + graceMs;
  let pause = 5;
  while (left.length > 0 && performance.now() < killAt + 5000) {
    await sleep(pause);
    pause = Math.min(pause * 2, 100);
    left = marked(name);
    if (first === 'SIGKILL' || performance.now() >= killAt) for (const pid of left) signal(pid, 'SIGKILL');
  }
}
