import { bytesOf, PlacedTensor } from '../tensor/placed.ts';
import { DATA_TYPES, type DataType, ELEMENT_BYTES, type Tensor } from '../tensor/tensor.ts';

/**
 * What gateway threads and executor threads say to each other. A frame carries many requests (or replies) as one
 * array of numbers plus a few byte buffers, all transferred, so that a message costs the same for one request as for
 * a hundred. Small tensors are packed into the first buffer, large ones travel in their own.
 */
export interface Frame {
  meta: Float64Array;
  buffers: ArrayBuffer[];
  /** Error texts of replies, by index. */
  texts: string[];
  /** Request parameters, which only decoupled and remote models read: [request id, parameters] pairs. */
  parameters: [number, Record<string, string | number | boolean>][];
  /** W3C traceparents of requests to other servers: [request id, traceparent] pairs. Absent: none. */
  traces?: [number, string][];
}

/** Tensors at least this large travel in their own buffer if they own it. */
const LARGE_BYTES = 64 * 1024;
const FIRST_SLAB_BYTES = 16 * 1024;

const typeCode = new Map<DataType, number>(DATA_TYPES.map((type, code) => [type, code]));
const FP32_CODE = DATA_TYPES.indexOf('FP32');

/** Appends numbers and tensors to a frame that grows as needed. Owned by one thread; `take` gives the frame away. */
export class FrameWriter {
  private meta = new Float64Array(512);
  private words = 0;
  private slab = new Uint8Array(FIRST_SLAB_BYTES);
  private slabBytes = 0;
  private large: ArrayBuffer[] = [];
  private texts: string[] = [];
  private parameters: Frame['parameters'] = [];
  private traces: [number, string][] | undefined;
  /** Recent frame sizes: the next slab is allocated about as large as the last one was. */
  private typicalSlab = FIRST_SLAB_BYTES;
  private typicalWords = 512;

  get empty(): boolean {
    return this.words === 0;
  }

  /** Makes room for `count` numbers; `push` does not check. */
  reserve(count: number): void {
    if (this.words + count <= this.meta.length) return;
    const grown = new Float64Array(Math.max(this.meta.length * 2, this.words + count));
    grown.set(this.meta);
    this.meta = grown;
  }

  push(value: number): void {
    this.meta[this.words++] = value;
  }

  pushText(text: string): number {
    return this.texts.push(text) - 1;
  }

  pushParameters(id: number, parameters: Record<string, string | number | boolean>): void {
    this.parameters.push([id, parameters]);
  }

  pushTrace(id: number, traceparent: string): void {
    this.traces ??= [];
    this.traces.push([id, traceparent]);
  }

  /**
   * Writes one tensor as [index, type, rank, dims…, buffer, offset, bytes]. With `mayTransfer`, a large tensor's own
   * buffer leaves this thread with the frame; otherwise the bytes are copied and the caller keeps its tensor.
   */
  pushTensor(index: number, tensor: Tensor, mayTransfer: boolean): void {
    const { shape } = tensor;
    let at = this.writeHead(index, tensor.datatype, shape, shape[0]);
    const meta = this.meta;
    const bytes = bytesOf(tensor);
    if (tensor instanceof PlacedTensor && bytes < LARGE_BYTES) {
      meta[at++] = 0;
      meta[at++] = this.copyToSlab(tensor.source, tensor.offset, bytes, ELEMENT_BYTES[tensor.datatype]);
      meta[at++] = bytes;
      this.words = at;
      return;
    }
    const { data } = tensor;
    if (mayTransfer && bytes >= LARGE_BYTES && ownsBuffer(data)) {
      meta[at++] = this.attach(data.buffer as ArrayBuffer);
      meta[at++] = data.byteOffset;
    } else {
      meta[at++] = 0;
      meta[at++] = this.copyToSlab(data, 0, bytes, ELEMENT_BYTES[tensor.datatype]);
    }
    meta[at++] = bytes;
    this.words = at;
  }

  /** Writes a tensor whose bytes lie in `buffers[buffer]`, attached before. */
  pushPlacedTensor(index: number, tensor: Tensor, buffer: number): void {
    const { data, shape } = tensor;
    let at = this.writeHead(index, tensor.datatype, shape, shape[0]);
    const meta = this.meta;
    meta[at++] = buffer;
    meta[at++] = data.byteOffset;
    meta[at++] = data.byteLength;
    this.words = at;
  }

  /**
   * Writes `rows` rows of a batch's output as a tensor: `bytes` bytes of its data from `from` on. `buffer` > 0: its
   * buffer was attached as that one; 0: they are copied.
   */
  pushRows(
    index: number,
    batch: Tensor,
    data: Uint8Array,
    rows: number,
    from: number,
    bytes: number,
    buffer: number,
  ): void {
    let at = this.writeHead(index, batch.datatype, batch.shape, rows);
    const meta = this.meta;
    meta[at++] = buffer;
    meta[at++] =
      buffer > 0 ? data.byteOffset + from : this.copyToSlab(data, from, bytes, ELEMENT_BYTES[batch.datatype]);
    meta[at++] = bytes;
    this.words = at;
  }

