const HANDLE = 0;
const BEGUN = 1;
const HUNG_AT = 2;
const FIELDS = 3;

/** A run that takes so many times as long as its batch size is known to take is not just slow. */
const BEYOND_LEARNED = 20;

/** A run that has taken too long. Times: monotonicMs(). */
export interface OverdueRun {
  handle: number;
  begun: number;
}

/**
 * What an executor's thread is computing and from when on that counts as hung, in memory it shares with the control
 * thread: a thread that computes can send no message. The executor writes, the control thread only looks.
 */
export class RunMark {
  readonly #fields: Float64Array;

  constructor(memory: SharedArrayBuffer) {
    this.#fields = new Float64Array(memory);
  }

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(FIELDS * Float64Array.BYTES_PER_ELEMENT);
  }

  begin(handle: number, now: number, hungAt: number): void {
    this.#fields[HANDLE] = handle;
    this.#fields[BEGUN] = now;
    this.#fields[HUNG_AT] = hungAt;
  }

  end(): void {
    this.#fields[HUNG_AT] = 0;
  }

  overdue(now: number): OverdueRun | undefined {
    const hungAt = this.#fields[HUNG_AT];
    if (hungAt === 0 || now < hungAt) return undefined;
    return { handle: this.#fields[HANDLE], begun: this.#fields[BEGUN] };
  }
}

/**
 * From when on a run that begins `now` is hung: behind the version's limit, far behind what runs of its size are known
 * to take, and behind every deadline in the batch, since until then someone waits for it. Milliseconds; infinite =
 * nothing learned, no deadline: such say nothing.
 */
export function hungFrom(
  now: number,
  limitMs: number,
  expectedMs: number,
  batch: readonly { deadline: number }[],
): number {
  const learned = expectedMs === Number.POSITIVE_INFINITY ? 0 : expectedMs * BEYOND_LEARNED;
  let hungAt = now + Math.max(limitMs, learned);
  for (const { deadline } of batch) if (deadline > hungAt && deadline !== Number.POSITIVE_INFINITY) hungAt = deadline;
  return hungAt;
}
