import type { DataType, Tensor } from './tensor.ts';

/**
 * A batch's input whose rows still lie in pieces, one behind the other, for a backend that copies them itself. `shape` may
 * have more rows than the pieces: those repeat the last one. Whoever asks for `data` gets one block of it all. A spread
 * copy of it lacks `data`: name the fields to be copied.
 */
export class PiecedTensor implements Tensor {
  readonly name: string;
  readonly datatype: DataType;
  readonly shape: number[];
  /** Whole rows of elements of a fixed width, at least one. */
  readonly pieces: readonly Uint8Array[];
  private readonly bytes: number;
  private block: Uint8Array | undefined = undefined;

  /** `bytes`: of `shape`. */
  constructor(name: string, datatype: DataType, shape: number[], pieces: readonly Uint8Array[], bytes: number) {
    this.name = name;
    this.datatype = datatype;
    this.shape = shape;
    this.pieces = pieces;
    this.bytes = bytes;
  }

  get data(): Uint8Array {
    this.block ??= joinRows(this.pieces, this.bytes / this.shape[0], this.bytes);
    return this.block;
  }
}

/** One block of `bytes` bytes: the pieces, and behind them their last row as often as there is room. */
export function joinRows(pieces: readonly Uint8Array[], rowBytes: number, bytes: number): Uint8Array {
  // Every byte below is written, so the buffer need not be cleared first.
  const block = Buffer.allocUnsafeSlow(bytes);
  let at = 0;
  for (const piece of pieces) {
    block.set(piece, at);
    at += piece.length;
  }
  for (const last = at - rowBytes; rowBytes > 0 && at < bytes; at += rowBytes)
    block.copyWithin(at, last, last + rowBytes);
  return new Uint8Array(block.buffer, block.byteOffset, block.length);
}
