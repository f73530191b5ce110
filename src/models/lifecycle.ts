/** A version that should be served, and the digest of what it is made of (files and configuration). */
export interface WantedVersion {
  version: string;
  key: string;
}

export interface LoadedFact extends WantedVersion {
  handle: number;
}

export interface VersionPlan {
  /** To be proven and loaded, ascending. */
  load: WantedVersion[];
  /** Handles that stay. */
  keep: number[];
  /** Handles to take out of the table and unload, once `load` is empty: nothing good is dropped for a promise. */
  drop: number[];
}

/**
 * What to do so that `wanted` is what is loaded. A wanted version whose key is in `bad` (it failed before) is not tried
 * again; the same version loaded from older content stays instead. Keys in `banned` (quarantined) never stay.
 */
export function planVersions(
  wanted: readonly WantedVersion[],
  loaded: readonly LoadedFact[],
  bad: ReadonlySet<string>,
  banned: ReadonlySet<string> = new Set(),
): VersionPlan {
  const plan: VersionPlan = { load: [], keep: [], drop: [] };
  const stay = new Set<number>();
  for (const want of wanted) {
    const copies = loaded.filter((fact) => fact.version === want.version && !banned.has(fact.key));
    const same = copies.find((fact) => fact.key === want.key);
    const newest = copies[copies.length - 1];
    if (same) stay.add(same.handle);
    else if (bad.has(want.key) || banned.has(want.key)) {
      if (newest) stay.add(newest.handle);
    } else {
      plan.load.push(want);
      if (newest) stay.add(newest.handle);
    }
  }
  for (const fact of loaded) (stay.has(fact.handle) ? plan.keep : plan.drop).push(fact.handle);
  return plan;
}

/** Crashes of one version inside the window that quarantine it. */
export const CRASH_LIMIT = 3;
export const CRASH_WINDOW_MS = 60_000;

/**
 * Adds a crash and forgets those outside the window; true: the version must be quarantined. Times in milliseconds.
 * `noticedAfter`: what it took to notice this crash, for which the window grows, so that hangs can be three in it too.
 */
export function recordCrash(times: number[], when: number, noticedAfter: number = 0): boolean {
  times.push(when);
  while (times.length > 0 && times[0] <= when - CRASH_WINDOW_MS - CRASH_LIMIT * noticedAfter) times.shift();
  return times.length >= CRASH_LIMIT;
}
