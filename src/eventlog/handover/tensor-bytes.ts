import { PlacedTensor } from '../../tensor/placed.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Views } from './memory.ts';

/** Up to here a loop copies faster than a call. */
const FEW_BYTES = 96;
const NO_WORDS = new Uint32Array(0);

/**
 * Copies the bytes of tensors. Most are a handful of numbers and lie in a buffer that many share: those are copied by
 * words, with no view made of each. Who takes from two such buffers in turn has one of these for each.
 */
export class TensorBytes {
  private source: Uint8Array | undefined;
  /** Of the source in `words`. */
  private offset = 0;
  /** All of the source's memory; none until it is met again, since a view costs more than one tensor's bytes do. */
  private words: Uint32Array = NO_WORDS;

  /** @param start a multiple of 8 */
  copy(tensor: Tensor, bytes: number, to: Views, start: number): void {
    if (bytes > FEW_BYTES) to.u8.set(tensor.data, start);
    else if (tensor instanceof PlacedTensor) this.copyPlaced(tensor.source, tensor.offset, bytes, to, start);
    else copyBytes(tensor.data, 0, bytes, to.u8, start);
  }

  private copyPlaced(source: Uint8Array, from: number, bytes: number, { u8, u32 }: Views, start: number): void {
    if (source !== this.source) {
      this.source = source;
      this.words = NO_WORDS;
    } else if (this.words === NO_WORDS) {
      this.offset = source.byteOffset;
      this.words = new Uint32Array(source.buffer, 0, source.buffer.byteLength >> 2);
    }
    const { words, offset } = this;
    const first = offset + from;
    // Also false where the words are none.
    if (((first | bytes) & 3) !== 0 || (first + bytes) >> 2 > words.length) copyBytes(source, from, bytes, u8, start);
    else for (let i = 0; i < bytes >> 2; i++) u32[(start >> 2) + i] = words[(first >> 2) + i];
  }
}

function copyBytes(source: Uint8Array, from: number, bytes: number, u8: Uint8Array, start: number): void {
  for (let i = 0; i < bytes; i++) u8[start + i] = source[from + i];
}
