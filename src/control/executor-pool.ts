import { setTimeout as sleep } from 'node:timers/promises';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { LoadSpec, RuntimeSignature } from '../backends/backend.ts';
import { instanceDevices } from '../backends/instances.ts';
import type { ExecutorCommand, ExecutorEvent } from '../executor/messages.ts';
import { RunMark } from '../executor/run-mark.ts';
import type { ExecutorThreadData } from '../executor/thread.ts';
import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { programFile } from '../shared/program-files.ts';
import type { MetricsChunk, ThreadMetrics } from '../telemetry/thread-metrics.ts';
import { leastLoaded, type PoolSizes, placementOf } from './placement.ts';

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

/** Where a version can be run. */
export interface Standing {
  /** Those that can run it; all that hold it, while none can: what is sent there fails, or finds it back. */
  executors: number[];
  /** Why none can, '' = one can. */
  absence: string;
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
/** A thread that runs JavaScript ends at once when told; one inside native code that never returns does not at all. */
const TERMINATE_MS = 5000;
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

class Executor {
  readonly id: number;
  /** Which of the compute executors it is; its successor takes the same. Undefined: an I/O executor. */
  readonly seat: number | undefined;
  readonly worker: Worker;
  readonly ready: Promise<void>;
  readonly handles = new Set<number>();
  /** Handle → why that version can execute nothing here at the moment. */
  readonly absences = new Map<number, string>();
  readonly mark: RunMark;
  /** When the run that was overdue at the last look had begun; 0: none was. */
  suspected = 0;
  readonly calls = new Map<number, { resolve(event: ExecutorEvent): void; reject(error: Error): void }>();
  /** Versions on their way to it. */
  coming = 0;
  /** The kernel's number of the thread, if it has cores of its own. */
  thread: number | undefined;

  constructor(id: number, seat: number | undefined, worker: Worker, mark: RunMark, ready: Promise<void>) {
    this.id = id;
    this.seat = seat;
    this.worker = worker;
    this.mark = mark;
    this.ready = ready;
  }

  get compute(): boolean {
    return this.seat !== undefined;
  }

