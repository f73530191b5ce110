import type { Backend, BackendModel, LoadSpec, RuntimeSignature } from '../backends/backend.ts';
import { queueFull } from '../batching/queue-bound.ts';
import { COPY_LEVEL, type DropReason } from '../batching/types.ts';
import type { ModelConfig } from '../config/model-config.ts';
import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { BatchRunner, type ExecutionMetrics } from './batch-runner.ts';
import { type CallParameters, type Frame, FrameReader, type TraceContext } from './frame.ts';
import { type ExecutorItem, LoadedModel } from './loaded-model.ts';
import { CANCEL, INFER, INFER_ALONE } from './messages.ts';
import { Outbox, type SendFrame } from './outbox.ts';
import type { RunMark } from './run-mark.ts';

export interface ExecutorDependencies {
  /** The backend for a version; `handle` names it in crash reports. */
  backend(spec: LoadSpec, handle: number): Promise<Backend>;
  /** The configuration with what only the loaded model can tell. */
  complete(config: ModelConfig, signature: RuntimeSignature): ModelConfig;
  /** Runs the version's warm-up requests before it takes any other. */
  warmUp(model: BackendModel, spec: LoadSpec): Promise<void>;
  /** A loaded version can execute nothing from now on, and why; '': it can again. */
  onAbsence(handle: number, absence: string): void;
  send: SendFrame;
  metrics: ExecutionMetrics;
  /** Where the control thread sees how long this thread has been computing. */
  mark: RunMark;
  /** Takes every frame that has arrived meanwhile: called before each batch is formed, so that it is as full as can be. */
  drainPorts(): void;
}

/**
 * The life of an executor thread: take what has arrived, choose the model whose work is most urgent, form its batch,
 * run it, answer. Blocking models run one batch at a time; others as many as their backend allows. Never throws to
 * its thread: whatever a request or a model does wrong becomes that request's error reply.
 */
export class ExecutorCore {
  private readonly models = new Map<number, LoadedModel>();
  /** Models with queued items, so that choosing costs nothing for idle ones. */
  private readonly active = new Set<LoadedModel>();
  private readonly outbox: Outbox;
  private readonly runner: BatchRunner;
  private readonly dependencies: ExecutorDependencies;
  private computing = false;
  private pumping = false;
  private wakeTimer: NodeJS.Timeout | undefined;
  private wakeImmediate = false;
  private wakeAt = Number.POSITIVE_INFINITY;

  constructor(dependencies: ExecutorDependencies) {
    this.dependencies = dependencies;
    this.outbox = new Outbox(dependencies.send);
    this.runner = new BatchRunner(this.outbox, dependencies.metrics, dependencies.mark);
  }

  async load(
    handle: number,
    spec: LoadSpec,
    metricsRow: number,
  ): Promise<{ signature: RuntimeSignature; memoryBytes: number }> {
    const backend = await this.dependencies.backend(spec, handle);
    const model = await backend.load(spec);
    // Without a preflight's word (remote models) the tensors are known only now.
    const complete: LoadSpec = { ...spec, config: this.dependencies.complete(spec.config, model.signature) };
    try {
      await this.dependencies.warmUp(model, complete);
    } catch (error) {
      await model.unload();
      throw error;
    }
    // What the warm-up used is nobody's request.
    model.takeCpuSeconds?.();
    this.models.set(handle, new LoadedModel(handle, complete, model, model.blocking ?? backend.blocking, metricsRow));
    this.watch(handle, model);
    return { signature: model.signature, memoryBytes: model.memoryBytes };
  }

  private watch(handle: number, model: BackendModel): void {
    let told = '';
    const tell = (): void => {
      const absence = model.absence?.() ?? '';
      if (absence === told || this.models.get(handle)?.model !== model) return;
      told = absence;
      this.dependencies.onAbsence(handle, absence);
    };
    model.watchAbsence?.(tell);
    // It may have gone while it was warmed up.
    tell();
  }

