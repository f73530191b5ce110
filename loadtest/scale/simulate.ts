import { EventQueue } from './event-queue.ts';

/** CPU microseconds of each step, as measured on threads of this machine. */
export interface Costs {
  /** A request read, decoded, decided and queued for an executor, on its gateway thread. */
  request: number;
  /** An answer printed and sent, on its gateway thread. */
  answer: number;
  /** A message between two threads, on each of them. */
  message: number;
  /** A batch, whatever its size, and each of its rows, on the executor. */
  batch: number;
  row: number;
}

export interface Machine {
  /** Threads, each with a core of its own. */
  gateways: number;
  executors: number;
  /** Executors that hold the model. */
  instances: number;
  maxBatch: number;
}

export interface Load {
  /** Closed loop: each sends its next request when it has its answer. They are dealt out to the gateway threads. */
  connections: number;
  /** Microseconds from an answer to the next request's arrival. */
  networkMicros: number;
  /** Requests to simulate; the first tenth is left out of the figures. */
  requests: number;
}

export interface Outcome {
  requestsPerSecond: number;
  p50Micros: number;
  p99Micros: number;
  meanBatch: number;
  /** Busy share of the busiest thread of each kind. */
  gatewayBusy: number;
  executorBusy: number;
  /** Threads of each kind that did nothing at all. */
  idleThreads: number;
}

/** A thread: does one thing at a time, in order of arrival, and takes all that lies ready in one turn. */
interface Gateway {
  kind: 'gateway';
  busyUntil: number;
  used: number;
  scheduled: boolean;
  arrived: Request[];
  answered: Request[][];
  outstanding: number[];
}

interface Executor {
  kind: 'executor';
  busyUntil: number;
  used: number;
  scheduled: boolean;
  queue: Request[];
  /** Messages that came and were not read yet: reading costs. */
  unread: number;
}

interface Request {
  gateway: number;
  sentAt: number;
}

/**
 * Plays the threads of one gateway process: gateway threads that share nothing, executors that batch what lies ready
 * without waiting for more, one message per turn and partner, the least loaded executor as each gateway thread knows it.
 * Nothing random: what is measured is what the structure allows. The control thread is not on a request's way.
 */
export function simulate(costs: Costs, machine: Machine, load: Load): Outcome {
  const instances = Math.min(machine.instances, machine.executors);
  const gateways = Array.from(
    { length: machine.gateways },
    (): Gateway => ({
      kind: 'gateway',
      busyUntil: 0,
      used: 0,
      scheduled: false,
      arrived: [],
      answered: [],
      outstanding: new Array<number>(instances).fill(0),
    }),
  );
  const executors = Array.from(
    { length: machine.executors },
    (): Executor => ({
      kind: 'executor',
      busyUntil: 0,
      used: 0,
      scheduled: false,
      queue: [],
      unread: 0,
    }),
  );
  const events = new EventQueue();
  const latencies: number[] = [];
  let done = 0;
  let rows = 0;
  let batches = 0;
  let countedFrom = 0;
  const warm = load.requests / 10;

  const wake = (thread: Gateway | Executor, at: number, turn: (now: number) => void): void => {
    if (thread.scheduled) return;
    thread.scheduled = true;
    events.add(Math.max(at, thread.busyUntil), () => {
      thread.scheduled = false;
      turn(events.now);
    });
  };
  const busy = (thread: Gateway | Executor, from: number, micros: number): number => {
    thread.used += micros;
    thread.busyUntil = from + micros;
    return thread.busyUntil;
  };

  const arrive = (request: Request, at: number): void => {
    events.add(at, () => {
      const gateway = gateways[request.gateway];
      request.sentAt = events.now;
      gateway.arrived.push(request);
      wake(gateway, events.now, (now) => gatewayTurn(gateway, now));
    });
  };

  /** Sends the answers that came, reads the requests that arrived, and hands them over, one message per executor. */
  const gatewayTurn = (gateway: Gateway, start: number): void => {
    let at = start;
    for (const frame of gateway.answered.splice(0)) {
      at = busy(gateway, at, costs.message);
      for (const request of frame) {
        at = busy(gateway, at, costs.answer);
        if (++done === Math.floor(warm)) countedFrom = at;
        if (done > warm) latencies.push(at - request.sentAt);
        if (done + load.connections <= load.requests)
          arrive({ gateway: request.gateway, sentAt: 0 }, at + load.networkMicros);
      }
    }
    const frames = new Map<number, Request[]>();
    for (const request of gateway.arrived.splice(0)) {
      at = busy(gateway, at, costs.request);
      let best = 0;
      for (let i = 1; i < instances; i++) if (gateway.outstanding[i] < gateway.outstanding[best]) best = i;
      gateway.outstanding[best]++;
      const frame = frames.get(best);
      if (frame === undefined) frames.set(best, [request]);
      else frame.push(request);
    }
    for (const [to, frame] of frames) {
      at = busy(gateway, at, costs.message);
      const executor = executors[to];
      events.add(at, () => {
        executor.queue.push(...frame);
        executor.unread++;
        wake(executor, events.now, (now) => executorTurn(executor, to, now));
      });
    }
  };

  /** Runs one batch of what lies ready, and answers with one message per gateway thread. */
  const executorTurn = (executor: Executor, own: number, start: number): void => {
    let at = busy(executor, start, executor.unread * costs.message);
    executor.unread = 0;
    const batch = executor.queue.splice(0, machine.maxBatch);
    if (batch.length === 0) return;
    at = busy(executor, at, costs.batch + batch.length * costs.row);
    rows += batch.length;
    batches++;
    const frames = new Map<number, Request[]>();
    for (const request of batch) {
      const frame = frames.get(request.gateway);
      if (frame === undefined) frames.set(request.gateway, [request]);
      else frame.push(request);
    }
    for (const [to, frame] of frames) {
      at = busy(executor, at, costs.message);
      const gateway = gateways[to];
      events.add(at, () => {
        gateway.outstanding[own] -= frame.length;
        gateway.answered.push(frame);
        wake(gateway, events.now, (now) => gatewayTurn(gateway, now));
      });
    }
    if (executor.queue.length > 0) wake(executor, at, (now) => executorTurn(executor, own, now));
  };

  for (let i = 0; i < load.connections; i++)
    arrive({ gateway: i % machine.gateways, sentAt: 0 }, (i * load.networkMicros) / load.connections);
  events.run();

  const threads = [...gateways, ...executors];
  const elapsed = Math.max(...threads.map(({ busyUntil }) => busyUntil));
  const share = (list: readonly { used: number }[]): number => Math.max(...list.map(({ used }) => used)) / elapsed;
  latencies.sort((a, b) => a - b);
  return {
    requestsPerSecond: (latencies.length / (elapsed - countedFrom)) * 1e6,
    p50Micros: latencies[latencies.length >> 1],
    p99Micros: latencies[Math.floor(latencies.length * 0.99)],
    meanBatch: rows / batches,
    gatewayBusy: share(gateways),
    executorBusy: share(executors),
    idleThreads: threads.filter(({ used }) => used === 0).length,
  };
}
