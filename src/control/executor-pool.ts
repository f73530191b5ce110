import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { LoadSpec, RuntimeSignature } from '../backends/backend.ts';
import { instanceDevices } from '../backends/instances.ts';
import type { ExecutorCommand, ExecutorEvent } from '../executor/messages.ts';
import type { ExecutorThreadData } from '../executor/thread.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { MetricsChunk, ThreadMetrics } from '../telemetry/thread-metrics.ts';
import { leastLoaded, type PoolSizes, placementOf } from './placement.ts';
import { workerEntry } from './worker-entry.ts';

export interface ExecutorPoolEvents {
  /** A new executor: every gateway thread must get its end of a channel. */
  onExecutor(id: number): void;
  onLost(id: number): void;
  /** A version is on other executors than before: the serving table must say so. */
  onRelocated(handle: number, executors: number[]): void;
  /** Memory for the counters of a thread about to start. */
  threadMetrics(thread: string): ThreadMetrics;
  onVersionCrash(handle: number, message: string): void;
}

interface Placed {
  spec: LoadSpec;
  metricsRow: number;
  executors: number[];
  memoryBytes: number;
}

/** The executors, and the versions with the executors that hold them; for people, by way of the admin API. */
export interface PoolDescription {
  executors: { id: number; compute: boolean }[];
  /** `memoryBytes`: estimate over all its executors. */
  versions: { model: string; version: string; executors: number[]; memoryBytes: number }[];
}

class Executor {
  readonly id: number;
  readonly compute: boolean;
  readonly worker: Worker;
  readonly ready: Promise<void>;
  readonly handles = new Set<number>();
  readonly calls = new Map<number, { resolve(event: ExecutorEvent): void; reject(error: Error): void }>();
  /** Versions on their way to it. */
  coming = 0;

  constructor(id: number, compute: boolean, worker: Worker, ready: Promise<void>) {
    this.id = id;
    this.compute = compute;
    this.worker = worker;
    this.ready = ready;
  }

  get load(): number {
    return this.handles.size + this.coming;
  }
}

/**
 * The executor threads, and which version is loaded on which. Models whose backend computes in its thread are spread
 * over the compute pool; remote and process-isolated ones, and those in slots of a GPU, over I/O executors, which start
 * when there is a model for them. A thread that ends is replaced and gets its models back. Lives on the control thread.
 */
export class ExecutorPool {
  private readonly executors = new Map<number, Executor>();
  private readonly placed = new Map<number, Placed>();
  private readonly sizes: PoolSizes;
  private readonly events: ExecutorPoolEvents;
  private nextExecutor = 0;
  private nextCall = 0;
  private stopping = false;

  constructor(sizes: PoolSizes, events: ExecutorPoolEvents) {
    this.sizes = sizes;
    this.events = events;
  }

  /** Starts the compute threads; they come up while models are being scanned. */
  start(): void {
    for (let i = 0; i < this.sizes.compute; i++) this.spawn(true);
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
        memoryBytes,
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
  ): Promise<{ executors: number[]; signature: RuntimeSignature; memoryBytes: number }> {
    const targets = this.place(spec);
    const loaded = await Promise.allSettled(
      targets.map((executor, i) => this.loadOn(executor, instanceOf(spec, i), handle, metricsRow)),
    );
    const failed = loaded.find((result) => result.status === 'rejected');
    if (failed !== undefined) {
      await Promise.allSettled(targets.map((executor) => this.unloadFrom(executor, handle)));
      throw failed.reason;
    }
    const results = loaded.map((result) => (result as PromiseFulfilledResult<LoadedEvent>).value);
    const executors = targets.map((executor) => executor.id);
    const memoryBytes = results.reduce((sum, result) => sum + result.memoryBytes, 0);
    this.placed.set(handle, { spec, metricsRow, executors, memoryBytes });
    return { executors, signature: results[0].signature, memoryBytes };
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
    await Promise.all([...this.executors.values()].map((executor) => executor.worker.terminate()));
    this.executors.clear();
  }

  private place(spec: LoadSpec): Executor[] {
    const { compute, count } = placementOf(spec.config, this.sizes);
    const kind = [...this.executors.values()].filter((executor) => executor.compute === compute);
    // One without a model yet is as good as a new one.
    while (!compute && kind.length < this.sizes.io && kind.filter(isFree).length < count) kind.push(this.spawn(false));
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

  private spawn(compute: boolean): Executor {
    const id = this.nextExecutor++;
    const worker = new Worker(workerEntry(import.meta.url, '../executor/thread'), {
      workerData: { metrics: this.events.threadMetrics(`executor-${id}`) } satisfies ExecutorThreadData,
      name: `executor-${id}`,
    });
    let markReady: () => void = () => {};
    const ready = new Promise<void>((resolve) => {
      markReady = resolve;
    });
    const executor = new Executor(id, compute, worker, ready);
    worker.on('message', (event: ExecutorEvent) => {
      if (event.kind === 'ready') markReady();
      else if (event.kind === 'crashed') this.events.onVersionCrash(event.handle, event.message);
      else this.settle(executor, event);
    });
    worker.on('error', () => {});
    worker.on('exit', () => this.lost(executor));
    this.executors.set(id, executor);
    this.events.onExecutor(id);
    return executor;
  }

  private settle(executor: Executor, event: Extract<ExecutorEvent, { call: number }>): void {
    const waiter = executor.calls.get(event.call);
    executor.calls.delete(event.call);
    if (event.kind === 'failed') waiter?.reject(new SwitchyardError(event.code, event.message));
    else waiter?.resolve(event);
  }

  /** A thread that ended by itself: its models are loaded again on a new one. */
  private lost(executor: Executor): void {
    this.executors.delete(executor.id);
    for (const waiter of executor.calls.values()) waiter.reject(new Error('the executor thread ended'));
    if (this.stopping) return;
    this.events.onLost(executor.id);
    const successor = this.spawn(executor.compute);
    for (const handle of executor.handles) {
      const placed = this.placed.get(handle);
      if (placed === undefined) continue;
      const at = placed.executors.indexOf(executor.id);
      this.loadOn(successor, instanceOf(placed.spec, at), handle, placed.metricsRow).then(
        () => {
          placed.executors[at] = successor.id;
          this.events.onRelocated(handle, [...placed.executors]);
        },
        (error: Error) => this.events.onVersionCrash(handle, error.message),
      );
    }
  }
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