  /** Resolves once everything queued for the version has been answered and its memory is given back. */
  async unload(handle: number): Promise<void> {
    const loaded = this.models.get(handle);
    if (loaded === undefined) return;
    this.dependencies.drainPorts();
    const drained = loaded.idle
      ? undefined
      : new Promise<void>((resolve) => {
          loaded.onDrained = resolve;
        });
    // Also for other models' requests that were taken from the ports just now: no message announces them any more.
    this.pump();
    await drained;
    this.models.delete(handle);
    await loaded.model.unload();
  }

  receive(gateway: number, frame: Frame): void {
    const reader = new FrameReader(frame);
    const now = monotonicMs();
    const parameters = reader.parameters();
    const traces = reader.traces();
    while (!reader.done) {
      const kind = reader.next();
      const id = reader.next();
      const loaded = this.models.get(reader.next());
      if (kind === CANCEL) this.cancel(loaded, gateway, id);
      else if (kind === INFER || kind === INFER_ALONE)
        this.enqueue(loaded, reader, gateway, id, now, parameters?.get(id), traces?.get(id), kind === INFER_ALONE);
      else throw new Error(`Unknown entry kind ${kind} in a request frame`);
    }
  }

  /** Runs what can run now. Returns at once; finished batches pump again. */
  pump(): void {
    if (this.pumping) return;
    this.pumping = true;
    try {
      for (;;) {
        this.dependencies.drainPorts();
        if (!this.startNext()) break;
      }
    } finally {
      this.pumping = false;
    }
    if (!this.computing) this.outbox.flush();
  }

  private enqueue(
    loaded: LoadedModel | undefined,
    reader: FrameReader,
    gateway: number,
    id: number,
    now: number,
    parameters: CallParameters | undefined,
    trace: TraceContext | undefined,
    alone: boolean,
  ): void {
    const rows = reader.next();
    const priority = reader.next();
    const deadline = reader.next();
    const outputs = reader.next();
    const count = reader.next();
    if (loaded === undefined) {
      for (let i = 0; i < count; i++) reader.skipTensor();
      this.outbox.error(
        gateway,
        id,
        new SwitchyardError('unavailable', 'The model version is not loaded on this executor; retry the request', {
          retryAfterMs: 1000,
        }),
      );
      return;
    }
    const inputs = new Array(count);
    for (let i = 0; i < count; i++) inputs[i] = reader.tensor(loaded.config.signature.inputs);
    const item: ExecutorItem = {
      rows,
      shapeKey: alone ? `alone ${gateway} ${id}` : loaded.shapeKey(inputs, outputs, parameters),
      priority,
      deadline,
      enqueuedAt: now,
      queueTimeoutAt: Number.POSITIVE_INFINITY,
      cancelled: false,
      slot: -1,
      id,
      gateway,
      inputs,
      outputs,
      parameters,
      trace,
      abort: undefined,
      spent: undefined,
    };
    // The request's own timeout; the queue heeds it where the policy allows the override.
    const timeoutMs = deadline === Number.POSITIVE_INFINITY ? 0 : Math.max(deadline - now, 0.001);
    if (!loaded.queue.enqueue(item, now, timeoutMs)) {
      const { limit, level } = queueLimit(loaded.config.batching, priority);
      this.outbox.error(gateway, id, queueFull(loaded.config.name, limit, level));
      return;
    }
    loaded.notBefore = 0;
    this.active.add(loaded);
  }

  private cancel(loaded: LoadedModel | undefined, gateway: number, id: number): void {
    if (loaded === undefined) return;
    const waiting = loaded.queue.find((item) => item.id === id && item.gateway === gateway);
    if (waiting !== undefined) {
      loaded.queue.cancel(waiting);
      this.outbox.end(gateway, id);
      return;
    }
    for (const running of loaded.running) {
      if (running.id !== id || running.gateway !== gateway) continue;
      running.abort?.abort();
      return;
    }
  }

