import { setTimeout as sleep } from 'node:timers/promises';
import type { MessagePort } from 'node:worker_threads';
import type { LoadSpec, RuntimeSignature } from '../backends/backend.ts';
import type { ExecutorThreadData } from '../executor/thread.ts';
import { monotonicMs } from '../shared/clock.ts';
import type { MetricsChunk, ThreadMetrics } from '../telemetry/thread-metrics.ts';
import { ExecutorLost, ExecutorWorker, type Loaded } from './executor-worker.ts';
import { instanceOf, leastLoaded, type PoolSizes, placementOf, type Standing, standingOf } from './placement.ts';

export interface ExecutorPoolEvents {
  /** A new executor: every gateway thread must get its end of a channel. */
  onExecutor(id: number): void;
  onLost(id: number): void;
  /** A version is on other executors than before, or some can run it no more or again: the serving table must say so. */
  onStanding(handle: number, standing: Standing): void;
  /** Memory for the counters of a thread about to start. */
  threadMetrics(thread: string): ThreadMetrics;
  /** `hungMs`: how long it had computed when it was given up; 0: it ended by itself. */
  onVersionCrash(handle: number, message: string, hungMs: number): void;
  /** A hung thread that even `terminate` does not end: it is left behind, with its memory, until the process ends. */
  onAbandoned(id: number, message: string): void;
  /** Of a compute executor by its seat, of an I/O executor without; undefined: it runs on any. */
  cores(seat: number | undefined): ExecutorThreadData['cores'];
  /** Sends a hung thread, by the kernel's number, away from the core that its successor gets. */
  freeCore(thread: number): void;
}

/** Executor threads that had to be replaced, by why. */
export interface ExecutorLosses {
  ended: number;
  hung: number;
  /** Of those that hung: still there, inside native code. */
  abandoned: number;
}

/** Threads are looked at this often; one is hung when two looks in a row find the same run overdue. */
const LOOK_MS = 250;
const LOAD_ATTEMPTS = 3;
/** First and longest wait before a version that a new thread could not load is tried again. */
const RELOAD_MS = { first: 1000, longest: 30_000 };

interface Placed {
  spec: LoadSpec;
  metricsRow: number;
  executors: number[];
  /** Of each of these executors. */
  memoryBytes: number[];
}

/** The executors, and the versions with the executors that hold them; for people, by way of the admin API. */
export interface PoolDescription {
  executors: { id: number; compute: boolean }[];
  /** `memoryBytes`: over all its executors, an estimate; of a version in processes of its own, what those hold now. */
  versions: { model: string; version: string; executors: number[]; memoryBytes: number }[];
}

/**
 * The executor threads, and which version is loaded on which. Models whose backend computes in its thread are spread
 * over the compute pool; remote and process-isolated ones, and those in slots of a GPU, over I/O executors, which start
 * when there is a model for them. A thread that ends or hangs is replaced, and its successor gets its models. Lives on the
 * control thread.
 */
export class ExecutorPool {
  private readonly executors = new Map<number, ExecutorWorker>();
  private readonly placed = new Map<number, Placed>();
  private readonly sizes: PoolSizes;
  private readonly events: ExecutorPoolEvents;
  private nextExecutor = 0;
  private stopping = false;
  /** Of hung threads, until it is known whether they end: `losses` then counts them. */
  private readonly ending = new Set<Promise<void>>();
  private looking: NodeJS.Timeout | undefined;
  /** For the metrics. */
  readonly losses: ExecutorLosses = { ended: 0, hung: 0, abandoned: 0 };

  constructor(sizes: PoolSizes, events: ExecutorPoolEvents) {
    this.sizes = sizes;
    this.events = events;
  }

  /** Starts the compute threads; they come up while models are being scanned. */
  start(): void {
    for (let i = 0; i < this.sizes.compute; i++) this.spawn(i);
    this.looking = setInterval(() => this.lookForHung(monotonicMs()), LOOK_MS).unref();
  }

  ids(): number[] {
    return [...this.executors.keys()];
  }

