import type { ExecuteOptions } from '../backends/backend.ts';
import { gather } from '../batching/gather.ts';
import { checkOutputRows, scatter } from '../batching/scatter.ts';
import type { BatchDecision } from '../batching/types.ts';
import { monotonicMs } from '../shared/clock.ts';
import { type SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { ELEMENT_BYTES, type Tensor } from '../tensor/tensor.ts';
import type { ExecutorItem, LoadedModel } from './loaded-model.ts';
import type { BatchOutputs, Outbox, StageTimes } from './outbox.ts';
import { hungFrom, type RunMark } from './run-mark.ts';

/** Copying a smaller output costs less than one more buffer in the message. Bytes. */
const WORTH_ATTACHING = 4096;

/** Where executions are counted: this thread's metrics block. Milliseconds; seconds for CPU and GPU. */
export interface ExecutionMetrics {
  recordBatch(
    row: number,
    rows: number,
    inputMs: number,
    inferMs: number,
    outputMs: number,
    cpuSeconds: number,
    gpuSeconds: number,
  ): void;
  /** What a run used which ended in an error. */
  recordFailedRun(row: number, cpuSeconds: number, gpuSeconds: number): void;
}

/** Runs batches: gather → execute → scatter → reply, and finds the one poisoned item when a batch fails. */
export class BatchRunner {
  private readonly outbox: Outbox;
  private readonly metrics: ExecutionMetrics;
  private readonly mark: RunMark;

  constructor(outbox: Outbox, metrics: ExecutionMetrics, mark: RunMark) {
    this.outbox = outbox;
    this.metrics = metrics;
    this.mark = mark;
  }

  async run(loaded: LoadedModel, decision: BatchDecision<ExecutorItem>): Promise<void> {
    const items = decision.batch;
    if (loaded.config.decoupled && loaded.model.executeStream !== undefined) {
      for (const item of items) await this.stream(loaded, item);
      return;
    }
    const failure = await this.execute(loaded, items, decision.rows, decision.paddedRows);
    if (failure === undefined) loaded.poison.batchSucceeded();
    else await this.rescue(loaded, items, toSwitchyardError(failure.error));
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
    /** Undefined: every item's rows are found by arithmetic. */
    let parts: Tensor[][] | undefined;
    let inferStart = start;
    let inferEnd = start;
    try {
      const single = items.length === 1 && !loaded.batched;
      const itemRows = items.map((item) => item.rows);
      const gathered = single
        ? { inputs: alignedAll(items[0].inputs), ragged: undefined }
        : gather(
            items.map((item) => item.inputs),
            itemRows,
            paddedRows,
            loaded.inputRules(items[0].inputs),
            loaded.model.takesPieces,
          );
      inferStart = monotonicMs();
      if (loaded.blocking) this.watch(loaded, items, paddedRows, inferStart);
      const pending = loaded.model.execute(gathered.inputs, this.options(loaded, items));
      outputs = pending instanceof Promise ? await pending : pending;
      inferEnd = monotonicMs();
      if (single) parts = [outputs];
      else if (gathered.ragged === undefined && outputs.every(hasFixedWidth)) checkOutputRows(outputs, paddedRows);
      else parts = scatter(outputs, itemRows, paddedRows, gathered.ragged, loaded.config.signature.outputs);
    } catch (error) {
      this.chargeFailure(loaded, items, rows, monotonicMs() - start);
      return { error };
    } finally {
      if (loaded.blocking) this.mark.end();
      if (items.length === 1) loaded.running.delete(items[0]);
    }
    loaded.latency.observe(paddedRows, inferEnd - start);
    const indices = outputs.map((output) => loaded.outputNames.indexOf(output.name));
    // Large outputs leave this thread whole when every request of the batch goes to the same gateway thread.
    const attach = outputs.every(isWorthAttaching) && items.every((item) => item.gateway === items[0].gateway);
    const computeInput = inferStart - start;
    const computeInfer = inferEnd - inferStart;
    const computeOutput = monotonicMs() - inferEnd;
    const cpu = cpuMs(loaded, computeInfer);
    const gpu = loaded.onGpu ? loaded.gpuMs(computeInfer) : 0;
    const times: StageTimes = { queue: 0, computeInput, computeInfer, computeOutput, cpu, gpu, batchSize: rows };
    const batch: BatchOutputs | undefined =
      parts === undefined
        ? {
            outputs,
            data: outputs.map((output) => output.data),
            rowBytes: outputs.map((output) => output.data.byteLength / paddedRows),
            buffers: attach ? this.outbox.attach(items[0].gateway, outputs) : outputs.map(() => 0),
          }
        : undefined;
    let first = 0;
    for (let i = 0; i < items.length; i++) {
      const item = items[i];
      times.queue = start - item.enqueuedAt;
      const { spent } = item;
      // Its share of the batch, by rows, is to hold what it used up before.
      times.cpu = spent === undefined ? cpu : cpu + (spent.cpu * rows) / item.rows;
      times.gpu = spent === undefined ? gpu : gpu + (spent.gpu * rows) / item.rows;
      if (batch !== undefined) this.outbox.rows(item.gateway, item.id, times, batch, indices, first, item.rows);
      else this.outbox.ok(item.gateway, item.id, times, parts![i], indices, attach, true);
      first += item.rows;
    }
    times.cpu = cpu;
    times.gpu = gpu;
    this.record(loaded, rows, times);
    return undefined;
  }

  /** A failed run of `wallMs` has cost too: its items bear it by their rows, until they are answered. */
  private chargeFailure(loaded: LoadedModel, items: readonly ExecutorItem[], rows: number, wallMs: number): void {
    const cpu = cpuMs(loaded, wallMs);
    const gpu = loaded.onGpu ? loaded.gpuMs(wallMs) : 0;
    this.metrics.recordFailedRun(loaded.metricsRow, cpu / 1000, gpu / 1000);
    for (const item of items) {
      item.spent ??= { cpu: 0, gpu: 0 };
      item.spent.cpu += (cpu * item.rows) / rows;
      item.spent.gpu += (gpu * item.rows) / rows;
    }
  }

  /** One poisoned item must not take its batch mates along: the policy says which parts to run again by themselves. */
  private async rescue(loaded: LoadedModel, items: ExecutorItem[], error: SwitchyardError): Promise<void> {
    const search = loaded.poison.batchFailed(items.length, error);
    if (search === undefined) {
      this.answerAll(items, error);
      return;
    }
    for (let part = search.next(); part !== undefined; part = search.next()) {
      const again = items.slice(part.start, part.end);
      const rows = again.reduce((sum, item) => sum + item.rows, 0);
      const failure = await this.execute(loaded, again, rows, rows);
      if (failure === undefined) search.succeeded();
      else for (const range of search.failed()) this.answerAll(items.slice(range.start, range.end), failure.error);
    }
    loaded.poison.rescueEnded(search, error);
  }

  private answerAll(items: ExecutorItem[], error: unknown): void {
    for (const item of items) this.outbox.error(item.gateway, item.id, error, item.spent);
  }

  private async stream(loaded: LoadedModel, item: ExecutorItem): Promise<void> {
    const start = monotonicMs();
    const times: StageTimes = {
      queue: start - item.enqueuedAt,
      computeInput: 0,
      computeInfer: 0,
      computeOutput: 0,
      cpu: 0,
      gpu: 0,
      batchSize: item.rows,
    };
    const options = this.options(loaded, [item]);
    const charge = (): void => {
      const took = monotonicMs() - start;
      times.cpu += cpuMs(loaded, took - times.computeInfer);
      if (loaded.onGpu) times.gpu += loaded.gpuMs(took - times.computeInfer);
      times.computeInfer = took;
    };
    if (loaded.blocking) this.watch(loaded, [item], item.rows, start);
    try {
      const responses = loaded.model.executeStream?.(alignedAll(item.inputs), options) ?? [];
      for await (const outputs of responses) {
        if (options.signal?.aborted) break;
        charge();
        const indices = outputs.map((output) => loaded.outputNames.indexOf(output.name));
        this.outbox.ok(item.gateway, item.id, times, outputs, indices, false, false);
        this.outbox.flush();
        // It is alive: each response has the whole time for itself.
        if (loaded.blocking) this.watch(loaded, [item], item.rows, monotonicMs());
      }
      this.outbox.end(item.gateway, item.id);
    } catch (error) {
      charge();
      this.outbox.error(item.gateway, item.id, error, times);
    } finally {
      if (loaded.blocking) this.mark.end();
      loaded.running.delete(item);
    }
    charge();
    this.record(loaded, item.rows, times);
  }

  /** Says from when on this run counts as hung: while it computes, this thread can tell nobody. */
  private watch(loaded: LoadedModel, items: readonly ExecutorItem[], paddedRows: number, now: number): void {
    const { handle, hangTimeoutMs } = loaded;
    this.mark.begin(handle, now, hungFrom(now, hangTimeoutMs, loaded.expectedMs(paddedRows), items));
  }

  /** Forming a batch and splitting its outputs are the model's CPU time too, where its own runs are this thread's. */
  private record(loaded: LoadedModel, rows: number, times: StageTimes): void {
    const { computeInput, computeInfer, computeOutput, cpu, gpu } = times;
    const around = loaded.blocking && !loaded.onGpu ? computeInput + computeOutput : 0;
    this.metrics.recordBatch(
      loaded.metricsRow,
      rows,
      computeInput,
      computeInfer,
      computeOutput,
      (cpu + around) / 1000,
      gpu / 1000,
    );
  }

  private options(loaded: LoadedModel, items: ExecutorItem[]): ExecuteOptions {
    let deadline = Number.POSITIVE_INFINITY;
    for (const item of items) if (item.deadline < deadline) deadline = item.deadline;
    // The items of a batch have these in common.
    const { outputs, parameters } = items[0];
    const options: ExecuteOptions = { outputs: loaded.wantedOutputs(outputs), deadline, parameters };
    if (!loaded.blocking || loaded.config.decoupled) {
      // Only a batch of one can be cancelled with its request; batch mates keep the others running.
      const abort = new AbortController();
      options.signal = abort.signal;
      // A batch is one call: it is part of the first trace that any of its requests belongs to.
      options.trace = items.find((item) => item.trace !== undefined)?.trace;
      if (items.length === 1) {
        items[0].abort = abort;
        loaded.running.add(items[0]);
      }
    }
    return options;
  }
}

/**
 * CPU milliseconds of what a model did just now in `wallMs`. In a process of its own it is what that process says; a
 * blocking model's wall time is its thread's CPU time, or its GPU's; what other servers use is not counted here.
 */
function cpuMs(loaded: LoadedModel, wallMs: number): number {
  if (loaded.model.takeCpuSeconds !== undefined) return loaded.model.takeCpuSeconds() * 1000;
  return loaded.blocking && !loaded.onGpu ? wallMs : 0;
}

/** Tensors as a backend wants them: objects of its own, with bytes aligned to their element size. */
function alignedAll(tensors: Tensor[]): Tensor[] {
  return tensors.map(({ name, datatype, shape, data }) => {
    const size = ELEMENT_BYTES[datatype];
    const aligned = size <= 1 || data.byteOffset % size === 0;
    return { name, datatype, shape: shape.slice(), data: aligned ? data : data.slice() };
  });
}

function hasFixedWidth(tensor: Tensor): boolean {
  return ELEMENT_BYTES[tensor.datatype] > 0;
}

/** Large, and alone in its buffer. */
function isWorthAttaching({ data }: Tensor): boolean {
  return (
    data.buffer instanceof ArrayBuffer &&
    data.byteLength === data.buffer.byteLength &&
    data.byteLength >= WORTH_ATTACHING
  );
}
