import type { ModelConfig } from '../config/model-config.ts';
import type { LoadedFact } from './lifecycle.ts';
import { Serial } from './serial.ts';
import type { ModelSource } from './source.ts';

/** A version that executors hold (or, for an ensemble, one that needs none). */
export interface LoadedVersion extends LoadedFact {
  /** Completed. */
  config: ModelConfig;
  executors: number[];
  /** Why none of the executors can run it at the moment, '' = one can, or it is an ensemble. */
  absence: string;
  memoryBytes: number;
  metricsRow: number;
}

/** Everything the manager knows of one model. Changed only by the model's own serial operations. */
export interface ModelEntry {
  readonly name: string;
  readonly serial: Serial;
  source: ModelSource;
  /** Should be served (loaded now, or on demand). */
  wanted: boolean;
  /** Should be in memory now; false: a request loads it. */
  resident: boolean;
  /** Last configuration read; undefined before the first look or after an error. */
  config: ModelConfig | undefined;
  pinned: boolean;
  /** Why the folder or the configuration cannot be served; '' = they can. */
  problem: string;
  /** In the table, ascending by handle. */
  loaded: LoadedVersion[];
  /** Versions being proven or loaded, and versions draining. */
  loading: Set<string>;
  draining: Set<string>;
  /** Version → why its content (by key) did not load. Passing: what it needs was away, the content may be good. */
  failures: Map<string, { key: string; reason: string; passing: boolean }>;
  /** Version → why it is quarantined, for the index. */
  quarantined: Map<string, string>;
  /** Bytes taken from the budget while loading. */
  reserved: number;
  /** Bytes its files suggest it needs. */
  estimate: number;
  /** Clock time of the last load. */
  loadedAt: number;
  /** Its files came with a load request and lie in our own data directory. */
  overridden: boolean;
  /** A request is having it loaded: others wait for that as well. */
  demanded: boolean;
}

export function createEntry(source: ModelSource): ModelEntry {
  return {
    name: source.scanned.name,
    serial: new Serial(),
    source,
    wanted: false,
    resident: false,
    config: undefined,
    pinned: false,
    problem: '',
    loaded: [],
    loading: new Set(),
    draining: new Set(),
    failures: new Map(),
    quarantined: new Map(),
    reserved: 0,
    estimate: 0,
    loadedAt: 0,
    overridden: false,
    demanded: false,
  };
}

/** Bytes the model counts for in the memory budget. */
export function residentBytes(entry: ModelEntry): number {
  if (!entry.resident) return 0;
  const held = entry.loaded.reduce((sum, version) => sum + version.memoryBytes, 0);
  return Math.max(held, entry.reserved);
}

/** Why nothing of the model is served, or not all that was asked for. */
export function failureOf(entry: ModelEntry): string {
  if (entry.problem !== '') return entry.problem;
  const [quarantine] = entry.quarantined.values();
  if (quarantine !== undefined) return `quarantined: ${quarantine}`;
  const failures = [...entry.failures].map(([version, { reason }]) => `version ${version}: ${reason}`);
  return failures.length > 0 ? failures.join('; ') : 'no version is available';
}
