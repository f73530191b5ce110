import type { Mlp } from '../mlp-model.ts';
import type { HttpRequest } from '../payloads.ts';

export type Wire = 'json' | 'binary' | 'grpc';

/** What every server of one scenario serves. */
export interface Workload {
  mlp: Mlp;
  /** Name under which v2 servers serve it. */
  model: string;
  /** One row of input. */
  row: Float32Array;
  /** What the model answers for `row`, from ONNX Runtime in this process. */
  expected: readonly number[];
  onnxFile: string;
  maxBatchSize: number;
  /** A folder of this scenario alone, for generated files. */
  scratch: string;
}

export interface Ports {
  http: number;
  grpc: number;
  metrics: number;
  admin: number;
}

/** How to start a server process. It leads a session of its own, so that its whole tree can be measured and ended. */
export interface Launch {
  command: string;
  args: string[];
  env?: Record<string, string>;
  cwd?: string;
}

/** A server that scenarios measure: Switchyard, one of the limits, or a peer. */
export interface Target {
  name: string;
  role: 'subject' | 'limit' | 'peer';
  wires: readonly Wire[];
  /**
   * What happens to it while another target is measured: `run` for servers that idle at no cost, `pause` for those whose
   * idling would tax the others, `restart` for those that neither idle quietly nor survive a pause.
   */
  idle: 'run' | 'pause' | 'restart';
  /** Least warm-up before each measurement, for servers whose first seconds say nothing. */
  warmupSeconds?: number;
  /** Builds what the server needs (virtual environment, model repository). Called once. */
  prepare(workload: Workload): Promise<void>;
  launch(workload: Workload, ports: Ports): Launch;
  /** Path that answers 200 on the HTTP port once requests will be served; undefined: a TCP connection to the gRPC port. */
  readyPath: string | undefined;
  request(wire: 'json' | 'binary', workload: Workload): HttpRequest;
  output(headers: Headers, body: Uint8Array): number[];
  /** Its ports speak TLS, with the certificate of TLS_FILES. */
  tls?: boolean;
  /** False for targets that answer a constant, whose outputs are not compared. */
  computes: boolean;
}
