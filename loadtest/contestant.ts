import { spawnSync } from 'node:child_process';
import type { GeneratorResult, Measurement } from './generators/measurement.ts';
import { type Probe, probe } from './probe.ts';
import { endedChildrenCpuSeconds, treeCpuSeconds } from './process-cpu.ts';
import { type BatchFigure, inProcessArgs, inProcessOpenArgs } from './targets/limits.ts';
import { ServerProcess } from './targets/server-process.ts';
import type { Target, Wire, Workload } from './targets/target.ts';

/** Something that takes a turn in every round. */
export interface Contestant {
  name: string;
  role: Target['role'];
  /** Builds and starts what it needs; checks one answer. */
  open(): Promise<void>;
  /** One warm-up and one measurement. */
  turn(): Promise<Measurement>;
  close(): Promise<void>;
}

/** Runs the load generator against a started server. `seconds`: how long. */
export type Drive = (server: ServerProcess, probed: Probe, seconds: number) => Promise<GeneratorResult>;

export interface Timing {
  /** Before a server's first measurement: just-in-time compilers need seconds of load, and a server in use has had them. */
  firstWarmupSeconds: number;
  warmupSeconds: number;
  seconds: number;
}

/** CPU time of both sides around one run of a generator. */
export async function measured(server: ServerProcess, run: () => Promise<GeneratorResult>): Promise<Measurement> {
  const server0 = treeCpuSeconds(server.pid);
  const generator0 = endedChildrenCpuSeconds();
  const result = await run();
  return {
    ...result,
    serverCpuSeconds: treeCpuSeconds(server.pid) - server0,
    generatorCpuSeconds: endedChildrenCpuSeconds() - generator0,
  };
}

/** A server under one load generator. Several contestants may share the server by giving the same `SharedServer`. */
export class ServerContestant implements Contestant {
  readonly name: string;
  readonly role: Target['role'];
  readonly #shared: SharedServer;
  readonly #wire: Wire;
  readonly #drive: Drive;
  readonly #timing: Timing;
  #warm = false;

  constructor(shared: SharedServer, wire: Wire, drive: Drive, timing: Timing, name = shared.target.name) {
    this.name = name;
    this.role = shared.target.role;
    this.#shared = shared;
    this.#wire = wire;
    this.#drive = drive;
    this.#timing = timing;
  }

  async open(): Promise<void> {
    await this.#shared.open(this.#wire);
  }

  async turn(): Promise<Measurement> {
    const { server, probed } = await this.#shared.enter(this.#wire);
    try {
      const { warmupSeconds, firstWarmupSeconds } = this.#timing;
      const least = this.#warm ? warmupSeconds : firstWarmupSeconds;
      const warmup = Math.max(least, this.#shared.target.warmupSeconds ?? 0);
      this.#warm = true;
      await this.#drive(server, probed, warmup);
      return await measured(server, () => this.#drive(server, probed, this.#timing.seconds));
    } finally {
      await this.#shared.leave();
    }
  }

  close(): Promise<void> {
    return this.#shared.close();
  }
}

/** Starts, pauses and stops one server process as its target's `idle` says. */
export class SharedServer {
  readonly target: Target;
  readonly workload: Workload;
  #server: ServerProcess | undefined;
  #prepared = false;
  #probed: Probe | undefined;

  constructor(target: Target, workload: Workload) {
    this.target = target;
    this.workload = workload;
  }

  async open(wire: Wire): Promise<void> {
    if (!this.#prepared) await this.target.prepare(this.workload);
    this.#prepared = true;
    await this.enter(wire);
    await this.leave();
  }

  /** The running server, its answer checked once per wire of the scenario. */
  async enter(wire: Wire): Promise<{ server: ServerProcess; probed: Probe }> {
    this.#server?.resume();
    this.#server ??= await ServerProcess.start(this.target, this.workload);
    this.#probed ??= await probe(this.target, this.workload, wire, this.#server.ports);
    return { server: this.#server, probed: this.#probed };
  }

  async leave(): Promise<void> {
    if (this.target.idle === 'pause') this.#server?.pause();
    if (this.target.idle === 'restart') await this.close();
  }

  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.stop();
  }
}

const BATCH_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/** ONNX Runtime alone in a Node process (by `args`: of `node`, for seconds per batch size and the sizes), at the batch size that a scan at opening finds best. Counts rows as requests. */
export class InProcessContestant implements Contestant {
  readonly name: string;
  readonly role = 'limit';
  /** Figures of the scan. */
  scan: BatchFigure[] = [];
  readonly #workload: Workload;
  readonly #timing: Timing;
  readonly #args: typeof inProcessArgs;
  #best = 1;

  constructor(workload: Workload, timing: Timing, name = 'in-process ORT', args = inProcessArgs) {
    this.#workload = workload;
    this.#timing = timing;
    this.name = name;
    this.#args = args;
  }

  async open(): Promise<void> {
    this.scan = this.#run(Math.max(0.3, this.#timing.seconds / 4), BATCH_SIZES);
    this.#best = this.scan.reduce((best, f) => (f.rowsPerSecond > best.rowsPerSecond ? f : best)).batch;
  }

  async turn(): Promise<Measurement> {
    const cpu0 = endedChildrenCpuSeconds();
    const [figure] = this.#run(this.#timing.seconds, [this.#best]);
    const rows = figure.rowsPerSecond * this.#timing.seconds;
    return {
      requests: rows,
      succeeded: rows,
      seconds: this.#timing.seconds,
      statuses: {},
      errors: 0,
      latency: { p50: figure.medianMs, p90: Number.NaN, p99: Number.NaN, p999: Number.NaN, max: Number.NaN },
      generatorThreads: 1,
      serverCpuSeconds: endedChildrenCpuSeconds() - cpu0,
      generatorCpuSeconds: 0,
    };
  }

  async close(): Promise<void> {}

  #run(seconds: number, sizes: readonly number[]): BatchFigure[] {
    return runNode<{ results: BatchFigure[] }>(this.name, this.#args(this.#workload, seconds, sizes)).results;
  }
}

/** The same under an open load: requests due at a constant rate, batched as they are due, without a socket. */
export class InProcessOpenContestant implements Contestant {
  readonly name = 'in-process ORT';
  readonly role = 'limit';
  readonly #workload: Workload;
  readonly #timing: Timing;
  readonly #requestsPerSecond: number;

  constructor(workload: Workload, timing: Timing, requestsPerSecond: number) {
    this.#workload = workload;
    this.#timing = timing;
    this.#requestsPerSecond = requestsPerSecond;
  }

  async open(): Promise<void> {}

  async turn(): Promise<Measurement> {
    const cpu0 = endedChildrenCpuSeconds();
    const args = inProcessOpenArgs(this.#workload, this.#timing.seconds, this.#requestsPerSecond);
    const ran = runNode<Pick<Measurement, 'requests' | 'seconds' | 'latency'>>(this.name, args);
    return {
      ...ran,
      succeeded: ran.requests,
      statuses: {},
      errors: 0,
      generatorThreads: 1,
      serverCpuSeconds: endedChildrenCpuSeconds() - cpu0,
      generatorCpuSeconds: 0,
    };
  }

  async close(): Promise<void> {}
}

/** What a script prints as JSON. */
function runNode<T>(name: string, args: readonly string[]): T {
  const run = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`${name} failed: ${run.stderr}`);
  return JSON.parse(run.stdout) as T;
}
