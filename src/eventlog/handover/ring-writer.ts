import { LARGE, READ, REST, type RingMemory, type Views, viewsOf, WRITTEN, wordsOf } from './memory.ts';

/** The writing side of a ring: reserve, write through `views` from `base` on, commit. */
export class RingWriter {
  /** Where the reserved record lies. */
  views: Views;
  /** Its first byte, a multiple of 8. */
  base = 0;
  private readonly ring: Views;
  private readonly words: Int32Array;
  private readonly size: number;
  private written = 0;
  /** The reader's position when it was last looked up: looking costs a fence. */
  private read = 0;
  private large: ArrayBuffer | undefined;
  private readonly sendLarge: (record: ArrayBuffer) => void;

  /** `sendLarge` gets a record that would take more than an eighth of the ring; its bytes are counted in LARGE. */
  constructor(memory: RingMemory, sendLarge: (record: ArrayBuffer) => void) {
    this.ring = viewsOf(memory.data);
    this.views = this.ring;
    this.words = wordsOf(memory);
    this.size = memory.data.byteLength;
    this.sendLarge = sendLarge;
  }

  /** False: no room now. `bytes` is an upper bound. */
  reserve(bytes: number): boolean {
    if (bytes > this.size >> 3) return this.reserveLarge(bytes);
    this.views = this.ring;
    if (this.place(bytes)) return true;
    this.read = Atomics.load(this.words, READ) * 8;
    return this.place(bytes);
  }

  private place(bytes: number): boolean {
    const { written, read, size } = this;
    if (written < read) {
      this.base = written;
      return bytes < read - written;
    }
    // A ring that is full to the last byte would look empty.
    if (bytes < size - written || (bytes === size - written && read > 0)) {
      this.base = written;
      return true;
    }
    if (bytes >= read) return false;
    if (written < size) this.ring.u32[written >> 2] = REST;
    this.written = 0;
    this.base = 0;
    return true;
  }

  private reserveLarge(bytes: number): boolean {
    if (Atomics.load(this.words, LARGE) + bytes > this.size) return false;
    this.large = new ArrayBuffer((bytes + 7) & ~7);
    this.views = viewsOf(this.large);
    this.base = 0;
    return true;
  }

  /** `bytes`: what the record took, a multiple of 8. */
  commit(bytes: number): void {
    this.views.u32[this.base >> 2] = bytes;
    if (this.large !== undefined) {
      Atomics.add(this.words, LARGE, this.large.byteLength);
      this.sendLarge(this.large);
      this.large = undefined;
      return;
    }
    this.written = this.base + bytes;
    if (this.written === this.size) this.written = 0;
    Atomics.store(this.words, WRITTEN, this.written >> 3);
  }
}
