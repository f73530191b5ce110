import { bytesOf, PlacedTensor } from '../tensor/placed.ts';
import { DATA_TYPES, type DataType, ELEMENT_BYTES, type Tensor } from '../tensor/tensor.ts';

/**
 * What gateway threads and executor threads say to each other. A frame carries many requests (or replies) as numbers and
 * bytes, all transferred, so that a message costs the same for one request as for a hundred. Most are one buffer and
 * nothing else: what a message costs grows with the objects in it. Its first two words say how many words there are and
 * from which byte on small tensors lie, the words follow, then those tensors.
 */
export type Frame = ArrayBuffer | WideFrame;

/** What a request asks of its model besides its tensors. */
export type CallParameters = Record<string, string | number | boolean>;

/** W3C's, of a request whose caller traces it. */
export interface TraceContext {
  traceparent: string;
  /** '' = none. */
  tracestate: string;
}

/** A frame with more than numbers and small tensors. What is absent is empty. */
interface WideFrame {
  /** The one with the words, then those of large tensors. */
  buffers: ArrayBuffer[];
  /** Error texts of replies, by index. */
  texts?: string[];
  /** Of requests to models that read them: [request id, parameters] pairs. */
  parameters?: [number, CallParameters][];
  /** Of requests to other servers: [request id, trace context] pairs. */
  traces?: [number, TraceContext][];
}

/** Tensors at least this large travel in their own buffer if they own it. */
const LARGE_BYTES = 64 * 1024;
const FIRST_SLAB_BYTES = 16 * 1024;
const FIRST_WORDS = 512;
const WORDS = 0;
const SLAB_FROM = 1;
const HEAD_WORDS = 2;

const typeCode = new Map<DataType, number>(DATA_TYPES.map((type, code) => [type, code]));
const FP32_CODE = DATA_TYPES.indexOf('FP32');

/** Appends numbers and tensors to a frame that grows as needed. Owned by one thread; `take` gives the frame away. */
export class FrameWriter {
  /** Both views of one buffer, the slab behind the words. */
  private meta!: Float64Array;
  private slab!: Uint8Array;
  private words = HEAD_WORDS;
  private slabBytes = 0;
  private large: ArrayBuffer[] = [];
  private texts: string[] | undefined;
  private parameters: WideFrame['parameters'];
  private traces: WideFrame['traces'];
  /** Recent frame sizes: the next buffer is allocated about as large as the last one was. */
  private typicalSlab = FIRST_SLAB_BYTES;
  private typicalWords = FIRST_WORDS;

  constructor() {
    this.allocate(FIRST_WORDS, FIRST_SLAB_BYTES);
  }

  get empty(): boolean {
    return this.words === HEAD_WORDS;
  }

  /** Makes room for `count` numbers; `push` does not check. */
  reserve(count: number): void {
    const needed = this.words + count;
    if (needed > this.meta.length) this.grow(Math.max(this.meta.length * 2, needed), this.slab.length);
  }

  push(value: number): void {
    this.meta[this.words++] = value;
  }

  pushText(text: string): number {
    this.texts ??= [];
    return this.texts.push(text) - 1;
  }

  pushParameters(id: number, parameters: CallParameters): void {
    this.parameters ??= [];
    this.parameters.push([id, parameters]);
  }

  pushTrace(id: number, trace: TraceContext): void {
    this.traces ??= [];
    this.traces.push([id, trace]);
  }

  /**
   * Writes one tensor as [index, type, rank, dims…, buffer, offset, bytes]. With `mayTransfer`, a large tensor's own
   * buffer leaves this thread with the frame; otherwise the bytes are copied and the caller keeps its tensor.
   */
  pushTensor(index: number, tensor: Tensor, mayTransfer: boolean): void {
    const { shape, datatype } = tensor;
    const width = ELEMENT_BYTES[datatype];
    const bytes = bytesOf(tensor);
    if (tensor instanceof PlacedTensor && bytes < LARGE_BYTES) {
      const from = this.copyToSlab(tensor.source, tensor.offset, bytes, width);
      this.writeTensor(index, datatype, shape, shape[0], 0, from, bytes);
      return;
    }
    const { data } = tensor;
    if (mayTransfer && bytes >= LARGE_BYTES && ownsBuffer(data)) {
      const buffer = this.attach(data.buffer as ArrayBuffer);
      this.writeTensor(index, datatype, shape, shape[0], buffer, data.byteOffset, bytes);
    } else {
      const from = this.copyToSlab(data, 0, bytes, width);
      this.writeTensor(index, datatype, shape, shape[0], 0, from, bytes);
    }
  }

