import type { HeaderBytes, RequestHeaders } from '../../pipeline/types.ts';

/** Where headers lie that have not become texts: of the server, which has one turn's bytes at a time. */
export interface HeaderSource {
  /** Grows with each turn of the loop that tells of requests. */
  readonly turn: number;
  /** By the words that tell of it: during its turn. */
  text(at: number): string;
  bytes(at: number): HeaderBytes;
  /** Looked up in the head that the connection keeps until the request is answered; '' = absent. */
  search(name: string, slot: number, generation: number): string;
}

/**
 * Headers of one request that routes ask for. Those that came with a number are texts already. Of the others it is known
 * where they lie: each user's id is another one, and to be hashed it need not become a text.
 */
export class NativeHeaders implements RequestHeaders {
  private readonly source: HeaderSource;
  private readonly names: readonly string[];
  /** Texts, places of words, undefined for what is absent. */
  private readonly values: readonly (string | number | undefined)[];
  private readonly turn: number;
  private readonly slot: number;
  private readonly generation: number;

  constructor(
    source: HeaderSource,
    slot: number,
    generation: number,
    names: readonly string[],
    values: readonly (string | number | undefined)[],
  ) {
    this.source = source;
    this.names = names;
    this.values = values;
    this.turn = source.turn;
    this.slot = slot;
    this.generation = generation;
  }

  header(name: string): string | undefined {
    const value = this.values[placeOf(this.names, name)];
    if (typeof value !== 'number') return value;
    const { source } = this;
    const text = this.turn === source.turn ? source.text(value) : source.search(name, this.slot, this.generation);
    return text === '' ? undefined : text;
  }

  bytes(name: string): HeaderBytes | undefined {
    const value = this.values[placeOf(this.names, name)];
    return typeof value === 'number' && this.turn === this.source.turn ? this.source.bytes(value) : undefined;
  }
}

/** As indexOf, which costs a call. */
function placeOf(names: readonly string[], name: string): number {
  for (let i = 0; i < names.length; i++) if (names[i] === name) return i;
  return -1;
}
