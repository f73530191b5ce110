import type { ScannedModel } from './repository/scan.ts';

export interface ResidentModel {
  name: string;
  bytes: number;
  /** Time of the last request or of the load, whichever is later. */
  lastUsed: number;
}

/**
 * Models to evict, least recently used first, until at least `needed` bytes are free. undefined: even all of
 * `candidates` would not do.
 */
export function chooseVictims(candidates: readonly ResidentModel[], needed: number): string[] | undefined {
  const victims: string[] = [];
  let freed = 0;
  for (const model of [...candidates].sort((a, b) => a.lastUsed - b.lastUsed || (a.name < b.name ? -1 : 1))) {
    if (freed >= needed) break;
    if (model.bytes === 0) continue;
    victims.push(model.name);
    freed += model.bytes;
  }
  return freed >= needed ? victims : undefined;
}

/** Which models to load at start under a budget: pinned ones always, then by name while they fit. 0: all of them. */
export function fitAtStart(
  models: readonly { name: string; bytes: number; pinned: boolean }[],
  budget: number,
): Set<string> {
  const chosen = new Set<string>();
  let used = 0;
  for (const pinned of [true, false]) {
    for (const model of models) {
      if (model.pinned !== pinned || (!pinned && budget > 0 && used + model.bytes > budget)) continue;
      chosen.add(model.name);
      used += model.bytes;
    }
  }
  return chosen;
}

/** Weights are held again after prepacking, and a session needs an arena: bytes of files → resident bytes. */
export function estimateMemory(fileBytes: number): number {
  return fileBytes === 0 ? 0 : fileBytes * 2 + 512 * 1024;
}

/** Bytes that a model needs in memory, as its newest version's files suggest. */
export function estimateOf(scanned: ScannedModel): number {
  const newest = scanned.versions.at(-1);
  return estimateMemory(newest === undefined ? 0 : newest.files.reduce((sum, file) => sum + file.size, 0));
}
