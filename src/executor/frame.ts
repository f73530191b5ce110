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
}

/** Tensors at least this large travel in their own buffer if they own it. */
const LARGE_BYTES = 64 * 1024;
const FIRST_SLAB_BYTES = 16 * 1024;

const typeCode = new Map<DataType, number>(DATA_TYPES.map((type, code) => [type, code]));

/** Appends numbers and tensors to a frame that grows as needed. Owned by one thread; `take` gives the frame away. */
export class FrameWriter {
  private meta = new Float64Array(512);
  private words = 0;
  private slab = new Uint8Array(FIRST_SLAB_BYTES);
  private slabBytes = 0;
  private large: ArrayBuffer[] = [];
  private texts: string[] = [];
  private parameters: Frame['parameters'] = [];
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

  /**
   * Writes one tensor as [index, type, rank, dims…, buffer, offset, bytes]. With `mayTransfer`, a large tensor's own
   * buffer leaves this thread with the frame; otherwise the bytes are copied and the caller keeps its tensor.
   */
  pushTensor(index: number, tensor: Tensor, mayTransfer: boolean): void {
    const { data } = tensor;
    let at = this.writeHead(index, tensor);
    const meta = this.meta;
    const bytes = data.byteLength;
    if (mayTransfer && bytes >= LARGE_BYTES && ownsBuffer(data)) {
      meta[at++] = this.attach(data.buffer as ArrayBuffer);
      meta[at++] = data.byteOffset;
    } else {
      const align = ELEMENT_BYTES[tensor.datatype] || 1;
      const offset = Math.ceil(this.slabBytes / align) * align;
      this.copyToSlab(data, offset, bytes);
      meta[at++] = 0;
      meta[at++] = offset;
    }
    meta[at++] = bytes;
    this.words = at;
  }

  /** Writes a tensor whose bytes lie in `buffers[buffer]`, attached before. */
  pushPlacedTensor(index: number, tensor: Tensor, buffer: number): void {
    let at = this.writeHead(index, tensor);
    const meta = this.meta;
    meta[at++] = buffer;
    meta[at++] = tensor.data.byteOffset;
    meta[at++] = tensor.data.byteLength;
    this.words = at;
  }

  /** Writes [index, type, rank, dims…] and returns where the three words of the place go; there is room for them. */
  private writeHead(index: number, { datatype, shape }: Tensor): number {
    const rank = shape.length;
    this.reserve(rank + 6);
    const meta = this.meta;
    let at = this.words;
    meta[at++] = index;
    meta[at++] = typeCode.get(datatype) as number;
    meta[at++] = rank;
    for (let i = 0; i < rank; i++) meta[at++] = shape[i];
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

  private copyToSlab(data: Uint8Array, offset: number, bytes: number): void {
    const end = offset + bytes;
    if (end > this.slab.byteLength) {
      const grown = new Uint8Array(Math.max(this.slab.byteLength * 2, end));
      grown.set(this.slab.subarray(0, this.slabBytes));
      this.slab = grown;
    }
    if (bytes <= 96) {
      const slab = this.slab;
      for (let i = 0; i < bytes; i++) slab[offset + i] = data[i];
    } else {
      this.slab.set(data, offset);
    }
    this.slabBytes = end;
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
  readonly frame: Frame;
  private at = 0;

  constructor(frame: Frame) {
    this.frame = frame;
  }

  get done(): boolean {
    return this.at >= this.frame.meta.length;
  }

  next(): number {
    return this.frame.meta[this.at++];
  }

  skipTensor(): void {
    this.at += 2;
    const rank = this.next();
    this.at += rank + 3;
  }

  /** The tensor's bytes are a view into the frame's buffers. `nameOf` gives the name for the index written before. */
  tensor(names: readonly { name: string }[]): Tensor {
    const { meta, buffers } = this.frame;
    let at = this.at;
    const name = names[meta[at++]].name;
    const datatype = DATA_TYPES[meta[at++]];
    const rank = meta[at++];
    const shape: number[] = new Array(rank);
    for (let i = 0; i < rank; i++) shape[i] = meta[at++];
    const buffer = buffers[meta[at++]];
    const offset = meta[at++];
    const bytes = meta[at++];
    this.at = at;
    return { name, datatype, shape, data: new Uint8Array(buffer, offset, bytes) };
  }
}
