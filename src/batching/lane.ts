import type { QueueItem } from './types.ts';

const INITIAL_CAPACITY = 64;
/** A drained ring larger than this gives its memory back. */
const KEPT_CAPACITY = 4096;

/**
 * Items of one shape, taken in ascending `key`, first in first out among equals. Arrivals whose key is not below the
 * last one's go to a ring (all of them, as long as deadlines grow with arrival or are absent); only the others pay
 * for a heap.
 */
export class Lane<T extends QueueItem> {
  readonly shapeKey: string;
  /** Index in the lane set's heap; -1 while the lane is empty. Owned by the lane set. */
  position = -1;
  readonly #key: (item: T) => number;
  #ring: (T | undefined)[] = new Array(INITIAL_CAPACITY).fill(undefined);
  #mask = INITIAL_CAPACITY - 1;
  #head = 0;
  #count = 0;
  #tailKey = -Infinity;
  readonly #heap: T[] = [];

  /** `key` must stay the same for an item while it is in the lane; ties are settled by `slot`. */
  constructor(shapeKey: string, key: (item: T) => number) {
    this.shapeKey = shapeKey;
    this.#key = key;
  }

  get length(): number {
    return this.#count + this.#heap.length;
  }

  /** True when the item became the lane's first. */
  push(item: T): boolean {
    const key = this.#key(item);
    if (this.#count === 0 || key >= this.#tailKey) {
      if (this.#count > this.#mask) this.#grow();
      this.#ring[(this.#head + this.#count) & this.#mask] = item;
      this.#tailKey = key;
      return ++this.#count === 1 && (this.#heap.length === 0 || this.peek() === item);
    }
    this.#heapPush(item);
    return this.#heap[0] === item && this.peek() === item;
  }

  /** The first item that satisfies the predicate, in no particular order; for the rare cases that search. */
  find(predicate: (item: T) => boolean): T | undefined {
    for (let i = 0; i < this.#count; i++) {
      const item = this.#ring[(this.#head + i) & this.#mask] as T;
      if (predicate(item)) return item;
    }
    return this.#heap.find(predicate);
  }

  /** The first item by key, which stays; undefined: the lane is empty. */
  peek(): T | undefined {
    const heap = this.#heap;
    if (heap.length === 0) return this.#count === 0 ? undefined : this.#ring[this.#head];
    if (this.#count === 0) return heap[0];
    const first = this.#ring[this.#head] as T;
    return this.#before(heap[0], first) ? heap[0] : first;
  }

  /** Takes the first item by key out; undefined: the lane is empty. */
  pop(): T | undefined {
    const item = this.peek();
    if (item === undefined) return undefined;
    if (this.#count === 0 || item !== this.#ring[this.#head]) return this.#heapPop();
    this.#ring[this.#head] = undefined;
    this.#head = (this.#head + 1) & this.#mask;
    if (--this.#count === 0 && this.#mask >= KEPT_CAPACITY) this.#reset(INITIAL_CAPACITY);
    return item;
  }

  /** Puts back what `pop` returned last: it precedes everything in the lane, so the ring stays sorted. */
  unpop(item: T): void {
    if (this.#count > this.#mask) this.#grow();
    this.#head = (this.#head - 1) & this.#mask;
    this.#ring[this.#head] = item;
    if (++this.#count === 1) this.#tailKey = this.#key(item);
  }

  /** Removes every item for which `keep` is false, in no particular order; O(n). */
  sweep(keep: (item: T) => boolean): void {
    const mask = this.#mask;
    let kept = 0;
    for (let i = 0; i < this.#count; i++) {
      const item = this.#ring[(this.#head + i) & mask] as T;
      if (keep(item)) this.#ring[(this.#head + kept++) & mask] = item;
    }
    for (let i = kept; i < this.#count; i++) this.#ring[(this.#head + i) & mask] = undefined;
    this.#count = kept;
    if (kept > 0) this.#tailKey = this.#key(this.#ring[(this.#head + kept - 1) & mask] as T);
    if (this.#heap.length === 0) return;
    const rest = this.#heap.filter(keep);
    this.#heap.length = 0;
    for (const item of rest) this.#heapPush(item);
  }

  #before(a: T, b: T): boolean {
    const keyA = this.#key(a);
    const keyB = this.#key(b);
    return keyA < keyB || (keyA === keyB && a.slot < b.slot);
  }

  #heapPush(item: T): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(item, heap[parent])) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = item;
  }

  #heapPop(): T {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop() as T;
    const size = heap.length;
    if (size === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#before(heap[child + 1], heap[child])) child++;
      if (!this.#before(heap[child], last)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = last;
    return top;
  }

  #grow(): void {
    const old = this.#ring;
    const head = this.#head;
    const mask = this.#mask;
    const count = this.#count;
    this.#reset(old.length * 2);
    for (let i = 0; i < count; i++) this.#ring[i] = old[(head + i) & mask];
    this.#count = count;
  }

  #reset(capacity: number): void {
    this.#ring = new Array(capacity).fill(undefined);
    this.#mask = capacity - 1;
    this.#head = 0;
    this.#count = 0;
  }
}
