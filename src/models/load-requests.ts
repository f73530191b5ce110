import { SwitchyardError } from '../shared/errors.ts';
import { estimateOf } from './budget.ts';
import { ensembleDependencies } from './config/ensemble.ts';
import type { RawConfig } from './config/map.ts';
import { asRawModel } from './config/raw-types.ts';
import { readModelConfig } from './config/read.ts';
import { createEntry, failureOf, type ModelEntry } from './entry.ts';
import type { KeptRecords } from './kept-records.ts';
import type { ModelSet } from './model-set.ts';
import type { Reconciler } from './reconciler.ts';
import { checkRemoteHosts } from './remote-hosts.ts';
import type { Catalogue } from './repository/catalogue.ts';
import { checkModelName } from './repository/names.ts';
import { checkOverrideFiles, materialiseOverride, removeOverrides } from './repository/overrides.ts';
import { emptyModel, scanModel } from './repository/scan.ts';
import type { ModelSource } from './source.ts';
import { ensembleProblems } from './table.ts';

interface LoadRequestsParts {
  models: ModelSet;
  catalogue: Catalogue;
  reconciler: Reconciler;
  records: KeptRecords;
  dataDir: string;
  /** Hosts, besides loopback, that a configuration may name. */
  remoteHosts: readonly string[];
  /** Models put into a repository meanwhile become known. */
  refresh(): Promise<void>;
}

/** What clients and operators ask for by name: a model is loaded, with files and a configuration of its own or not, or unloaded. */
export class LoadRequests {
  private readonly parts: LoadRequestsParts;

  constructor(parts: LoadRequestsParts) {
    this.parts = parts;
  }

  /** As ModelManager.load. */
  async load(name: string, configJson: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
    const { models, catalogue, records } = this.parts;
    checkModelName(name);
    if (configJson !== '') {
      const config = readModelConfig(configJson, `${name}/config.json`);
      checkRemoteHosts(config, name, this.parts.remoteHosts);
      refuseOperators(config, name);
    }
    if (files.size > 0) checkOverrideFiles(files);
    else await this.parts.refresh();
    const found = catalogue.models.get(name);
    if (found === undefined && files.size === 0) {
      throw new SwitchyardError('not_found', `failed to load '${name}', no model repository holds it`);
    }
    const entry = models.entries.get(name) ?? models.add(found ?? emptyModel(name));
    if (files.size === 0) await this.loadDependencies({ scanned: found!, configJson });
    const failure = await entry.serial.run(() => this.loadNow(entry, configJson, files));
    await records.persist();
    if (failure !== '') throw new SwitchyardError('failed_precondition', `failed to load '${name}', ${failure}`);
  }

  /** As ModelManager.unload. */
  async unload(name: string, dependents: boolean): Promise<void> {
    const { models } = this.parts;
    const entry = models.entries.get(name);
    if (entry === undefined)
      throw new SwitchyardError('not_found', `failed to unload '${name}', no such model is known`);
    const names = [name];
    if (dependents && entry.config) {
      const others = [...models.entries.values()].filter((other) => other !== entry && other.wanted && other.config);
      const needed = new Set(others.flatMap((other) => ensembleDependencies(other.config!)));
      names.push(...ensembleDependencies(entry.config).filter((dependency) => !needed.has(dependency)));
    }
    await Promise.all(
      names.map((each) => {
        const target = models.entries.get(each);
        return target?.serial.run(async () => {
          target.wanted = false;
          target.resident = false;
          await models.apply(target);
        });
      }),
    );
  }

  /** Runs inside the entry's queue. Returns why the load failed, '' = it did not; then the old source is back. */
  private async loadNow(
    entry: ModelEntry,
    configJson: string,
    files: ReadonlyMap<string, Uint8Array>,
  ): Promise<string> {
    const { models, catalogue, reconciler, records, dataDir } = this.parts;
    const { name } = entry;
    const before = { source: entry.source, overridden: entry.overridden };
    const directory = files.size > 0 ? await materialiseOverride(dataDir, name, files) : '';
    const scanned = directory === '' ? catalogue.models.get(name)! : await scanModel(name, directory);
    entry.source = { scanned, configJson };
    entry.overridden = directory !== '';
    entry.estimate = estimateOf(scanned);
    entry.failures.clear();
    await records.release(name);
    entry.wanted = true;
    if (!entry.resident) await models.residency.admit(entry);
    await models.apply(entry);
    let failure = '';
    if (entry.problem !== '' || entry.failures.size > 0 || entry.loaded.length === 0) failure = failureOf(entry);
    else failure = ensembleProblems(models.entries).get(name) ?? '';
    if (failure !== '' && entry.loaded.length > 0 && entry.loaded[0].config.ensemble === undefined) {
      Object.assign(entry, before);
      await reconciler.readEntry(entry);
    }
    if (before.overridden || directory !== '') {
      await removeOverrides(dataDir, name, entry.overridden ? entry.source.scanned.directory : '');
    }
    return failure;
  }

  /** Loads what an ensemble composes, before it and outside of its queue: two ensembles may name each other. */
  private async loadDependencies(source: ModelSource): Promise<void> {
    const { models } = this.parts;
    const probe = createEntry(source);
    const all = await models.want([probe]);
    await Promise.all(
      all
        .filter((entry) => entry !== probe && entry.name !== probe.name)
        .map((entry) =>
          entry.serial.run(async () => {
            if (entry.resident) return;
            await models.residency.admit(entry);
            await models.apply(entry);
          }),
        ),
    );
  }
}

/** Libraries are code that this machine would run: whoever may load models may not therefore say which. */
function refuseOperators(config: RawConfig, name: string): void {
  if ((asRawModel(config).model_operations?.op_library_filename ?? []).length === 0) return;
  throw new SwitchyardError(
    'permission_denied',
    `the configuration in the load request of "${name}" names libraries of operators; only the file in the model repository may`,
  );
}