  get load(): number {
    return this.handles.size + this.coming;
  }
}

/**
 * The executor threads, and which version is loaded on which. Models whose backend computes in its thread are spread
 * over the compute pool; remote and process-isolated ones, and those in slots of a GPU, over I/O executors, which start
 * when there is a model for them. A thread that ends or hangs is replaced, and its successor gets its models. Lives on the
 * control thread.
 */
export class ExecutorPool {
  private readonly executors = new Map<number, Executor>();
  private readonly placed = new Map<number, Placed>();
  private readonly sizes: PoolSizes;
  private readonly events: ExecutorPoolEvents;
  private nextExecutor = 0;
  private nextCall = 0;
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
    const executor = this.executors.get(id);
    if (executor === undefined) return undefined;
    const { port1, port2 } = new MessageChannel();
    this.post(executor, { kind: 'gateway', gateway, port: port1 }, [port1]);
    return port2;
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
      targets.map((executor, i) => this.loadOn(executor, instanceOf(spec, i), handle, metricsRow)),
    );
    const failed = loaded.find((result) => result.status === 'rejected');
    const still = targets.filter(({ id }) => this.executors.has(id));
    // One may have ended after it had loaded it, while another still did.
    if (failed !== undefined || still.length < targets.length) {
      await Promise.allSettled(still.map((executor) => this.unloadFrom(executor, handle)));
      throw failed?.reason ?? new ExecutorLost();
    }
    const results = loaded.map((result) => (result as PromiseFulfilledResult<LoadedEvent>).value);
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
    await Promise.allSettled(
      placed.executors.map((id) => {
        const executor = this.executors.get(id);
        return executor === undefined ? undefined : this.unloadFrom(executor, handle);
      }),
    );
  }

  addMetricsChunk({ thread, chunk }: MetricsChunk): void {
    for (const executor of this.executors.values()) {
      if (thread === `executor-${executor.id}`) this.post(executor, { kind: 'metricsChunk', chunk }, []);
    }
  }

  async stop(): Promise<void> {
    this.stopping = true;
    clearInterval(this.looking);
    await Promise.all([...[...this.executors.values()].map((executor) => this.terminate(executor)), ...this.ending]);
    this.executors.clear();
  }

  private place(spec: LoadSpec): Executor[] {
    const { compute, count } = placementOf(spec.config, this.sizes);
    const kind = [...this.executors.values()].filter((executor) => executor.compute === compute);
    // One without a model yet is as good as a new one.
    while (!compute && kind.length < this.sizes.io && kind.filter(isFree).length < count)
      kind.push(this.spawn(undefined));
    return leastLoaded(kind, count);
  }

  private async loadOn(executor: Executor, spec: LoadSpec, handle: number, metricsRow: number): Promise<LoadedEvent> {
    executor.coming++;
    try {
      await executor.ready;
      const event = await this.call(executor, (call) => ({ kind: 'load', call, handle, spec, metricsRow }));
      executor.handles.add(handle);
      return event as LoadedEvent;
    } finally {
      executor.coming--;
    }
  }

  private async unloadFrom(executor: Executor, handle: number): Promise<void> {
    executor.absences.delete(handle);
    if (!executor.handles.delete(handle)) return;
    await this.call(executor, (call) => ({ kind: 'unload', call, handle }));
  }

  private call(executor: Executor, command: (call: number) => ExecutorCommand): Promise<ExecutorEvent> {
    const call = ++this.nextCall;
    return new Promise((resolve, reject) => {
      executor.calls.set(call, { resolve, reject });
      this.post(executor, command(call), []);
    });
  }

  private post(executor: Executor, command: ExecutorCommand, transfer: MessagePort[]): void {
    executor.worker.postMessage(command, transfer);
  }

  private spawn(seat: number | undefined): Executor {
    const id = this.nextExecutor++;
    const mark = RunMark.allocate();
    const worker = new Worker(programFile('executor/thread'), {
      workerData: {
        metrics: this.events.threadMetrics(`executor-${id}`),
        mark,
        cores: this.events.cores(seat),
      } satisfies ExecutorThreadData,
      name: `executor-${id}`,
    });
    let markReady: () => void = () => {};
    const ready = new Promise<void>((resolve) => {
      markReady = resolve;
    });
    const executor = new Executor(id, seat, worker, new RunMark(mark), ready);
    worker.on('message', (event: ExecutorEvent) => {
      if (event.kind === 'ready') {
        executor.thread = event.thread;
        markReady();
      } else if (event.kind === 'crashed') this.events.onVersionCrash(event.handle, event.message, 0);
      else if (event.kind === 'absence') this.absent(executor, event.handle, event.absence);
      else if (event.kind === 'memory') this.holds(executor, event.handle, event.bytes);
      else this.settle(executor, event);
    });
    worker.on('error', () => {});
    worker.on('exit', () => {
      if (this.executors.get(id) !== executor || this.stopping) return;
      this.losses.ended++;
      this.lost(executor);
    });
    this.executors.set(id, executor);
    this.events.onExecutor(id);
    return executor;
  }

  private holds(executor: Executor, handle: number, bytes: number): void {
    const placed = this.placed.get(handle);
    const at = placed?.executors.indexOf(executor.id) ?? -1;
    if (at >= 0) placed!.memoryBytes[at] = bytes;
  }

  private absent(executor: Executor, handle: number, absence: string): void {
    if (absence === '') executor.absences.delete(handle);
    else executor.absences.set(handle, absence);
    this.tellStanding(handle);
  }

  private tellStanding(handle: number): void {
    const placed = this.placed.get(handle);
    if (placed !== undefined) this.events.onStanding(handle, this.standing(handle, placed.executors));
  }

  private standing(handle: number, holders: readonly number[]): Standing {
    let absence = '';
    const able = holders.filter((id) => {
      const problem = this.executors.get(id)?.absences.get(handle);
      absence ||= problem ?? '';
      return problem === undefined;
    });
    return able.length > 0 ? { executors: able, absence: '' } : { executors: [...holders], absence };
  }

  private settle(executor: Executor, event: Extract<ExecutorEvent, { call: number }>): void {
    const waiter = executor.calls.get(event.call);
    executor.calls.delete(event.call);
    if (event.kind === 'failed') waiter?.reject(new SwitchyardError(event.code, event.message));
    else waiter?.resolve(event);
  }

  /** A thread that has computed beyond all bounds is replaced: what it holds is answered, and others are served again. */
  private lookForHung(now: number): void {
    for (const executor of [...this.executors.values()]) {
      const run = executor.mark.overdue(now);
      // Twice, since this whole process may just have been stopped for a while.
      const sure = run !== undefined && executor.suspected === run.begun;
      executor.suspected = run?.begun ?? 0;
      if (run === undefined || !sure) continue;
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
  private async terminate({ worker }: Executor): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), TERMINATE_MS);
    });
    const ending = worker.terminate().then(() => true);
    const ended = await Promise.race([ending, patience]);
    clearTimeout(timer);
    if (!ended) {
      this.losses.abandoned++;
      void ending.then(() => this.losses.abandoned--);
    }
    return ended;
  }

  /** A thread that is no more, or is given up: its models are loaded again on a new one. */
  private lost(executor: Executor): void {
    this.executors.delete(executor.id);
    for (const waiter of executor.calls.values()) waiter.reject(new ExecutorLost());
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
  private async loadAgain(successor: Executor, handle: number, placed: Placed): Promise<void> {
    const spec = instanceOf(placed.spec, placed.executors.indexOf(successor.id));
    for (let wait = RELOAD_MS.first; ; wait = Math.min(wait * 2, RELOAD_MS.longest)) {
      try {
        await this.loadOn(successor, spec, handle, placed.metricsRow);
        if (this.placed.get(handle) === placed) this.absent(successor, handle, '');
        else await this.unloadFrom(successor, handle).catch(() => {});
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

/** The thread ended with a call to it under way. */
class ExecutorLost extends Error {
  constructor() {
    super('the executor thread ended');
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function isFree(executor: Executor): boolean {
  return executor.load === 0;
}

/** The version as its k-th executor loads it: on the device of that instance. */
function instanceOf(spec: LoadSpec, k: number): LoadSpec {
  const devices = instanceDevices(spec.config.instanceGroups);
  return spec.device < 0 || devices.length === 0 ? spec : { ...spec, device: devices[k % devices.length] };
}

type LoadedEvent = Extract<ExecutorEvent, { kind: 'loaded' }>;
