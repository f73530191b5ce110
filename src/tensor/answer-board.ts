import type { NativeServer } from './native.ts';

/**
 * Answers that are left for the addon in memory which both sides see: it takes them at the end of the turn of the loop.
 * native/src/server_binding.h is the other side.
 */
export class AnswerBoard {
  /** Their count, then so many words for each, which begin with slot, generation and offset in `bytes`. */
  readonly words: Int32Array;
  readonly bytes: Buffer;
  private readonly wordsEach: number;
  private readonly most: number;
  private readonly flush: () => void;
  private used = 0;

  /** @param flush lets the addon take all there are, so that there is room for more */
  constructor({ answers, answerBytes }: NativeServer, wordsEach: number, flush: () => void) {
    this.words = answers;
    this.bytes = Buffer.from(answerBytes);
    this.wordsEach = wordsEach;
    this.most = (answers.length - 1) / wordsEach;
    this.flush = flush;
  }

  /**
   * Adds an answer of `length` bytes, `bytes.length` at most; the caller fills in its bytes and the rest of its words.
   * @returns where its words begin
   */
  add(slot: number, generation: number, length: number): number {
    const { words } = this;
    let count = words[0];
    if (count === this.most || (count > 0 && this.used + length > this.bytes.length)) {
      this.flush();
      count = 0;
    }
    // The addon has taken all there was.
    if (count === 0) this.used = 0;
    const at = 1 + count * this.wordsEach;
    words[at] = slot;
    words[at + 1] = generation;
    words[at + 2] = this.used;
    words[0] = count + 1;
    this.used += length;
    return at;
  }
}
