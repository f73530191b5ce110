/** What a load generator saw in one measurement. Latencies in milliseconds; NaN where the generator does not say. */
export interface GeneratorResult {
  /** Requests answered within the measurement. */
  requests: number;
  seconds: number;
  /** Answered with 2xx and, on gRPC, with a whole message. */
  succeeded: number;
  /** Answers per HTTP status class or exact status, as far as the generator tells them apart. */
  statuses: Record<string, number>;
  /** Requests without an answer: connect, read and write errors and time-outs. */
  errors: number;
  latency: { p50: number; p90: number; p99: number; p999: number; max: number };
  /** Threads the generator may keep busy: its CPU time against these says whether it was the limit. */
  generatorThreads: number;
}

/** One measurement of one target: what the generator saw, and the CPU time of both sides. */
export interface Measurement extends GeneratorResult {
  serverCpuSeconds: number;
  generatorCpuSeconds: number;
}

/** Successful requests per second. */
export function throughput(m: GeneratorResult): number {
  return m.succeeded / m.seconds;
}

/** Microseconds of server CPU per answered request. */
export function cpuMicrosPerRequest(m: Measurement): number {
  return m.requests === 0 ? Number.NaN : (m.serverCpuSeconds * 1e6) / m.requests;
}

/** Share of its threads' time the generator was busy; near 1 it is the generator that was measured. */
export function generatorUtilization(m: Measurement): number {
  return m.generatorCpuSeconds / (m.seconds * m.generatorThreads);
}

/** What was asked of a generator. */
export interface Load {
  connections: number;
  seconds: number;
}