  /** Starts one batch of the most urgent model that may run. False: nothing can start now. */
  private startNext(): boolean {
    const now = monotonicMs();
    let chosen: LoadedModel | undefined;
    let urgency = Number.POSITIVE_INFINITY;
    for (const loaded of this.active) {
      if (loaded.queue.size === 0) {
        this.active.delete(loaded);
        this.checkDrained(loaded);
        continue;
      }
      if (loaded.blocking ? this.computing : loaded.inFlight >= loaded.model.concurrency) {
        // What waits for a slow backend still times out in time.
        if (!loaded.blocking)
          this.wakeLater(
            loaded.queue.expire(now, (item, reason) => this.drop(loaded, item, reason)),
            now,
          );
        continue;
      }
      const deadline = loaded.queue.earliestDeadline();
      if (deadline < urgency && loaded.notBefore <= now) {
        urgency = deadline;
        chosen = loaded;
      } else if (loaded.notBefore > now) {
        this.wakeLater(loaded.notBefore, now);
      }
    }
    if (chosen === undefined) return false;
    const loaded = chosen;
    const decision = loaded.queue.next(now, (item, reason) => this.drop(loaded, item, reason));
    if (decision.batch.length === 0) {
      loaded.notBefore = decision.wakeAt;
      return true;
    }
    loaded.notBefore = 0;
    loaded.inFlight++;
    if (loaded.blocking) {
      this.computing = true;
      this.outbox.flushBefore(now + loaded.expectedMs(decision.paddedRows));
    }
    this.runner.run(loaded, decision).then(
      () => this.finished(loaded),
      (error: unknown) => {
        for (const item of decision.batch) this.outbox.error(item.gateway, item.id, error);
        this.finished(loaded);
      },
    );
    return true;
  }

  private finished(loaded: LoadedModel): void {
    loaded.inFlight--;
    if (loaded.blocking) this.computing = false;
    this.outbox.answered(monotonicMs());
    this.checkDrained(loaded);
    this.pump();
  }

  private checkDrained(loaded: LoadedModel): void {
    if (loaded.onDrained !== undefined && loaded.idle) loaded.onDrained();
  }

  private drop(loaded: LoadedModel, item: ExecutorItem, reason: DropReason): void {
    const waited = (monotonicMs() - item.enqueuedAt).toFixed(1);
    const message =
      reason === 'deadline'
        ? `The request to model '${loaded.config.name}' cannot be answered before its deadline (waited ${waited} ms in the queue)`
        : `The request to model '${loaded.config.name}' exceeded its queue timeout (waited ${waited} ms)`;
    this.outbox.error(item.gateway, item.id, new SwitchyardError('deadline_exceeded', message));
  }

  /** Delays under a millisecond are waited out by polling the event loop: Node's timers are no finer than that. */
  private wakeLater(at: number, now: number): void {
    if (at === Number.POSITIVE_INFINITY) return;
    const delay = at - now;
    if (delay < 1.2) {
      if (this.wakeImmediate) return;
      this.wakeImmediate = true;
      setImmediate(() => {
        this.wakeImmediate = false;
        this.pump();
      });
      return;
    }
    if (at >= this.wakeAt) return;
    clearTimeout(this.wakeTimer);
    this.wakeAt = at;
    this.wakeTimer = setTimeout(() => {
      this.wakeAt = Number.POSITIVE_INFINITY;
      this.pump();
    }, delay - 1);
  }
}

/** The policy that refused a request: its level's own, or the default. */
function queueLimit(batching: ModelConfig['batching'], priority: number): { limit: number; level: string } {
  if (batching.priorityLevels === 0) return { limit: batching.defaultQueuePolicy.maxQueueSize, level: '' };
  if (priority === COPY_LEVEL) return { limit: batching.defaultQueuePolicy.maxQueueSize, level: ' for copies' };
  const policy = batching.priorityQueuePolicy.get(priority) ?? batching.defaultQueuePolicy;
  return { limit: policy.maxQueueSize, level: ` at priority level ${priority}` };
}
