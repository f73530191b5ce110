import { toSwitchyardError } from '../shared/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type Frame, FrameWriter } from './frame.ts';
import { ERROR_CODES, REPLY_END, REPLY_ERROR, REPLY_OK, REPLY_PARTIAL } from './messages.ts';

export type SendFrame = (gateway: number, frame: Frame, transfer: ArrayBuffer[]) => void;

export interface StageTimes {
  queue: number;
  computeInput: number;
  computeInfer: number;
  computeOutput: number;
  /** CPU time of the whole batch, in this thread or in the model's own process. */
  cpu: number;
  /** GPU time that fell to the batch, summed over GPUs; where batches overlap, none is counted twice. */
  gpu: number;
  batchSize: number;
}

/** A batch's outputs, of elements of fixed width, so that an item's rows are found by arithmetic alone. */
export interface BatchOutputs {
  outputs: readonly Tensor[];
  data: readonly Uint8Array[];
  rowBytes: readonly number[];
  buffers: readonly number[];
}

/** Replies wait for those of the next batch, so that small batches share a message, but no longer than this. */
const STALE_MS = 0.25;

/** Collects replies, one frame per gateway thread, so that many small batches cost few messages. */
export class Outbox {
  private readonly writers: FrameWriter[] = [];
  private readonly send: SendFrame;
  private oldest = Number.POSITIVE_INFINITY;

  constructor(send: SendFrame) {
    this.send = send;
  }

  writer(gateway: number): FrameWriter {
    let writer = this.writers[gateway];
    if (writer === undefined) {
      writer = new FrameWriter();
      this.writers[gateway] = writer;
    }
    return writer;
  }

  /**
   * `tensors` in the order of `indices`, their places in the signature's outputs. `attach`: their buffers leave with
   * the frame; otherwise their bytes are copied.
   */
  ok(
    gateway: number,
    id: number,
    times: StageTimes,
    tensors: Tensor[],
    indices: readonly number[],
    attach: boolean,
    final: boolean,
  ): void {
    const writer = this.begin(gateway, id, times, tensors.length, final);
    for (let i = 0; i < tensors.length; i++) {
      const tensor = tensors[i];
      if (attach) writer.pushPlacedTensor(indices[i], tensor, writer.attach(tensor.data.buffer as ArrayBuffer));
      else writer.pushTensor(indices[i], tensor, false);
    }
  }

  /**
   * One item's answer out of a batch's outputs: `rows` rows of each from row `first` on. `rowBytes[j]`: bytes of a row
   * of output j, whose bytes are `data[j]`; `buffers[j]` > 0: that output was attached as that buffer.
   */
  rows(
    gateway: number,
    id: number,
    times: StageTimes,
    batch: BatchOutputs,
    indices: readonly number[],
    first: number,
    rows: number,
  ): void {
    const { outputs, data, rowBytes, buffers } = batch;
    const writer = this.begin(gateway, id, times, outputs.length, true);
    for (let j = 0; j < outputs.length; j++) {
      const width = rowBytes[j];
      writer.pushRows(indices[j], outputs[j], data[j], rows, first * width, rows * width, buffers[j]);
    }
  }

  /** Gives a batch's output buffers to the next frame to this gateway thread; their numbers in it. */
  attach(gateway: number, outputs: readonly Tensor[]): number[] {
    const writer = this.writer(gateway);
    return outputs.map((output) => writer.attach(output.data.buffer as ArrayBuffer));
  }

  private begin(gateway: number, id: number, times: StageTimes, outputs: number, final: boolean): FrameWriter {
    const writer = this.writer(gateway);
    writer.reserve(10);
    writer.push(final ? REPLY_OK : REPLY_PARTIAL);
    writer.push(id);
    writer.push(times.queue);
    writer.push(times.computeInput);
    writer.push(times.computeInfer);
    writer.push(times.computeOutput);
    writer.push(times.cpu);
    writer.push(times.gpu);
    writer.push(times.batchSize);
    writer.push(outputs);
    return writer;
  }

  end(gateway: number, id: number): void {
    const writer = this.writer(gateway);
    writer.reserve(2);
    writer.push(REPLY_END);
    writer.push(id);
  }

  /** `spent`: milliseconds of CPUs and GPUs that the request has used up. */
  error(gateway: number, id: number, thrown: unknown, spent?: { cpu: number; gpu: number }): void {
    const error = toSwitchyardError(thrown);
    const writer = this.writer(gateway);
    writer.reserve(7);
    writer.push(REPLY_ERROR);
    writer.push(id);
    writer.push(Math.max(0, ERROR_CODES.indexOf(error.code)));
    writer.push(writer.pushText(error.message));
    writer.push(error.retryAfterMs ?? 0);
    writer.push(spent?.cpu ?? 0);
    writer.push(spent?.gpu ?? 0);
  }

  /** Notes that a batch was answered at `now`. */
  answered(now: number): void {
    if (this.oldest === Number.POSITIVE_INFINITY) this.oldest = now;
  }

  /** The thread will compute until about `busyUntil`: sends first what would be late by then. */
  flushBefore(busyUntil: number): void {
    if (busyUntil - this.oldest > STALE_MS) this.flush();
  }

  flush(): void {
    this.oldest = Number.POSITIVE_INFINITY;
    for (let gateway = 0; gateway < this.writers.length; gateway++) {
      const writer = this.writers[gateway];
      if (writer === undefined || writer.empty) continue;
      const { frame, transfer } = writer.take();
      this.send(gateway, frame, transfer);
    }
  }
}
