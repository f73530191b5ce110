import { readlinkSync } from 'node:fs';
import { native } from './native.ts';

/** Cores of one executor thread, by the kernel's numbers. */
export interface ExecutorCores {
  own: number[];
  /** For threads that runs of all models share; may be none. */
  runs: number[];
  /** For all others. */
  shared: number[];
}

let cores: ExecutorCores | undefined;

function use(list: readonly number[]): void {
  native?.useCores(0, Int32Array.from(list));
}

/** From now on the calling thread runs on its own cores. Returns its number as the kernel has it. */
export function takeCores(given: ExecutorCores): number {
  cores = given;
  use(given.own);
  return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
}

/** Threads that begin during `start` do not inherit the calling thread's own cores, if it has any, but have these. */
export function startOn<T>(which: 'runs' | 'shared', start: () => T): T {
  if (cores === undefined) return start();
  use(cores[which]);
  try {
    return start();
  } finally {
    use(cores.own);
  }
}
