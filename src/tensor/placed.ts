import type { DataType, Tensor } from './tensor.ts';

/**
 * A tensor whose bytes lie somewhere in a larger buffer. The view of its own bytes is made when someone first asks for
 * it: what merges or prints many small tensors of one buffer reads them by their offsets, and a view costs more than
 * the handful of numbers it shows. A spread copy of it lacks `data`: name the fields to be copied.
 */
export class PlacedTensor implements Tensor {
  readonly name: string;
  readonly datatype: DataType;
  /** Shared with other tensors of the same shape: never changed. */
  readonly shape: number[];
  /** The whole buffer. */
  readonly source: Uint8Array;
  readonly offset: number;
  readonly bytes: number;
  private view: Uint8Array | undefined = undefined;

  constructor(name: string, datatype: DataType, shape: number[], source: Uint8Array, offset: number, bytes: number) {
    this.name = name;
    this.datatype = datatype;
    this.shape = shape;
    this.source = source;
    this.offset = offset;
    this.bytes = bytes;
  }

  get data(): Uint8Array {
    this.view ??= new Uint8Array(this.source.buffer as ArrayBuffer, this.source.byteOffset + this.offset, this.bytes);
    return this.view;
  }
}

/** Bytes of one tensor, without making a view of them. */
export function bytesOf(tensor: Tensor): number {
  return tensor instanceof PlacedTensor ? tensor.bytes : tensor.data.byteLength;
}

/** Bytes of all the tensors together. */
export function byteLength(tensors: readonly Tensor[]): number {
  let bytes = 0;
  for (let i = 0; i < tensors.length; i++) bytes += bytesOf(tensors[i]);
  return bytes;
}
