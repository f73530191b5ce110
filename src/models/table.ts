import type { ModelConfig } from '../config/model-config.ts';
import type { ServingModel, ServingTable, ServingVersion, VersionStatus } from '../pipeline/types.ts';
import { ensembleDependencies, ensembleProblem } from './config/ensemble.ts';
import type { LoadedVersion, ModelEntry } from './entry.ts';
import { compareVersions } from './version-policy.ts';

export const ON_DEMAND_REASON = 'not in memory: the first request loads it';

/**
 * The table gateways serve by. Ensembles appear only while everything they compose is loaded; they come and go with
 * their models, without being reloaded. A version that cannot be run at the moment stays in it, with the reason.
 */
export function buildTable(entries: ReadonlyMap<string, ModelEntry>, generation: number): ServingTable {
  const problems = ensembleProblems(entries);
  const absences = absencesOf(entries);
  const models = new Map<string, ServingModel>();
  for (const entry of entries.values()) {
    const problem = problems.get(entry.name) ?? '';
    const loaded = problem === '' ? [...entry.loaded].sort((a, b) => compareVersions(b.version, a.version)) : [];
    models.set(entry.name, {
      name: entry.name,
      versions: loaded.map((version) => servingVersion(entry.name, version, absences.get(version.handle) ?? '')),
      index: versionIndex(entry, problem, absences),
      onDemand:
        entry.wanted && entry.problem === '' && (!entry.resident || (entry.demanded && entry.loaded.length === 0)),
    });
  }
  return { generation, models };
}

function servingVersion(model: string, loaded: LoadedVersion, absence: string): ServingVersion {
  const { handle, version, config, executors, metricsRow, memoryBytes, key } = loaded;
  return { handle, model, version, config, executors, absence, metricsRow, memoryBytes, cacheIdentity: key };
}

/** Handle → why a loaded version can answer nothing at the moment; an ensemble cannot while a step of it cannot. */
export function absencesOf(entries: ReadonlyMap<string, ModelEntry>): Map<number, string> {
  const known = new Map<number, string>();
  const absenceOf = ({ handle, config, absence }: LoadedVersion): string => {
    const before = known.get(handle);
    if (before !== undefined || config.ensemble === undefined) return before ?? absence;
    known.set(handle, '');
    for (const { modelName, modelVersion } of config.ensemble) {
      const loaded = entries.get(modelName)?.loaded ?? [];
      const asked = loaded.filter(({ version }) => modelVersion === '' || version === modelVersion);
      const absences = asked.map(absenceOf);
      if (absences.length === 0 || absences.includes('')) continue;
      known.set(handle, `composes model "${modelName}", which is not ready: ${absences[0]}`);
      break;
    }
    return known.get(handle) ?? '';
  };
  for (const { loaded } of entries.values())
    for (const version of loaded) known.set(version.handle, absenceOf(version));
  return known;
}

/** Name → what keeps an ensemble from serving; absent: nothing, or it is not a loaded ensemble. */
export function ensembleProblems(entries: ReadonlyMap<string, ModelEntry>): Map<string, string> {
  const lookup = (model: string, version: string): ModelConfig | undefined => {
    const entry = entries.get(model);
    if (entry === undefined) return undefined;
    const sorted = [...entry.loaded].sort((a, b) => compareVersions(b.version, a.version));
    const found = version === '' ? sorted[0] : sorted.find((loaded) => loaded.version === version);
    if (found) return found.config;
    return entry.wanted && !entry.resident && entry.problem === '' ? entry.config : undefined;
  };
  const known = new Map<string, string>();
  const problemOf = (name: string): string => {
    const before = known.get(name);
    if (before !== undefined) return before;
    const config = entries.get(name)?.loaded.at(-1)?.config;
    if (config?.ensemble === undefined) return '';
    known.set(name, '');
    let problem = ensembleProblem(config, lookup);
    for (const dependency of ensembleDependencies(config)) {
      if (problem !== '') break;
      const inner = problemOf(dependency);
      if (inner !== '') problem = `depends on model "${dependency}", which ${inner}`;
    }
    known.set(name, problem);
    return problem;
  };
  for (const name of entries.keys()) problemOf(name);
  return known;
}

/** Every known version of a model with its state and, unless it is ready, why. Ascending. */
export function versionIndex(
  entry: ModelEntry,
  ensemble: string,
  absences: ReadonlyMap<number, string>,
): VersionStatus[] {
  const loaded = new Map<string, string>();
  for (const { version, handle } of entry.loaded) loaded.set(version, ensemble || (absences.get(handle) ?? ''));
  const versions = new Set([
    ...entry.source.scanned.versions.map((version) => version.version),
    ...loaded.keys(),
    ...entry.loading,
    ...entry.draining,
    ...entry.failures.keys(),
  ]);
  if (versions.size === 0) versions.add('1');
  return [...versions].sort(compareVersions).map((version): VersionStatus => {
    const unavailable = (reason: string): VersionStatus => ({ version, state: 'UNAVAILABLE', reason });
    const problem = loaded.get(version);
    if (problem !== undefined) return problem === '' ? { version, state: 'READY', reason: '' } : unavailable(problem);
    if (entry.loading.has(version)) return { version, state: 'LOADING', reason: '' };
    if (entry.draining.has(version))
      return { version, state: 'UNLOADING', reason: 'its last requests are being answered' };
    if (entry.problem !== '') return unavailable(entry.problem);
    if (!entry.wanted) return unavailable('unloaded');
    const quarantine = entry.quarantined.get(version);
    if (quarantine !== undefined) return unavailable(`quarantined: ${quarantine}`);
    const failure = entry.failures.get(version);
    if (failure) return unavailable(failure.reason);
    if (entry.resident && entry.loaded.length === 0) return { version, state: 'LOADING', reason: '' };
    return unavailable(entry.resident ? 'not chosen by version_policy' : ON_DEMAND_REASON);
  });
}
