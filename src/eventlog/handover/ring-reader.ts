import {
  countersOf,
  EPOCH,
  LARGE,
  LOST,
  ORIGIN,
  ORIGIN_TEXTS,
  READ,
  REQUEST,
  RESET,
  REST,
  type RingMemory,
  TAKEN,
  TARGET,
  TEXT,
  type Views,
  viewsOf,
  WRITTEN,
  wordsOf,
} from './memory.ts';
import type { CompleteRule } from './targets.ts';

/** A text as the ring defined it. */
export interface DefinedText {
  text: string;
  utf8: Uint8Array;
}

export interface DefinedOrigin {
  rule: CompleteRule;
  texts: Record<(typeof ORIGIN_TEXTS)[number], DefinedText>;
  flags: number;
}

/** A request in the ring: `views` from byte `base` on, until the call returns. */
export interface RingRequest {
  views: Views;
  base: number;
  origin: DefinedOrigin;
  /** By number: names of tensors and variants. */
  texts: readonly DefinedText[];
}

/** The log thread's side of one ring. */
export class RingReader {
  private readonly ring: Views;
  private readonly words: Int32Array;
  private readonly counters: Float64Array;
  private readonly epoch: number;
  private texts: DefinedText[] = [];
  private rules: CompleteRule[] = [];
  private origins: DefinedOrigin[] = [];
  /** False until the writer has answered this reader's epoch: what is before refers to what is not known here. */
  private ready = false;
  private readonly current: RingRequest;

  constructor(memory: RingMemory) {
    this.ring = viewsOf(memory.data);
    this.words = wordsOf(memory);
    this.counters = countersOf(memory);
    this.epoch = Atomics.add(this.words, EPOCH, 1) + 1;
    this.current = { views: this.ring, base: 0, origin: undefined as unknown as DefinedOrigin, texts: this.texts };
  }

  /** Bytes that wait. */
  get waiting(): number {
    const bytes = (Atomics.load(this.words, WRITTEN) - this.words[READ]) * 8;
    return bytes >= 0 ? bytes : bytes + this.ring.u8.length;
  }

  /** How full the ring is, 0 to 1. */
  get fill(): number {
    return this.waiting / this.ring.u8.length;
  }

  /** Hands each request to `take`, up to about `maxBytes`; returns how many there were. What was handed is free afterwards. */
  drain(take: (request: RingRequest) => void, maxBytes: number): number {
    const { ring, words, counters } = this;
    const end = Atomics.load(words, WRITTEN) * 8;
    let at = words[READ] * 8;
    let bytes = 0;
    let taken = 0;
    while (at !== end && bytes < maxBytes) {
      const length = ring.u32[at >> 2];
      if (length === REST) {
        at = 0;
        continue;
      }
      taken += this.record(ring, at, take);
      at += length;
      if (at === ring.u8.length) at = 0;
      bytes += length;
    }
    Atomics.store(words, READ, at >> 3);
    counters[TAKEN] += taken;
    return taken;
  }

  /** A record that came by message. What it refers to is in the ring already. */
  large(record: ArrayBuffer, take: (request: RingRequest) => void): void {
    this.drain(take, Number.POSITIVE_INFINITY);
    this.counters[TAKEN] += this.record(viewsOf(record), 0, take);
    Atomics.sub(this.words, LARGE, record.byteLength);
  }

  private record(views: Views, base: number, take: (request: RingRequest) => void): number {
    const { u8, u32 } = views;
    const at = base >> 2;
    const kind = u32[at + 1] & 0xff;
    if (kind === RESET) {
      this.texts = [];
      this.rules = [];
      this.origins = [];
      this.current.texts = this.texts;
      this.ready = u32[at + 2] === this.epoch;
      return 0;
    }
    if (!this.ready) {
      if (kind !== REQUEST) return 0;
      this.counters[LOST]++;
      return 1;
    }
    if (kind === REQUEST) {
      const { current } = this;
      current.views = views;
      current.base = base;
      current.origin = this.origins[u32[at + 2]];
      take(current);
      return 1;
    }
    if (kind === ORIGIN) this.defineOrigin(u32, at);
    else {
      const utf8 = u8.slice(base + 16, base + 16 + u32[at + 3]);
      const text = Buffer.from(utf8).toString('utf8');
      if (kind === TEXT) this.texts[u32[at + 2]] = { text, utf8 };
      else if (kind === TARGET) this.rules[u32[at + 2]] = JSON.parse(text) as CompleteRule;
    }
    return 0;
  }

  private defineOrigin(u32: Uint32Array, at: number): void {
    const texts = Object.fromEntries(
      ORIGIN_TEXTS.map((name, i) => [name, this.texts[u32[at + 4 + i]]]),
    ) as DefinedOrigin['texts'];
    this.origins[u32[at + 2]] = { rule: this.rules[u32[at + 3]], texts, flags: u32[at + 4 + ORIGIN_TEXTS.length] };
  }
}
