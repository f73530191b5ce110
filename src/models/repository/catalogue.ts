import { diffSnapshots, type RepositoryDiff } from '../poller.ts';
import { type RepositorySnapshot, type ScannedModel, scanRepositories } from './scan.ts';

const NOTHING: RepositorySnapshot = { models: new Map(), warnings: [] };

/**
 * What models there are: those of the repository folders, and those that come from elsewhere, such as a registry's. What
 * is learned counts when it is taken in, so that whoever follows sees each difference once.
 */
export class Catalogue {
  private readonly repositories: readonly string[];
  private scanned = NOTHING;
  private current = NOTHING;
  private provided: ReadonlyMap<string, ScannedModel> = new Map();
  private taken: ReadonlyMap<string, ScannedModel> = this.provided;

  constructor(repositories: readonly string[]) {
    this.repositories = repositories;
  }

  get models(): ReadonlyMap<string, ScannedModel> {
    return this.current.models;
  }

  /** Whether other models are provided than those last taken in. */
  get behind(): boolean {
    return this.provided !== this.taken;
  }

  isProvided(name: string): boolean {
    return this.taken.has(name);
  }

  /** Replaces the models that come from no repository folder. */
  provide(models: ReadonlyMap<string, ScannedModel>): void {
    this.provided = models;
  }

  async scan(): Promise<void> {
    this.scanned = await scanRepositories(this.repositories, this.scanned);
  }

  /** Takes in what the folders hold, for nobody to follow. */
  async refresh(): Promise<void> {
    await this.scan();
    this.current = withProvided(this.scanned, this.taken);
  }

  /** Takes in all that was learned. Returns what differs, and warnings that are new. */
  advance(): RepositoryDiff & { warnings: string[] } {
    const before = this.current;
    this.taken = this.provided;
    this.current = withProvided(this.scanned, this.taken);
    const warnings = this.current.warnings.filter((warning) => !before.warnings.includes(warning));
    return { ...diffSnapshots(before.models, this.current.models), warnings };
  }
}

/** A look at the repositories with the models that come from elsewhere. A name that both have is an error. */
function withProvided(look: RepositorySnapshot, provided: ReadonlyMap<string, ScannedModel>): RepositorySnapshot {
  const models = new Map(look.models);
  for (const [name, model] of provided) {
    const other = models.get(name);
    if (other === undefined) models.set(name, model);
    else {
      const error =
        "is in a model repository and in the registry; rename one, or serve the registry's under another name";
      models.set(name, { ...model, versions: [], fingerprint: other.fingerprint + model.fingerprint, error });
    }
  }
  return { models, warnings: look.warnings };
}
