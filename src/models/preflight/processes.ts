import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { getPriority, setPriority } from 'node:os';
import { type Forked, forkEntry } from '../../backends/process/fork.ts';
import type { PreflightOrder } from './protocol.ts';

/** How long a process waits for a further model. */
const IDLE_MS = 3000;
/** How long after the last model a spare process is started: it is ready before those that have proven one are gone. */
const SPARE_MS = 1000;
/**
 * By how much a proving process is nicer than this one: about a tenth of a busy core's time. The lowest priority would leave
 * it a hundredth, and on a server without a pause a sound version would not be proven within its time.
 */
const NICER_BY = 10;

interface Waiting {
  forked: Forked;
  /** Ends the process's wait, without its end. */
  resume: () => void;
}

/**
 * The processes at hand to prove a model: those that have just proven one, and a spare one, where it is wanted, that has
 * opened its runtime and seen no model. Proving a small model takes milliseconds, starting a process for it a quarter of a
 * second, and more on a busy machine, since the process gives way.
 */
export class ProvingProcesses {
  readonly #fork: () => Forked;
  readonly #idle: Waiting[] = [];
  #spare: Waiting | undefined;
  readonly #spareTimer: NodeJS.Timeout | undefined;

  /** @param spareBackend whose runtime a spare process opens; '': there is no spare one */
  constructor(fork: () => Forked, spareBackend: string) {
    this.#fork = fork;
    // Not at once: neither while the program starts nor while processes that have just proven a model wait for another.
    if (spareBackend !== '') this.#spareTimer = setTimeout(() => this.#makeSpare(spareBackend), SPARE_MS).unref();
  }

  /** A process that is the caller's from now on. */
  take(): Forked {
    this.#spareTimer?.refresh();
    const waiting = this.#idle.pop() ?? this.#spare;
    if (waiting === undefined) return this.#fork();
    if (waiting === this.#spare) this.#spare = undefined;
    waiting.resume();
    return waiting.forked;
  }

  /** Has a process wait a while for another model. */
  keep(forked: Forked): void {
    const leave = (): void => {
      clearTimeout(timer);
      const at = this.#idle.indexOf(waiting);
      if (at >= 0) this.#idle.splice(at, 1);
      forked.process.kill('SIGKILL');
    };
    const timer = setTimeout(leave, IDLE_MS).unref();
    const { resume } = wait(forked, leave);
    const waiting: Waiting = {
      forked,
      resume: () => {
        clearTimeout(timer);
        resume();
      },
    };
    this.#idle.push(waiting);
  }

  #makeSpare(backend: string): void {
    if (this.#spare !== undefined) return;
    const forked = this.#fork();
    // One that cannot stay is not replaced before a model has needed a process: it might go on for ever.
    const spare = wait(forked, () => {
      if (this.#spare === spare) this.#spare = undefined;
      forked.process.kill('SIGKILL');
    });
    this.#spare = spare;
    const order: PreflightOrder = { backend };
    forked.process.send(order, () => {});
  }
}

/** The process ends with this one, and does not keep it. */
function wait(forked: Forked, ended: () => void): Waiting {
  const { process: child } = forked;
  child.once('exit', ended);
  // Of one that did not start.
  child.once('error', ended);
  for (const handle of handlesOf(child)) handle?.unref();
  const resume = (): void => {
    child.off('exit', ended);
    child.off('error', ended);
    for (const handle of handlesOf(child)) handle?.ref();
  };
  return { forked, resume };
}

/** All by which a process keeps this one from its end. */
function handlesOf(child: ChildProcess): ({ ref(): void; unref(): void } | null | undefined)[] {
  return [child, child.channel, child.stderr as Socket | null];
}

/** A process of child.ts, which gives way to those that serve. */
export function forkChild(): Forked {
  const forked = forkEntry('models/preflight/child');
  // One that is ended already cannot be ended again: no news to anybody.
  forked.process.on('error', () => {});
  // Before it has made threads, which take over what it has; one that did not start has no id.
  if (forked.process.pid !== undefined) setPriority(forked.process.pid, Math.min(19, getPriority() + NICER_BY));
  return forked;
}
