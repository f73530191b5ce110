import { Lane } from './lane.ts';
import type { QueueItem } from './types.ts';

/** Empty lanes kept for the next item of their shape; beyond it they go, so that odd shapes cost no memory. */
const KEPT_LANES = 64;

/**
 * The waiting items of one priority level, a lane per shape, and a heap of the lanes by their first item. With
 * `fifo` there is one lane for every shape, in order of arrival.
 */
export class LaneSet<T extends QueueItem> {
  readonly #key: (item: T) => number;
  readonly #fifo: boolean;
  readonly #heap: Lane<T>[] = [];
  readonly #byShape = new Map<string, Lane<T>>();
  #last: Lane<T> | undefined;

  constructor(key: (item: T) => number, fifo: boolean) {
    this.#key = key;
    this.#fifo = fifo;
  }

  /** The lane whose first item comes first, or undefined when nothing waits. */
  top(): Lane<T> | undefined {
    return this.#heap[0];
  }

  /** The lane that holds items of this shape (with `fifo`: the one lane). */
  find(shapeKey: string): Lane<T> | undefined {
    const last = this.#last;
    if (last !== undefined && (this.#fifo || last.shapeKey === shapeKey)) return last;
    return this.#byShape.get(shapeKey);
  }

  /** Any item that satisfies the predicate. */
  findItem(predicate: (item: T) => boolean): T | undefined {
    for (const lane of this.#heap) {
      const found = lane.find(predicate);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Puts an item into the lane of its shape, and that lane where its first item now belongs. */
  push(item: T): void {
    let lane = this.find(item.shapeKey);
    if (lane === undefined) {
      lane = new Lane<T>(item.shapeKey, this.#key);
      this.#byShape.set(item.shapeKey, lane);
    }
    this.#last = lane;
    if (!lane.push(item)) return;
    if (lane.position < 0) {
      lane.position = this.#heap.length;
      this.#heap.push(lane);
    }
    this.#up(lane);
  }

  /** Must follow any `pop`, `unpop` or `sweep` on a lane: puts it where its first item now belongs. */
  settle(lane: Lane<T>): void {
    if (lane.length > 0) {
      if (lane.position < 0) {
        lane.position = this.#heap.length;
        this.#heap.push(lane);
      }
      if (this.#heap.length === 1) return;
      this.#up(lane);
      this.#down(lane);
      return;
    }
    if (lane.position >= 0) this.#remove(lane);
    if (this.#byShape.size > KEPT_LANES) {
      this.#byShape.delete(lane.shapeKey);
      if (this.#last === lane) this.#last = undefined;
    }
  }

  /** Removes every item for which `keep` is false. */
  sweep(keep: (item: T) => boolean): void {
    for (const lane of [...this.#heap]) {
      lane.sweep(keep);
      this.settle(lane);
    }
  }

  #remove(lane: Lane<T>): void {
    const heap = this.#heap;
    const at = lane.position;
    const last = heap.pop() as Lane<T>;
    lane.position = -1;
    if (last === lane) return;
    heap[at] = last;
    last.position = at;
    this.#up(last);
    this.#down(last);
  }

  #before(a: Lane<T>, b: Lane<T>): boolean {
    const first = a.peek() as T;
    const second = b.peek() as T;
    const keyA = this.#key(first);
    const keyB = this.#key(second);
    return keyA < keyB || (keyA === keyB && first.slot < second.slot);
  }

  #up(lane: Lane<T>): void {
    const heap = this.#heap;
    let at = lane.position;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(lane, heap[parent])) break;
      heap[at] = heap[parent];
      heap[at].position = at;
      at = parent;
    }
    heap[at] = lane;
    lane.position = at;
  }

  #down(lane: Lane<T>): void {
    const heap = this.#heap;
    let at = lane.position;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#before(heap[child + 1], heap[child])) child++;
      if (!this.#before(heap[child], lane)) break;
      heap[at] = heap[child];
      heap[at].position = at;
      at = child;
    }
    heap[at] = lane;
    lane.position = at;
  }
}
