import type { ExecuteOptions } from '../backends/backend.ts';
import { gather } from '../batching/gather.ts';
import { scatter } from '../batching/scatter.ts';
import type { BatchDecision } from '../batching/types.ts';
import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { ExecutorItem, LoadedModel } from './loaded-model.ts';
import type { Outbox, StageTimes } from './outbox.ts';

/** Where executions are counted. `computing`: the thread itself did the work, so its wall time is CPU time. Implemented by this thread's metrics block. */
export interface ExecutionMetrics {
  recordExecution(row: number, rows: number, inputMs: number, inferMs: number, outputMs: number, computing: boolean): void;
}

/** After this many whole-batch failures in a row the model is taken for broken, and batches fail at once. */
const BROKEN_AFTER = 3;

/** Runs batches: gather → execute → scatter → reply, and finds the one poisoned item when a batch fails. */
export class BatchRunner {
  private readonly outbox: Outbox;
  private readonly metrics: ExecutionMetrics;

  constructor(outbox: Outbox, metrics: ExecutionMetrics) {
    this.outbox = outbox;
    this.metrics = metrics;
  }

  async run(loaded: LoadedModel, decision: BatchDecision<ExecutorItem>): Promise<void> {
    const items = decision.batch;
    if (loaded.config.decoupled && loaded.model.executeStream !== undefined) {
      for (const item of items) await this.stream(loaded, item);
      return;
    }
    const failure = await this.execute(loaded, items, decision.rows, decision.paddedRows);
    if (failure === undefined) {
      if (loaded.failuresInRow > 0) loaded.failuresInRow = 0;
      return;
    }
    const answered = await this.isolate(loaded, items, failure.error);
    loaded.failuresInRow = answered ? 0 : loaded.failuresInRow + 1;
  }

  /** Runs these items as one batch and answers them. Returns what was thrown, with nothing answered, when it fails. */
  private async execute(
    loaded: LoadedModel,
    items: ExecutorItem[],
    rows: number,
    paddedRows: number,
  ): Promise<{ error: unknown } | undefined> {
    const start = monotonicMs();
    let outputs: Tensor[];
    let parts: Tensor[][];
    let inferStart = start;
    let inferEnd = start;
    try {
      const gathered = gather(items, loaded.config.signature.inputs, loaded.batched, paddedRows);
      inferStart = monotonicMs();
      const pending = loaded.model.execute(gathered.tensors, this.options(loaded, items));
      outputs = pending instanceof Promise ? await pending : pending;
      inferEnd = monotonicMs();
      parts = scatter(outputs, gathered, loaded.config.name);
    } catch (error) {
      return { error };
    } finally {
      if (items.length === 1) loaded.pending.delete(items[0].id);
    }
    loaded.latency.observe(paddedRows, inferEnd - start);
    const indices = outputs.map((output) => loaded.outputNames.indexOf(output.name));
    // Output buffers may leave this thread whole when every request of the batch goes to the same gateway thread.
    const attach = outputs.every(ownsItsBuffer) && items.every((item) => item.gateway === items[0].gateway);
    const computeInput = inferStart - start;
    const computeInfer = inferEnd - inferStart;
    const computeOutput = monotonicMs() - inferEnd;
    const times: StageTimes = { queue: 0, computeInput, computeInfer, computeOutput, batchSize: rows };
    for (let i = 0; i < items.length; i++) {
      const item = items[i];
      if (item.cancelled) {
        this.outbox.end(item.gateway, item.id);
        continue;
      }
      times.queue = start - item.enqueuedAt;
      this.outbox.ok(item.gateway, item.id, times, parts[i], indices, attach, true);
    }
    this.metrics.recordExecution(loaded.metricsRow, rows, computeInput, computeInfer, computeOutput, loaded.blocking);
    return undefined;
  }

  /**
   * One poisoned item must not take its batch mates along: the failed batch is halved until the culprits stand alone.
   * A model that has failed whole batches several times running is taken for broken, and is not run again for each
   * part. Returns whether any item was answered well.
   */
  private async isolate(loaded: LoadedModel, items: ExecutorItem[], error: unknown): Promise<boolean> {
    if (items.length === 1 || !inputMayBeAtFault(error) || loaded.failuresInRow >= BROKEN_AFTER) {
      for (const item of items) this.outbox.error(item.gateway, item.id, error);
      return false;
    }
    const middle = items.length >> 1;
    let answered = false;
    for (const part of [items.slice(0, middle), items.slice(middle)]) {
      const rows = part.reduce((sum, item) => sum + item.rows, 0);
      const failure = await this.execute(loaded, part, rows, rows);
      if (failure === undefined) answered = true;
      else if (await this.isolate(loaded, part, failure.error)) answered = true;
    }
    return answered;
  }

  private async stream(loaded: LoadedModel, item: ExecutorItem): Promise<void> {
    const start = monotonicMs();
    const times: StageTimes = { queue: start - item.enqueuedAt, computeInput: 0, computeInfer: 0, computeOutput: 0, batchSize: item.rows };
    try {
      const gathered = gather([item], loaded.config.signature.inputs, loaded.batched, item.rows);
      const responses = loaded.model.executeStream?.(gathered.tensors, this.options(loaded, [item])) ?? [];
      for await (const outputs of responses) {
        if (item.cancelled) break;
        times.computeInfer = monotonicMs() - start;
        const indices = outputs.map((output) => loaded.outputNames.indexOf(output.name));
        this.outbox.ok(item.gateway, item.id, times, outputs, indices, false, false);
        this.outbox.flush();
      }
      this.outbox.end(item.gateway, item.id);
    } catch (error) {
      this.outbox.error(item.gateway, item.id, error);
    } finally {
      loaded.pending.delete(item.id);
    }
    this.metrics.recordExecution(loaded.metricsRow, item.rows, 0, monotonicMs() - start, 0, false);
  }

  private options(loaded: LoadedModel, items: ExecutorItem[]): ExecuteOptions {
    let deadline = Number.POSITIVE_INFINITY;
    for (const item of items) if (item.deadline < deadline) deadline = item.deadline;
    const options: ExecuteOptions = { outputs: loaded.wantedOutputs(items[0].outputs), deadline };
    if (items.length === 1) options.parameters = items[0].parameters;
    if (!loaded.blocking) {
      // Only a batch of one can be cancelled with its request; batch mates keep the others running.
      const abort = new AbortController();
      options.signal = abort.signal;
      if (items.length === 1) {
        items[0].abort = abort;
        loaded.pending.set(items[0].id, items[0]);
      }
    }
    return options;
  }
}

/** Unavailable or late is the backend's state, not the input's: running the parts again would only add load. */
function inputMayBeAtFault(error: unknown): boolean {
  return !(error instanceof SwitchyardError) || error.code === 'invalid_argument' || error.code === 'internal';
}

function ownsItsBuffer(tensor: Tensor): boolean {
  return tensor.data.buffer instanceof ArrayBuffer && tensor.data.byteLength === tensor.data.buffer.byteLength;
}
