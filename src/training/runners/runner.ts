import type { JobSpec, RunnerKind } from '../jobs/spec.ts';
import type { Carried } from './remote/plan.ts';

export type AttemptPhase = 'starting' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'timedOut' | 'lost';

/** Where one attempt of a job stands, as its runner knows. Times are milliseconds since 1970. */
export interface AttemptStatus {
  /** lost: it ended without telling how, such as with the machine. Nothing of it runs any more. */
  phase: AttemptPhase;
  exitCode: number | null;
  signal: string | null;
  /** Why it failed, for people: "exit code 3", "killed: out of memory", "image cannot be pulled"; '' = no failure. */
  reason: string;
  startedAt: number | null;
  endedAt: number | null;
}

/** What a runner starts. */
export interface AttemptSpec {
  /** Deterministic per job and attempt, "sy-<job id>-<attempt>": starting a name that exists re-attaches to it. */
  name: string;
  jobId: string;
  attempt: number;
  spec: JobSpec;
  /** The whole environment besides what the runner itself needs. Holds secrets: never written down, never logged. */
  env: Readonly<Record<string, string>>;
  /** Values of `env` that must not show in logs. */
  secrets: readonly string[];
  /** Of local runners: the prepared folder in which the command runs. '' for the others. */
  workDir: string;
  /** Interpreter of the provisioned environment; undefined: none was asked for, or the runner is not local. */
  python: string | undefined;
  /** Of runners that are not local: what the job's agent brings and takes; undefined: it needs none. */
  carried?: Carried | undefined;
}

export interface LogChunk {
  bytes: Buffer;
  /** Offset behind the bytes. */
  next: number;
  /** Nothing will follow. */
  end: boolean;
}

/** Where attempts run. All calls but `start` are idempotent, and `start` is by name. */
export interface Runner {
  readonly kind: RunnerKind;
  /**
   * True: attempts run on this machine, in a folder and an environment that the service prepares, and only the server
   * that started one can follow it. False: any server can, by its name.
   */
  readonly local: boolean;
  /** Throws SwitchyardError invalid_argument naming the field that this runner cannot honour. */
  check(spec: JobSpec): void;
  /** Rejects with unavailable when it may work later, and with anything else when it never will. */
  start(attempt: AttemptSpec): Promise<void>;
  /** Undefined: it never existed or was removed. */
  status(name: string): Promise<AttemptStatus | undefined>;
  /** Resolves when the status may have changed, or after waitMs. */
  changed(name: string, waitMs: number): Promise<void>;
  /** At most `limit` bytes from `offset` on; none for a name that does not exist. */
  logs(name: string, offset: number, limit: number): Promise<LogChunk>;
  /** TERM, then KILL after `graceMs`. Resolves when it is on its way; `status` tells when it is over. */
  cancel(name: string, graceMs: number): Promise<void>;
  /** Files, objects. Stops what still runs. */
  remove(name: string): Promise<void>;
  /** Detaches; attempts go on. */
  close(): Promise<void>;
}
