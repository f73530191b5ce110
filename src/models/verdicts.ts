import { join } from 'node:path';
import type { RuntimeSignature } from '../backends/backend.ts';
import { readJsonFile, writeJsonFile } from './repository/digest.ts';
import { Coalesced } from './serial.ts';

/** A version that passed preflight, by the digest of its content and configuration. */
export interface Verdict {
  model: string;
  version: string;
  signature: RuntimeSignature;
  memoryBytes: number;
  warmupMs: number;
  /** Milliseconds since the epoch when it was proven. */
  provenAt: number;
}

/** A version that was loaded without a proof, by the same digest. */
export interface Unproven {
  model: string;
  version: string;
  /** Milliseconds since the epoch when it was first loaded. */
  loadedAt: number;
}

export interface Quarantined {
  model: string;
  version: string;
  reason: string;
  /** Milliseconds since the epoch. */
  since: number;
}

/** A small keyed table in one JSON file, replaced atomically; what is kept survives a kill at any moment. */
export class JsonTable<T> {
  private rows = new Map<string, T>();
  private readonly path: string;
  private readonly writer: Coalesced;

  constructor(path: string) {
    this.path = path;
    this.writer = new Coalesced(() => writeJsonFile(path, Object.fromEntries(this.rows)));
  }

  async load(): Promise<void> {
    this.rows = new Map(Object.entries(await readJsonFile<Record<string, T>>(this.path, {})));
  }

  get(key: string): T | undefined {
    return this.rows.get(key);
  }

  entries(): IterableIterator<[string, T]> {
    return this.rows.entries();
  }

  /** Resolves when the row is on disk. */
  set(key: string, row: T): Promise<void> {
    this.rows.set(key, row);
    return this.writer.request();
  }

  /** Resolves when every row set before is on disk. */
  flush(): Promise<void> {
    return this.writer.request();
  }

  async delete(keys: readonly string[]): Promise<void> {
    let changed = false;
    for (const key of keys) changed = this.rows.delete(key) || changed;
    if (changed) await this.writer.request();
  }
}

export function verdictTable(dataDir: string): JsonTable<Verdict> {
  return new JsonTable<Verdict>(join(dataDir, 'preflight.json'));
}

export function unprovenTable(dataDir: string): JsonTable<Unproven> {
  return new JsonTable<Unproven>(join(dataDir, 'unproven.json'));
}

export function quarantineTable(dataDir: string): JsonTable<Quarantined> {
  return new JsonTable<Quarantined>(join(dataDir, 'quarantine.json'));
}

/**
 * For a supervisor whose child keeps crashing: quarantines the version that was proven last, or first loaded without a
 * proof, before the child starts again. Resolves with it, or undefined when every known version is older than `maxAgeMs` or already quarantined: then a
 * new model is not the likely cause.
 */
export async function quarantineNewest(
  dataDir: string,
  reason: string,
  nowMs: number,
  maxAgeMs: number,
): Promise<{ model: string; version: string } | undefined> {
  const verdicts = verdictTable(dataDir);
  const unproven = unprovenTable(dataDir);
  const quarantine = quarantineTable(dataDir);
  await Promise.all([verdicts.load(), unproven.load(), quarantine.load()]);
  let newest: { key: string; model: string; version: string; at: number } | undefined;
  const consider = (key: string, { model, version }: Verdict | Unproven, at: number): void => {
    if (quarantine.get(key) !== undefined || nowMs - at > maxAgeMs) return;
    if (newest === undefined || at > newest.at) newest = { key, model, version, at };
  };
  for (const [key, verdict] of verdicts.entries()) consider(key, verdict, verdict.provenAt);
  for (const [key, version] of unproven.entries()) consider(key, version, version.loadedAt);
  if (newest === undefined) return undefined;
  const { key, model, version } = newest;
  await quarantine.set(key, { model, version, reason, since: nowMs });
  return { model, version };
}
