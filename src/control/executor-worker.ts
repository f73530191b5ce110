import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { LoadSpec } from '../backends/backend.ts';
import type { ExecutorCommand, ExecutorEvent } from '../executor/messages.ts';
import { type OverdueRun, RunMark } from '../executor/run-mark.ts';
import type { ExecutorThreadData } from '../executor/thread.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { programFile } from '../shared/program-files.ts';
import type { ThreadMetrics } from '../telemetry/thread-metrics.ts';
import { HungWatch } from './hung-watch.ts';

/** What is asked of whoever starts an executor, and told to it. */
export interface ExecutorWorkerParts {
  /** Memory for the counters of a thread about to start. */
  threadMetrics(thread: string): ThreadMetrics;
  cores: ExecutorThreadData['cores'];
  /** A version brought down a process of its own. */
  onCrash(handle: number, message: string): void;
  /** A loaded version can execute nothing here from now on, and why; '': it can again. */
  onAbsence(handle: number, absence: string): void;
  /** What a version in a process of its own holds now. */
  onMemory(handle: number, bytes: number): void;
  onExit(): void;
}

export type Loaded = Extract<ExecutorEvent, { kind: 'loaded' }>;

/** A thread that runs JavaScript ends at once when told; one inside native code that never returns does not at all. */
const TERMINATE_MS = 5000;

/** One executor thread, from the control thread: commands to it and their answers, and which versions it holds. */
export class ExecutorWorker {
  readonly id: number;
  /** Which of the compute executors it is; its successor takes the same. Undefined: an I/O executor. */
  readonly seat: number | undefined;
  readonly name: string;
  /** Handle → why that version can execute nothing here at the moment. */
  readonly absences = new Map<number, string>();
  /** The kernel's number of the thread, if it has cores of its own. */
  thread: number | undefined;
  private readonly worker: Worker;
  private readonly ready: Promise<void>;
  private readonly hungWatch: HungWatch;
  private readonly handles = new Set<number>();
  /** Versions on their way to it. */
  private coming = 0;
  private readonly calls = new Map<number, { resolve(event: ExecutorEvent): void; reject(error: Error): void }>();
  private lastCall = 0;

  constructor(id: number, seat: number | undefined, parts: ExecutorWorkerParts) {
    this.id = id;
    this.seat = seat;
    this.name = `executor-${id}`;
    const mark = RunMark.allocate();
    this.hungWatch = new HungWatch(mark);
    this.worker = new Worker(programFile('executor/thread'), {
      workerData: {
        metrics: parts.threadMetrics(this.name),
        mark,
        cores: parts.cores,
      } satisfies ExecutorThreadData,
      name: this.name,
    });
    let markReady: () => void = () => {};
    this.ready = new Promise<void>((resolve) => {
      markReady = resolve;
    });
    this.worker.on('message', (event: ExecutorEvent) => {
      if (event.kind === 'ready') {
        this.thread = event.thread;
        markReady();
      } else if (event.kind === 'crashed') parts.onCrash(event.handle, event.message);
      else if (event.kind === 'absence') parts.onAbsence(event.handle, event.absence);
      else if (event.kind === 'memory') parts.onMemory(event.handle, event.bytes);
      else this.settle(event);
    });
    this.worker.on('error', () => {});
    this.worker.on('exit', () => parts.onExit());
  }

  get compute(): boolean {
    return this.seat !== undefined;
  }

  get load(): number {
    return this.handles.size + this.coming;
  }

  /** Makes a channel between it and one gateway thread; returns the gateway's end. */
  connect(gateway: number): MessagePort {
    const { port1, port2 } = new MessageChannel();
    this.post({ kind: 'gateway', gateway, port: port1 }, [port1]);
    return port2;
  }

  addMetricsChunk(chunk: SharedArrayBuffer): void {
    this.post({ kind: 'metricsChunk', chunk }, []);
  }

  /** Rejects with what is wrong with the version, or ExecutorLost. */
  async loadVersion(spec: LoadSpec, handle: number, metricsRow: number): Promise<Loaded> {
    this.coming++;
    try {
      await this.ready;
      const event = await this.call((call) => ({ kind: 'load', call, handle, spec, metricsRow }));
      this.handles.add(handle);
      return event as Loaded;
    } finally {
      this.coming--;
    }
  }

  /** Resolves once the version's queued requests are answered and its memory is given back; at once if it is not here. */
  async unloadVersion(handle: number): Promise<void> {
    this.absences.delete(handle);
    if (!this.handles.delete(handle)) return;
    await this.call((call) => ({ kind: 'unload', call, handle }));
  }

  /** The run that it hangs in. Ask at regular times. */
  hungRun(now: number): OverdueRun | undefined {
    return this.hungWatch.look(now);
  }

  /** It is no more, or not waited for any longer: calls under way reject with ExecutorLost. */
  giveUp(): void {
    for (const waiter of this.calls.values()) waiter.reject(new ExecutorLost());
  }

  /** False: the thread is inside native code that does not return; `late` is called if it ends after all. */
  async terminate(late: () => void): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), TERMINATE_MS);
    });
    const ending = this.worker.terminate().then(() => true);
    const ended = await Promise.race([ending, patience]);
    clearTimeout(timer);
    if (!ended) void ending.then(late);
    return ended;
  }

  private call(command: (call: number) => ExecutorCommand): Promise<ExecutorEvent> {
    const call = ++this.lastCall;
    return new Promise((resolve, reject) => {
      this.calls.set(call, { resolve, reject });
      this.post(command(call), []);
    });
  }

  private settle(event: Extract<ExecutorEvent, { call: number }>): void {
    const waiter = this.calls.get(event.call);
    this.calls.delete(event.call);
    if (event.kind === 'failed') waiter?.reject(new SwitchyardError(event.code, event.message));
    else waiter?.resolve(event);
  }

  private post(command: ExecutorCommand, transfer: MessagePort[]): void {
    this.worker.postMessage(command, transfer);
  }
}

/** The thread ended with a call to it under way. */
export class ExecutorLost extends Error {
  constructor() {
    super('the executor thread ended');
  }
}
