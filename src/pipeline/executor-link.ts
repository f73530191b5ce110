import type { MessagePort } from 'node:worker_threads';
import { queueBound } from '../batching/queue-bound.ts';
import { COPY_LEVEL } from '../batching/types.ts';
import { type Frame, FrameWriter } from '../executor/frame.ts';
import { CANCEL, INFER, INFER_ALONE } from '../executor/messages.ts';
import { modelParameters } from './model-parameters.ts';
import type { Pending } from './pending.ts';

/**
 * An executor that has nothing to do gets its first requests before the tick ends: while the thread reads the rest of a
 * burst, the executor runs, and has answers when the thread is done. Otherwise the two would take turns, each waiting
 * for the other.
 */
const HEAD_START = 16;
/** Milliseconds per request from which on a fuller batch is worth more than a head start. */
const SLOW_PACE = 0.1;

/** What may be sent on: the text is the client's. */
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;
/** As long as everyone has to send on. */
const TRACESTATE = /^[ -~]{1,512}$/;

/** A gateway thread's side of one executor: collects this tick's requests and sends them as one message. */
export class ExecutorLink {
  readonly id: number;
  /** Requests sent and not yet answered: what least-loaded choice goes by. */
  outstanding = 0;
  /** Those of them that are copies for a shadow: counted out by `ended`. */
  copies = 0;
  /** Clients' unanswered requests of each version whose queue is bounded, by handle. */
  private readonly bounded = new Map<number, number>();
  /** Milliseconds per answered request while busy, smoothed; 0: nothing measured yet. */
  private pace = 0;
  private lastAnswers = 0;
  private readonly port: MessagePort;
  private readonly writer = new FrameWriter();
  private scheduled = false;
  /** Requests in the frame being written. */
  private inFrame = 0;
  private readonly flushBound = () => {
    this.scheduled = false;
    this.flush();
  };

  constructor(id: number, port: MessagePort, onFrame: (link: ExecutorLink, frame: Frame) => void) {
    this.id = id;
    this.port = port;
    port.on('message', (frame: Frame) => onFrame(this, frame));
  }

  send(pending: Pending): void {
    const { request, version } = pending;
    const { inputs } = request;
    const writer = this.writer;
    writer.reserve(8);
    writer.push(pending.retried ? INFER_ALONE : INFER);
    writer.push(pending.id);
    writer.push(version.handle);
    writer.push(pending.rows);
    const level = effectivePriority(pending);
    writer.push(level);
    // The gateway ends copies in time: one that is due before a client must not be run before it, nor count as late.
    writer.push(level === COPY_LEVEL ? Number.POSITIVE_INFINITY : pending.context.deadline);
    writer.push(pending.outputs);
    writer.push(inputs.length);
    const declared = version.config.signature.inputs;
    for (let i = 0; i < inputs.length; i++) {
      let index = i;
      if (declared[i]?.name !== inputs[i].name) index = declared.findIndex((spec) => spec.name === inputs[i].name);
      writer.pushTensor(index, inputs[i], !pending.replayable);
    }
    const parameters = modelParameters(request, version.config);
    if (parameters !== undefined) writer.pushParameters(pending.id, parameters);
    const { traceparent, tracestate } = pending.context;
    if (traceparent !== '' && isElsewhere(version) && TRACEPARENT.test(traceparent))
      writer.pushTrace(pending.id, { traceparent, tracestate: TRACESTATE.test(tracestate) ? tracestate : '' });
    this.outstanding++;
    if (level === COPY_LEVEL) this.copies++;
    else if (queueBound(version.config) > 0) this.count(version.handle, 1);
    this.inFrame++;
    if (this.inFrame === HEAD_START && this.outstanding === HEAD_START && this.pace < SLOW_PACE) this.flush();
    else this.schedule();
  }

  /** Counts answers that came together. */
  answered(count: number, now: number): void {
    // Only while more work is waiting does the time between answers say how fast the executor is.
    if (this.outstanding > 0 && this.lastAnswers > 0) {
      const sample = (now - this.lastAnswers) / count;
      this.pace = this.pace === 0 ? sample : this.pace * 0.9 + sample * 0.1;
    }
    this.outstanding -= count;
    this.lastAnswers = this.outstanding > 0 ? now : 0;
  }

  /** What was sent here is answered, has failed, or goes elsewhere. */
  ended(pending: Pending): void {
    if (isCopy(pending)) this.copies--;
    else if (queueBound(pending.version.config) > 0) this.count(pending.version.handle, -1);
  }

  /** Whether the executor would refuse one more: then it need not be carried there, and disturbs no run. */
  isFull({ config, handle }: Pending['version']): boolean {
    const most = queueBound(config);
    return most > 0 && (this.bounded.get(handle) ?? 0) >= most;
  }

  private count(handle: number, change: number): void {
    const count = (this.bounded.get(handle) ?? 0) + change;
    if (count > 0) this.bounded.set(handle, count);
    else this.bounded.delete(handle);
  }

  /** Requests that one sent now waits for: copies let every client go first. */
  ahead(copy: boolean): number {
    return copy ? this.outstanding : this.outstanding - this.copies;
  }

  /** How long a request sent now will wait for its answer. */
  predictedWaitMs(copy: boolean): number {
    return this.ahead(copy) * this.pace;
  }

  cancel(pending: Pending): void {
    this.writer.reserve(3);
    this.writer.push(CANCEL);
    this.writer.push(pending.id);
    this.writer.push(pending.version.handle);
    this.schedule();
  }

  close(): void {
    this.port.close();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    // After this tick's socket reads: everything that came in together leaves together.
    setImmediate(this.flushBound);
  }

  private flush(): void {
    if (this.writer.empty) return;
    this.inFrame = 0;
    const { frame, transfer } = this.writer.take();
    this.port.postMessage(frame, transfer);
  }
}

/** Served by another server, which may go on with the caller's trace. */
function isElsewhere(version: Pending['version']): boolean {
  return version.config.instanceGroups.some((group) => group.kind === 'remote');
}

/** Whether no client waits for it. */
export function isCopy({ context }: Pending): boolean {
  return context.priority === COPY_LEVEL;
}

/** The level that a request's priority means to its model, none above its tenant's; 1 where there are no levels. Copies come after all. */
export function effectivePriority(pending: Pending): number {
  if (isCopy(pending)) return COPY_LEVEL;
  const { batching } = pending.version.config;
  if (batching.priorityLevels === 0) return 1;
  const { priority, maxPriority } = pending.context;
  const asked = priority === 0 ? batching.defaultPriorityLevel : priority;
  // Level 1 is the highest, so the tenant's highest level is a lower bound on the number.
  return Math.min(Math.max(asked, maxPriority), batching.priorityLevels);
}
