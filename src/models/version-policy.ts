import type { ModelConfig } from '../config/model-config.ts';

/** A version folder's name: a positive integer without leading zeros. */
export function isVersionName(name: string): boolean {
  return /^[1-9]\d{0,18}$/.test(name);
}

/** Numeric order of version names, which may exceed 2^53. */
export function compareVersions(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

/**
 * The versions a policy wants served, ascending. `bad` versions (quarantined or failing, with nothing good loaded in
 * their place) are passed over, so that `latest` falls back to the last good ones.
 */
export function chooseVersions(
  available: readonly string[],
  policy: ModelConfig['versionPolicy'],
  bad: ReadonlySet<string> = new Set(),
): string[] {
  const good = available.filter((version) => !bad.has(version)).sort(compareVersions);
  if (policy.kind === 'all') return good;
  if (policy.kind === 'latest') return good.slice(-policy.count);
  const wanted = new Set(policy.versions.map(String));
  return good.filter((version) => wanted.has(version));
}
