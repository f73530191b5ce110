import type { RequestHeaders } from '../../pipeline/types.ts';

/** The headers that routes ask for, as texts: the head is the socket's and gone when the request callback returns. */
export class KeptHeaders implements RequestHeaders {
  private readonly names: readonly string[];
  private readonly values: string[];

  /** @param names of this model's routes: few, and the same texts for every request */
  constructor(head: { header(name: string): string }, names: readonly string[]) {
    this.names = names;
    this.values = new Array<string>(names.length);
    for (let i = 0; i < names.length; i++) this.values[i] = head.header(names[i]);
  }

  header(name: string): string | undefined {
    const value = this.values[this.names.indexOf(name)];
    return value === '' ? undefined : value;
  }
}
