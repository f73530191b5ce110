interface Event {
  at: number;
  /** Of two at the same time, the one that was added first. */
  order: number;
  happen(): void;
}

/** Events by their time: a binary heap. */
export class EventQueue {
  now = 0;
  private readonly heap: Event[] = [];
  private count = 0;

  add(at: number, happen: () => void): void {
    const { heap } = this;
    const event: Event = { at, order: this.count++, happen };
    let i = heap.push(event) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (isBefore(heap[parent], event)) break;
      heap[i] = heap[parent];
      i = parent;
    }
    heap[i] = event;
  }

  /** Until none is left. */
  run(): void {
    for (let event = this.take(); event !== undefined; event = this.take()) {
      this.now = event.at;
      event.happen();
    }
  }

  private take(): Event | undefined {
    const { heap } = this;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++;
      if (isBefore(last, heap[child])) break;
      heap[i] = heap[child];
      i = child;
    }
    heap[i] = last;
    return first;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
