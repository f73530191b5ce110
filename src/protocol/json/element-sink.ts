import { invalidArgument, type SwitchyardError } from '../../shared/errors.ts';
import { numberToBf16, numberToFp16 } from '../../tensor/half.ts';
import { type DataType, ELEMENT_BYTES } from '../../tensor/tensor.ts';
import { Block, SHARED_LIMIT, sharedBlock, sharedOffset, takeShared } from './block.ts';

/** Decoded numbers wait here as doubles and are stored in runs, so that the reading loop knows nothing of types. */
export const PENDING = new Float64Array(1024);

/** Range of each integer type that fits a double. */
const LIMITS: Partial<Record<DataType, readonly [number, number]>> = {
  BOOL: [0, 1],
  UINT8: [0, 255],
  UINT16: [0, 65535],
  UINT32: [0, 4294967295],
  INT8: [-128, 127],
  INT16: [-32768, 32767],
  INT32: [-2147483648, 2147483647],
};

const NO_SHAPE: number[] = [];

/** How elements of a type are read. */
export const NUMBERS = 0;
export const INTEGERS_64 = 1;
export const STRINGS = 2;

/**
 * Collects the elements of one tensor as little-endian bytes. `fixed` sinks know the count beforehand, allocate once
 * and only count what comes beyond it; growing ones double. The bytes that `take` returns may be part of a slab that
 * other tensors share: never transfer their ArrayBuffer.
 */
export class ElementSink {
  readonly name: string;
  readonly datatype: DataType;
  readonly reads: number;
  /** Elements seen. */
  count = 0;
  /** Whether scanElements shall fill in the shape of the nested arrays and whether they were regular. */
  readonly wantsShape: boolean;
  shape: number[] = NO_SHAPE;
  regular = true;

  private readonly size: number;
  private readonly growing: boolean;
  private block: Block;
  private base = 0;
  private capacity: number;
  private readonly shared: boolean;
  /** BYTES only: bytes written. */
  private bytes = 0;

  /** `expected`: elements that will be stored, -1 for a growing sink. */
  constructor(name: string, datatype: DataType, expected: number) {
    this.name = name;
    this.datatype = datatype;
    const size = ELEMENT_BYTES[datatype];
    this.size = size;
    this.wantsShape = expected < 0;
    this.reads = size === 0 ? STRINGS : datatype === 'INT64' || datatype === 'UINT64' ? INTEGERS_64 : NUMBERS;
    this.growing = expected < 0 || size === 0;
    if (this.growing) {
      this.shared = false;
      this.block = new Block(256);
      this.capacity = size === 0 ? 0 : 256 / size;
    } else {
      this.capacity = expected;
      this.shared = expected * size <= SHARED_LIMIT;
      this.block = this.shared ? sharedBlock() : new Block(expected * size);
      this.base = this.shared ? sharedOffset() : 0;
    }
  }

  /** The finished bytes, owned by the caller. Only for as many elements as a fixed sink was made for. */
  take(): Uint8Array {
    const length = this.size === 0 ? this.bytes : this.count * this.size;
    if (this.shared) takeShared(length);
    return new Uint8Array(this.block.u8.buffer as ArrayBuffer, this.base, length);
  }

