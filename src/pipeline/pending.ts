import type { Turn } from './response-order.ts';
import type { InferRequest, RequestContext, ResponseObserver, ServingVersion, Submission, Timings } from './types.ts';

/** Where a request is. It only moves forward; DONE means that the observer has had its terminal call or was cancelled. */
export const STATE = { QUEUED: 0, DONE: 1 } as const;
export type State = (typeof STATE)[keyof typeof STATE];

/**
 * Before the table gives an id. Ids outgrow V8's small integers, and a field that begins as one would cost each request
 * a change of its object's layout; NaN makes the field a float from the start.
 */
export const NO_ID: number = Number.NaN;

/** One unit of work at an executor: a client's request, or one step of an ensemble. */
export interface Pending {
  id: number;
  state: State;
  request: InferRequest;
  context: RequestContext;
  observer: ResponseObserver;
  version: ServingVersion;
  executor: number;
  rows: number;
  outputs: number;
  /** Bytes of all inputs; the tensors themselves may have left with the frame. */
  inputBytes: number;
  /** Where this answer is kept when the model caches. */
  cacheKey: string;
  /** Of the last response of a stream: what its run has taken. */
  streamed: Timings | undefined;
  /** Sent again already, after its executor was lost or could not run it. */
  retried: boolean;
  /** The inputs' bytes stay here when it is sent, because it may have to be sent again or another step reads them. */
  replayable: boolean;
  /** Of a model with `preserve_ordering`, until it is answered. */
  turn: Turn | undefined;
}

export function newPending(
  version: ServingVersion,
  request: InferRequest,
  context: RequestContext,
  observer: ResponseObserver,
): Pending {
  return {
    id: NO_ID,
    state: STATE.QUEUED,
    request,
    context,
    observer,
    version,
    executor: -1,
    rows: 0,
    outputs: 0,
    inputBytes: 0,
    cacheKey: '',
    streamed: undefined,
    retried: false,
    replayable: false,
    turn: undefined,
  };
}

/**
 * Requests in flight by id. An id is slot + generation × 2^20, so that a late reply for a reused slot is recognised
 * as such and dropped.
 */
export class PendingTable {
  private slots: (Pending | undefined)[] = [];
  private generations: number[] = [];
  private free: number[] = [];
  size = 0;
  /** How many have a finite deadline; the sweep is skipped at 0. */
  withDeadline = 0;

  add(pending: Pending): number {
    let slot = this.free.pop();
    if (slot === undefined) {
      slot = this.slots.length;
      this.slots.push(undefined);
      this.generations.push(0);
    }
    pending.id = slot + this.generations[slot] * SLOTS;
    this.slots[slot] = pending;
    this.size++;
    if (pending.context.deadline !== Number.POSITIVE_INFINITY) this.withDeadline++;
    return pending.id;
  }

  get(id: number): Pending | undefined {
    const pending = this.slots[id % SLOTS];
    return pending !== undefined && pending.id === id ? pending : undefined;
  }

  remove(pending: Pending): void {
    const slot = pending.id % SLOTS;
    if (this.slots[slot] !== pending) return;
    this.slots[slot] = undefined;
    this.generations[slot] = (this.generations[slot] + 1) % MAX_GENERATION;
    this.free.push(slot);
    this.size--;
    if (pending.context.deadline !== Number.POSITIVE_INFINITY) this.withDeadline--;
  }

  forEach(visit: (pending: Pending) => void): void {
    for (const pending of this.slots) if (pending !== undefined) visit(pending);
  }
}

const SLOTS = 2 ** 20;
const MAX_GENERATION = 2 ** 30;

/** A client's hold on its request. */
export class PendingSubmission implements Submission {
  private readonly requests: { cancel(pending: Pending): void };
  private readonly pending: Pending;

  constructor(requests: { cancel(pending: Pending): void }, pending: Pending) {
    this.requests = requests;
    this.pending = pending;
  }

  cancel(): void {
    this.requests.cancel(this.pending);
  }
}
