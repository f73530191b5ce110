import type { ServingTable } from '../pipeline/types.ts';
import type { Clock } from '../shared/clock.ts';
import type { ExecutorPool, Preflight } from './loader.ts';
import type { Later } from './reconciler.ts';

export interface ModelManagerOptions {
  /** Absolute paths. */
  repositories: readonly string[];
  /** Absolute; verdicts, quarantine, digests and files of load requests live here. */
  dataDir: string;
  controlMode: 'none' | 'poll' | 'explicit';
  pollIntervalMs?: number;
  /** Models loaded at start in explicit mode; '*' = all. */
  startupModels?: readonly string[];
  /** Bytes all loaded models may take; 0: no limit. */
  memoryBudgetBytes?: number;
  /** Never evicted, besides models with switchyard.pinned. */
  pinned?: readonly string[];
  /** Prove versions in a child process before loading them. Default true. */
  preflight?: boolean;
  /** Versions proven or loaded at once. Default 2. */
  parallelLoads?: number;
  defaultMaxBatchSize?: number;
  /** Versions of the runtimes, such as "onnxruntime 1.30.0": a verdict holds only for them. */
  runtimeId?: string;
  gpus?: number;
  defaultIsolation?: 'thread' | 'process';
  /** Hosts, besides loopback, that the configuration of a load request may name: "host" or "host:port". */
  remoteHosts?: readonly string[];
}

export interface ModelManagerDeps {
  pool: ExecutorPool;
  preflight: Preflight;
  /** Resolves when every gateway thread serves by the table. */
  publish(table: ServingTable): Promise<void>;
  /** When the model was last asked, by `clock`; 0: never. */
  lastUsed(model: string): number;
  /** Row of the metrics blocks for a version; the same for every load of it. Default: counted from 0. */
  metricsRow?(model: string, version: string): number;
  log(level: 'info' | 'warn' | 'error', message: string, fields: Record<string, unknown>): void;
  clock?: Clock;
  /** Default: a timer. */
  later?: Later;
}