  describe(): PoolDescription {
    return {
      executors: [...this.executors.values()].map(({ id, compute }) => ({ id, compute })),
      versions: [...this.placed.values()].map(({ spec, executors, memoryBytes }) => ({
        model: spec.model,
        version: spec.version,
        executors: [...executors],
        memoryBytes: sum(memoryBytes),
      })),
    };
  }

  /** Makes the channel between one executor and one gateway thread; returns the gateway's end. */
  connect(id: number, gateway: number): MessagePort | undefined {
    return this.executors.get(id)?.connect(gateway);
  }

  async load(
    spec: LoadSpec,
    handle: number,
    metricsRow: number,
  ): Promise<Standing & { signature: RuntimeSignature; memoryBytes: number }> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.loadOnce(spec, handle, metricsRow);
      } catch (error) {
        // Another model took the thread down: this one is loaded on the next.
        if (!(error instanceof ExecutorLost) || this.stopping || attempt === LOAD_ATTEMPTS) throw error;
      }
    }
  }

  private async loadOnce(
    spec: LoadSpec,
    handle: number,
    metricsRow: number,
  ): Promise<Standing & { signature: RuntimeSignature; memoryBytes: number }> {
    const targets = this.place(spec);
    const loaded = await Promise.allSettled(
      targets.map((executor, i) => executor.loadVersion(instanceOf(spec, i), handle, metricsRow)),
    );
    const failed = loaded.find((result) => result.status === 'rejected');
    const still = targets.filter(({ id }) => this.executors.has(id));
    // One may have ended after it had loaded it, while another still did.
    if (failed !== undefined || still.length < targets.length) {
      await Promise.allSettled(still.map((executor) => executor.unloadVersion(handle)));
      throw failed?.reason ?? new ExecutorLost();
    }
    const results = loaded.map((result) => (result as PromiseFulfilledResult<Loaded>).value);
    const executors = targets.map((executor) => executor.id);
    const memoryBytes = results.map((result) => result.memoryBytes);
    this.placed.set(handle, { spec, metricsRow, executors, memoryBytes });
    return { ...this.standing(handle, executors), signature: results[0].signature, memoryBytes: sum(memoryBytes) };
  }

  /** Resolves once the version's queued requests are answered and its memory is given back, on every executor. */
  async unload(handle: number): Promise<void> {
    const placed = this.placed.get(handle);
    this.placed.delete(handle);
    if (placed === undefined) return;
    await Promise.allSettled(placed.executors.map((id) => this.executors.get(id)?.unloadVersion(handle)));
  }

  addMetricsChunk({ thread, chunk }: MetricsChunk): void {
    for (const executor of this.executors.values()) {
      if (thread === executor.name) executor.addMetricsChunk(chunk);
    }
  }

  async stop(): Promise<void> {
    this.stopping = true;
    clearInterval(this.looking);
    await Promise.all([...[...this.executors.values()].map((executor) => this.terminate(executor)), ...this.ending]);
    this.executors.clear();
  }

  private place(spec: LoadSpec): ExecutorWorker[] {
    const { compute, count } = placementOf(spec.config, this.sizes);
    const kind = [...this.executors.values()].filter((executor) => executor.compute === compute);
    // One without a model yet is as good as a new one.
    while (!compute && kind.length < this.sizes.io && kind.filter(isFree).length < count)
      kind.push(this.spawn(undefined));
    return leastLoaded(kind, count);
  }

  private spawn(seat: number | undefined): ExecutorWorker {
    const id = this.nextExecutor++;
    const executor: ExecutorWorker = new ExecutorWorker(id, seat, {
      threadMetrics: (thread) => this.events.threadMetrics(thread),
      cores: this.events.cores(seat),
      onCrash: (handle, message) => this.events.onVersionCrash(handle, message, 0),
      onAbsence: (handle, absence) => this.absent(executor, handle, absence),
      onMemory: (handle, bytes) => this.holds(executor, handle, bytes),
      onExit: () => {
        if (this.executors.get(id) !== executor || this.stopping) return;
        this.losses.ended++;
        this.lost(executor);
      },
    });
    this.executors.set(id, executor);
    this.events.onExecutor(id);
    return executor;
  }

  private holds(executor: ExecutorWorker, handle: number, bytes: number): void {
    const placed = this.placed.get(handle);
    const at = placed?.executors.indexOf(executor.id) ?? -1;
    if (at >= 0) placed!.memoryBytes[at] = bytes;
  }

  private absent(executor: ExecutorWorker, handle: number, absence: string): void {
    if (absence === '') executor.absences.delete(handle);
    else executor.absences.set(handle, absence);
    this.tellStanding(handle);
  }

  private tellStanding(handle: number): void {
    const placed = this.placed.get(handle);
    if (placed !== undefined) this.events.onStanding(handle, this.standing(handle, placed.executors));
  }

  private standing(handle: number, holders: readonly number[]): Standing {
    return standingOf(holders, (id) => this.executors.get(id)?.absences.get(handle));
  }

  /** A thread that has computed beyond all bounds is replaced: what it holds is answered, and others are served again. */
  private lookForHung(now: number): void {
    for (const executor of [...this.executors.values()]) {
      const run = executor.hungRun(now);
      if (run === undefined) continue;
      const hungMs = Math.round(now - run.begun);
      const spec = this.placed.get(run.handle)?.spec;
      const what = `model "${spec?.model}" version ${spec?.version}`;
      this.losses.hung++;
      if (executor.thread !== undefined) this.events.freeCore(executor.thread);
      this.lost(executor);
      this.events.onVersionCrash(
        run.handle,
        `${what} computed for ${hungMs} ms without an end; its executor is replaced`,
        hungMs,
      );
      const end = this.terminate(executor).then((ended) => {
        this.ending.delete(end);
        if (ended || this.stopping) return;
        const message = `${what} does not return from native code: its thread is left behind until the process ends`;
        this.events.onAbandoned(executor.id, message);
      });
      this.ending.add(end);
    }
  }

  /** False: the thread is inside native code that does not return. */
  private async terminate(executor: ExecutorWorker): Promise<boolean> {
    const ended = await executor.terminate(() => this.losses.abandoned--);
    if (!ended) this.losses.abandoned++;
    return ended;
  }

  /** A thread that is no more, or is given up: its models are loaded again on a new one. */
  private lost(executor: ExecutorWorker): void {
    this.executors.delete(executor.id);
    executor.giveUp();
    this.events.onLost(executor.id);
    const successor = this.spawn(executor.seat);
    for (const [handle, placed] of this.placed) {
      const at = placed.executors.indexOf(executor.id);
      if (at < 0) continue;
      placed.executors[at] = successor.id;
      this.absent(successor, handle, 'its executor thread ended; it is being loaded on a new one');
      void this.loadAgain(successor, handle, placed);
    }
  }

  /** Until it succeeds, the version is unloaded, or this thread ends as well: its own successor then does it. */
  private async loadAgain(successor: ExecutorWorker, handle: number, placed: Placed): Promise<void> {
    const spec = instanceOf(placed.spec, placed.executors.indexOf(successor.id));
    for (let wait = RELOAD_MS.first; ; wait = Math.min(wait * 2, RELOAD_MS.longest)) {
      try {
        await successor.loadVersion(spec, handle, placed.metricsRow);
        if (this.placed.get(handle) === placed) this.absent(successor, handle, '');
        else await successor.unloadVersion(handle).catch(() => {});
        return;
      } catch (error) {
        const { message } = error as Error;
        if (this.stopping || this.executors.get(successor.id) !== successor) return;
        if (wait === RELOAD_MS.first) this.events.onVersionCrash(handle, message, 0);
        if (this.placed.get(handle) !== placed) return;
        this.absent(successor, handle, `it cannot be loaded again: ${message}`);
      }
      await sleep(wait, undefined, { ref: false });
      if (this.placed.get(handle) !== placed || this.executors.get(successor.id) !== successor) return;
    }
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function isFree(executor: ExecutorWorker): boolean {
  return executor.load === 0;
}
