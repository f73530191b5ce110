import { estimateOf } from './budget.ts';
import type { ModelEntry } from './entry.ts';
import type { ModelSet } from './model-set.ts';
import type { Log } from './reconciler.ts';
import type { Catalogue } from './repository/catalogue.ts';

interface CatalogueFollowerParts {
  catalogue: Catalogue;
  models: ModelSet;
  /** Resolves when every gateway serves by a table built after the call. */
  publish(): Promise<void>;
  log: Log;
}

/** Makes what is served follow what the catalogue has: models that came, changed and went. */
export class CatalogueFollower {
  private readonly parts: CatalogueFollowerParts;

  constructor(parts: CatalogueFollowerParts) {
    this.parts = parts;
  }

  /** Makes what is served follow the last look. Two may overlap: each operation reads what is known when it runs. */
  async follow(): Promise<void> {
    const { catalogue, models, publish } = this.parts;
    const diff = catalogue.advance();
    // Another look may come meanwhile, and know other models.
    const known = catalogue.models;
    for (const warning of diff.warnings) this.parts.log('warn', warning, {});
    const work: (Promise<void> | undefined)[] = [];
    for (const name of diff.added) {
      const entry = models.entries.get(name) ?? models.add(known.get(name)!);
      await models.want([entry]);
      entry.resident = models.residency.fits(entry);
      if (entry.resident) entry.reserved = entry.estimate;
      work.push(this.renew(entry));
    }
    for (const name of diff.changed) {
      const entry = models.entries.get(name);
      work.push(entry && this.renew(entry));
    }
    for (const name of diff.removed) {
      const entry = models.entries.get(name);
      work.push(
        entry?.serial.run(async () => {
          if (catalogue.models.has(name)) return;
          entry.wanted = false;
          entry.resident = false;
          await models.apply(entry);
          // Back meanwhile: whoever brought it has found this entry, and renews it next.
          if (catalogue.models.has(name)) return;
          models.entries.delete(name);
          await publish();
        }),
      );
    }
    await Promise.all(work);
  }

  /** Serves a model as the last look has it; one that was about to be forgotten, or loaded, knew what it was before. */
  private renew(entry: ModelEntry): Promise<void> {
    const { catalogue, models } = this.parts;
    return entry.serial.run(async () => {
      const scanned = catalogue.models.get(entry.name);
      if (scanned === undefined) return;
      entry.source = { scanned, configJson: '' };
      entry.estimate = estimateOf(scanned);
      entry.failures.clear();
      await models.apply(entry);
    });
  }
}
