import type { RawConfig } from '../models/config/map.ts';
import type { ScannedVersion } from '../models/repository/scan.ts';
import type { Deployment } from '../registry/serving/types.ts';
import type { LocalVersion } from './version-store.ts';

/** A deployment and what became of it here. */
export interface Place {
  readonly deployment: Deployment;
  /** undefined: not yet, or not at all. */
  local: LocalVersion | undefined;
  /** Why it cannot be served; '' = it can, or nobody knows yet. */
  problem: string;
}

export function keyOf({ served, name, alias }: Deployment): string {
  return JSON.stringify([served, name, alias]);
}

export function sameDeployment(a: Deployment, b: Deployment): boolean {
  return a.version === b.version && a.digest === b.digest && a.requirements === b.requirements;
}

export interface ServedVersions {
  versions: ScannedVersion[];
  config: RawConfig;
}

/**
 * What is to be served under each name. A version that cannot be served is listed with its problem. What an alias
 * pointed to before stands beside its successor until that is ready: nothing good is given up for a promise, also not
 * by a restart in between.
 *
 * @param standing the last that was ready, by the same keys as `wanted`
 * @param unmet why this gateway may not serve a version; '' = it may
 */
export function servedVersions(
  wanted: ReadonlyMap<string, Place>,
  standing: ReadonlyMap<string, Place>,
  unmet: (deployment: Deployment, local: LocalVersion) => string,
): Map<string, ServedVersions> {
  const models = new Map<string, ServedVersions>();
  const numbered = [...wanted].toSorted(([, a], [, b]) => Number(a.deployment.version) - Number(b.deployment.version));
  for (const [key, place] of numbered) {
    const { deployment, local } = place;
    const chosen: { scanned: ScannedVersion; config?: RawConfig }[] = [];
    const problem = local === undefined ? place.problem : unmet(deployment, local);
    if (problem !== '') chosen.push({ scanned: { version: deployment.version, directory: '', files: [], problem } });
    else if (local !== undefined) chosen.push(local);
    const before = standing.get(key);
    if (before?.local !== undefined && staysBeside(place, problem, before)) chosen.push(before.local);
    const model = models.get(deployment.served) ?? { versions: [], config: {} };
    models.set(deployment.served, model);
    for (const { scanned, config } of chosen) {
      const at = model.versions.findIndex(({ version }) => version === scanned.version);
      if (at < 0) model.versions.push(scanned);
      else if (model.versions[at].problem !== undefined) model.versions[at] = scanned;
      if (config !== undefined) model.config = config;
    }
  }
  for (const [served, { versions }] of models) if (versions.length === 0) models.delete(served);
  return models;
}

function staysBeside({ deployment, local }: Place, problem: string, before: Place): boolean {
  // Nothing has come yet, perhaps the very version that stands, asked for anew.
  if (local === undefined && problem === '') return true;
  if (before.deployment.version === deployment.version) return false;
  // One configuration is for all versions of a model: what needs another one than its successor stands by itself.
  return problem !== '' || local === undefined || sameConfig(local.config, before.local?.config);
}

function sameConfig(a: RawConfig, b: RawConfig | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