  /** Writes [index, type, rank, dims…] and returns where the three words of the place go; there is room for them. */
  private writeHead(index: number, datatype: DataType, shape: readonly number[], rows: number): number {
    const rank = shape.length;
    this.reserve(rank + 6);
    const meta = this.meta;
    let at = this.words;
    meta[at++] = index;
    meta[at++] = datatype === 'FP32' ? FP32_CODE : (typeCode.get(datatype) as number);
    meta[at++] = rank;
    if (rank > 0) meta[at++] = rows;
    for (let i = 1; i < rank; i++) meta[at++] = shape[i];
    return at;
  }

  /** Adds a buffer that leaves with the frame; returns its number. Attaching the last attached buffer again is free. */
  attach(buffer: ArrayBuffer): number {
    const known = this.large.lastIndexOf(buffer);
    return known >= 0 ? known + 1 : this.large.push(buffer);
  }

  /** The finished frame and what to transfer with it. The writer starts afresh. */
  take(): { frame: Frame; transfer: ArrayBuffer[] } {
    const buffers = [this.slab.buffer as ArrayBuffer, ...this.large];
    const frame: Frame = {
      meta: this.meta.subarray(0, this.words),
      buffers,
      texts: this.texts,
      parameters: this.parameters,
    };
    if (this.traces !== undefined) {
      frame.traces = this.traces;
      this.traces = undefined;
    }
    const transfer = [this.meta.buffer as ArrayBuffer, ...buffers];
    this.typicalSlab = nextSize(this.typicalSlab, this.slabBytes, 1024);
    this.typicalWords = nextSize(this.typicalWords, this.words, 64);
    this.meta = new Float64Array(this.typicalWords);
    this.words = 0;
    this.slab = new Uint8Array(this.typicalSlab);
    this.slabBytes = 0;
    this.large = [];
    this.texts = [];
    this.parameters = [];
    return { frame, transfer };
  }

  /** Copies `bytes` bytes of `data` from `from` on, aligned to `width`; returns where they lie in the slab. */
  private copyToSlab(data: Uint8Array, from: number, bytes: number, width: number): number {
    const offset = width > 1 ? (this.slabBytes + width - 1) & -width : this.slabBytes;
    const end = offset + bytes;
    if (end > this.slab.byteLength) {
      const grown = new Uint8Array(Math.max(this.slab.byteLength * 2, end));
      grown.set(this.slab.subarray(0, this.slabBytes));
      this.slab = grown;
    }
    if (bytes <= 96) {
      const slab = this.slab;
      for (let i = 0; i < bytes; i++) slab[offset + i] = data[from + i];
    } else {
      this.slab.set(from === 0 && bytes === data.length ? data : data.subarray(from, from + bytes), offset);
    }
    this.slabBytes = end;
    return offset;
  }
}

/** Room for 1.5 × a slowly decaying maximum, so that steady load neither grows nor wastes. */
function nextSize(previous: number, used: number, floor: number): number {
  const wanted = used * 1.5;
  return Math.max(floor, Math.ceil((wanted > previous ? wanted : previous * 0.9 + wanted * 0.1) / 64) * 64);
}

/** True when nearly all of the view's buffer is the view's, so that sending the buffer away takes nothing else along. */
function ownsBuffer(data: Uint8Array): boolean {
  return data.buffer instanceof ArrayBuffer && data.byteLength * 4 >= data.buffer.byteLength * 3;
}

/** Reads a frame front to back. */
export class FrameReader {
  private readonly meta: Float64Array;
  private readonly end: number;
  /** Each buffer as a whole, made when the first tensor in it is read. */
  private readonly sources: (Uint8Array | undefined)[] = [];
  private readonly buffers: readonly ArrayBuffer[];
  private lastShape: number[] = [];
  private at = 0;

  constructor(frame: Frame) {
    this.meta = frame.meta;
    this.end = frame.meta.length;
    this.buffers = frame.buffers;
  }

  get done(): boolean {
    return this.at >= this.end;
  }

  next(): number {
    return this.meta[this.at++];
  }

  skipTensor(): void {
    this.at += 2;
    const rank = this.next();
    this.at += rank + 3;
  }

  /** The tensor's bytes stay in the frame's buffers. `names[i].name` is the name for the index i written before. */
  tensor(names: readonly { name: string }[]): Tensor {
    const { meta } = this;
    let at = this.at;
    const name = names[meta[at++]].name;
    const datatype = DATA_TYPES[meta[at++]];
    const shape = this.shapeAt(at);
    at += shape.length + 1;
    const buffer = meta[at++];
    const offset = meta[at++];
    const bytes = meta[at++];
    this.at = at;
    let source = this.sources[buffer];
    if (source === undefined) {
      source = new Uint8Array(this.buffers[buffer]);
      this.sources[buffer] = source;
    }
    return new PlacedTensor(name, datatype, shape, source, offset, bytes);
  }

  /** Tensors of one shape that follow one another share it. */
  private shapeAt(at: number): number[] {
    const { meta, lastShape } = this;
    const rank = meta[at];
    let same = rank === lastShape.length;
    for (let i = 0; same && i < rank; i++) same = meta[at + 1 + i] === lastShape[i];
    if (same) return lastShape;
    const shape: number[] = [];
    for (let i = 0; i < rank; i++) shape.push(meta[at + 1 + i]);
    this.lastShape = shape;
    return shape;
  }
}
