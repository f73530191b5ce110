/** One buffer seen as every element type. Its length is a multiple of 8. */
export class Block {
  readonly u8: Uint8Array;
  readonly i8: Int8Array;
  readonly u16: Uint16Array;
  readonly i16: Int16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly f32: Float32Array;
  readonly f64: Float64Array;

  constructor(bytes: number) {
    const buffer = new ArrayBuffer((bytes + 7) & ~7);
    this.u8 = new Uint8Array(buffer);
    this.i8 = new Int8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.i16 = new Int16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.f32 = new Float32Array(buffer);
    this.f64 = new Float64Array(buffer);
  }
}

const SLAB_BYTES = 65536;
/** Tensors up to this size share slabs: a buffer of its own costs more than decoding a small tensor. */
export const SHARED_LIMIT = 4096;

let slab = new Block(SLAB_BYTES);
let used = 0;

/** The current slab with at least SHARED_LIMIT free bytes from `sharedOffset()` on. */
export function sharedBlock(): Block {
  if (used + SHARED_LIMIT > SLAB_BYTES || slab.u8.length === 0) {
    slab = new Block(SLAB_BYTES);
    used = 0;
  }
  return slab;
}

/** Where the free part of the current slab starts; a multiple of 8. */
export function sharedOffset(): number {
  return used;
}

/** Takes `bytes` of the current slab: they belong to a tensor from now on. */
export function takeShared(bytes: number): void {
  used += (bytes + 7) & ~7;
}

/** A copy in the current slab. At most SHARED_LIMIT bytes. */
export function copyShared(bytes: Uint8Array): Uint8Array {
  const { u8 } = sharedBlock();
  const from = used;
  u8.set(bytes, from);
  takeShared(bytes.length);
  return u8.subarray(from, from + bytes.length);
}