  /** Stores the first `n` pending doubles. Throws invalid_argument where one does not fit the type. */
  store(n: number): void {
    const from = this.count;
    this.count += n;
    let fits = n;
    if (this.count > this.capacity) {
      if (this.growing) this.grow(this.count * this.size);
      else fits = Math.max(0, this.capacity - from);
    }
    const block = this.block;
    switch (this.datatype) {
      case 'FP32':
        this.storeFloats(block.f32, (this.base >> 2) + from, from, fits);
        return;
      case 'FP64': {
        const at = (this.base >> 3) + from;
        for (let i = 0; i < fits; i++) block.f64[at + i] = PENDING[i];
        return;
      }
      case 'INT32':
        this.storeIntegers(block.i32, (this.base >> 2) + from, from, fits);
        return;
      case 'UINT32':
        this.storeIntegers(block.u32, (this.base >> 2) + from, from, fits);
        return;
      case 'INT16':
        this.storeIntegers(block.i16, (this.base >> 1) + from, from, fits);
        return;
      case 'UINT16':
        this.storeIntegers(block.u16, (this.base >> 1) + from, from, fits);
        return;
      case 'INT8':
        this.storeIntegers(block.i8, this.base + from, from, fits);
        return;
      case 'UINT8':
      case 'BOOL':
        this.storeIntegers(block.u8, this.base + from, from, fits);
        return;
      case 'FP16':
        this.storeHalves(numberToFp16, 0x7c00, (this.base >> 1) + from, from, fits);
        return;
      case 'BF16':
        this.storeHalves(numberToBf16, 0x7f80, (this.base >> 1) + from, from, fits);
        return;
    }
  }

  private storeHalves(convert: (value: number) => number, infinity: number, at: number, from: number, n: number): void {
    for (let i = 0; i < n; i++) {
      const value = PENDING[i];
      const half = convert(value);
      if ((half & 0x7fff) === infinity && Math.abs(value) !== Infinity) {
        throw this.refuse(from + i, String(value), `the range of ${this.datatype}`);
      }
      this.block.u16[at + i] = half;
    }
  }

  private storeFloats(out: Float32Array, at: number, from: number, n: number): void {
    for (let i = 0; i < n; i++) {
      const value = PENDING[i];
      const single = Math.fround(value);
      if (single - single !== 0 && value - value === 0) throw this.refuse(from + i, String(value), 'the range of FP32');
      out[at + i] = single;
    }
  }

  private storeIntegers(
    out: Int32Array | Uint32Array | Int16Array | Uint16Array | Int8Array | Uint8Array,
    at: number,
    from: number,
    n: number,
  ): void {
    const limits = LIMITS[this.datatype]!;
    const low = limits[0];
    const high = limits[1];
    for (let i = 0; i < n; i++) {
      const value = PENDING[i];
      if (!(value >= low && value <= high) || value !== Math.floor(value)) {
        throw this.refuse(from + i, String(value), `${this.datatype}, an integer from ${low} to ${high}`);
      }
      out[at + i] = value;
    }
  }

  /** Stores one 64-bit element by its halves. */
  store64(high: number, low: number): void {
    const index = this.count++;
    if (index >= this.capacity) {
      if (!this.growing) return;
      this.grow((index + 1) * 8);
    }
    const at = (this.base >> 2) + index * 2;
    this.block.u32[at] = low;
    this.block.u32[at + 1] = high;
  }

  /** Room for a BYTES element of at most `max` bytes; write them from the returned offset of `target()` on. */
  openBytes(max: number): number {
    if (this.bytes + 4 + max > this.block.u8.length) this.grow(this.bytes + 4 + max);
    return this.bytes + 4;
  }

  target(): Uint8Array {
    return this.block.u8;
  }

  /** Ends the BYTES element whose bytes stop at offset `end` of `target()`. */
  closeBytes(end: number): void {
    const length = end - this.bytes - 4;
    const out = this.block.u8;
    out[this.bytes] = length;
    out[this.bytes + 1] = length >>> 8;
    out[this.bytes + 2] = length >>> 16;
    out[this.bytes + 3] = length >>> 24;
    this.bytes = end;
    this.count++;
  }

  refuse(index: number, value: string, allowed: string): SwitchyardError {
    return invalidArgument(`input '${this.name}': element ${index} is ${value}, which is not within ${allowed}`);
  }

  private grow(bytes: number): void {
    const bigger = new Block(Math.max(bytes, this.block.u8.length * 2));
    bigger.u8.set(this.block.u8);
    this.block = bigger;
    if (this.size > 0) this.capacity = Math.floor(bigger.u8.length / this.size);
  }
}