  /** Writes a tensor whose bytes lie in `buffers[buffer]`, attached before. */
  pushPlacedTensor(index: number, tensor: Tensor, buffer: number): void {
    const { data, shape } = tensor;
    this.writeTensor(index, tensor.datatype, shape, shape[0], buffer, data.byteOffset, data.byteLength);
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
    const at = buffer > 0 ? data.byteOffset + from : this.copyToSlab(data, from, bytes, ELEMENT_BYTES[batch.datatype]);
    this.writeTensor(index, batch.datatype, batch.shape, rows, buffer, at, bytes);
  }

  /** Writes [index, type, rank, dims…, buffer, offset, bytes], `rows` in place of the first dim. */
  private writeTensor(
    index: number,
    datatype: DataType,
    shape: readonly number[],
    rows: number,
    buffer: number,
    offset: number,
    bytes: number,
  ): void {
    const rank = shape.length;
    this.reserve(rank + 6);
    const meta = this.meta;
    let at = this.words;
    meta[at++] = index;
    meta[at++] = datatype === 'FP32' ? FP32_CODE : (typeCode.get(datatype) as number);
    meta[at++] = rank;
    if (rank > 0) meta[at++] = rows;
    for (let i = 1; i < rank; i++) meta[at++] = shape[i];
    meta[at++] = buffer;
    meta[at++] = offset;
    meta[at++] = bytes;
    this.words = at;
  }

  /** Adds a buffer that leaves with the frame; returns its number. Attaching the last attached buffer again is free. */
  attach(buffer: ArrayBuffer): number {
    const known = this.large.lastIndexOf(buffer);
    return known >= 0 ? known + 1 : this.large.push(buffer);
  }

  /** The finished frame and what to transfer with it. The writer starts afresh. */
  take(): { frame: Frame; transfer: ArrayBuffer[] } {
    const { meta, words, texts, parameters, traces } = this;
    meta[WORDS] = words;
    meta[SLAB_FROM] = this.slab.byteOffset;
    const transfer = [meta.buffer as ArrayBuffer, ...this.large];
    const narrow = transfer.length === 1 && texts === undefined && parameters === undefined && traces === undefined;
    const frame = narrow ? transfer[0] : { buffers: transfer, texts, parameters, traces };
    this.typicalSlab = nextSize(this.typicalSlab, this.slabBytes, 1024);
    this.typicalWords = nextSize(this.typicalWords, words, 64);
    this.allocate(this.typicalWords, this.typicalSlab);
    this.words = HEAD_WORDS;
    this.slabBytes = 0;
    this.large = [];
    this.texts = this.parameters = this.traces = undefined;
    return { frame, transfer };
  }

  private allocate(words: number, slabBytes: number): void {
    const from = words * Float64Array.BYTES_PER_ELEMENT;
    const buffer = new ArrayBuffer(from + slabBytes);
    this.meta = new Float64Array(buffer, 0, words);
    this.slab = new Uint8Array(buffer, from);
  }

  private grow(words: number, slabBytes: number): void {
    const { meta, slab } = this;
    this.allocate(words, slabBytes);
    this.meta.set(meta.subarray(0, this.words));
    this.slab.set(slab.subarray(0, this.slabBytes));
  }

  /** Copies `bytes` bytes of `data` from `from` on, aligned to `width`; returns where they lie in the slab. */
  private copyToSlab(data: Uint8Array, from: number, bytes: number, width: number): number {
    const offset = width > 1 ? (this.slabBytes + width - 1) & -width : this.slabBytes;
    const end = offset + bytes;
    if (end > this.slab.length) this.grow(this.meta.length, Math.max(this.slab.length * 2, end));
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
  /** The slab, then large tensors' buffers as wholes, made when the first tensor in one is read. */
  private readonly sources: (Uint8Array | undefined)[];
  private readonly wide: WideFrame | undefined;
  private lastShape: number[] = [];
  private at = HEAD_WORDS;

  constructor(frame: Frame) {
    this.wide = frame instanceof ArrayBuffer ? undefined : frame;
    const buffer = frame instanceof ArrayBuffer ? frame : frame.buffers[0];
    // One view of it all: each view costs more than what is read through it.
    this.meta = new Float64Array(buffer, 0, buffer.byteLength >> 3);
    this.end = this.meta[WORDS];
    this.sources = [new Uint8Array(buffer, this.meta[SLAB_FROM])];
  }

  /** Of requests that have any, by id; undefined: none has. */
  parameters(): Map<number, CallParameters> | undefined {
    return this.wide?.parameters === undefined ? undefined : new Map(this.wide.parameters);
  }

  /** Of requests that have any, by id; undefined: none has. */
  traces(): Map<number, TraceContext> | undefined {
    return this.wide?.traces === undefined ? undefined : new Map(this.wide.traces);
  }

  /** @param index as pushText gave it */
  text(index: number): string {
    return this.wide?.texts?.[index] ?? '';
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
      source = new Uint8Array(this.wide!.buffers[buffer]);
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
