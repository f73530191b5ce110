import { readJsonFile, writeJsonFile } from '../models/repository/digest.ts';
import type { Deployment, Follow } from '../registry/serving/types.ts';

/** What a gateway goes on with after a restart while the registry is away. */
export interface KeptState {
  wanted: Deployment[];
  /** The last that were ready. */
  standing: Deployment[];
  /** Digests that stay at hand, newest last, per served model. */
  recent: [string, string[]][];
}

/**
 * What is kept of models that are followed still, under the same name and by the same alias. A model that is added to
 * `follow` takes nothing from the others. Undefined: there is none of it.
 */
export async function readState(file: string, follow: Follow): Promise<KeptState | undefined> {
  const kept = await readJsonFile<Partial<KeptState>>(file, {});
  const still = (list: readonly Deployment[] = []): Deployment[] => list.filter((each) => isFollowed(follow, each));
  const [wanted, standing] = [still(kept.wanted), still(kept.standing)];
  if (wanted.length === 0 && standing.length === 0) return undefined;
  return { wanted, standing, recent: kept.recent ?? [] };
}

export function writeState(file: string, state: KeptState): Promise<void> {
  return writeJsonFile(file, state);
}

function isFollowed({ models, everyAlias }: Follow, { name, alias, served }: Deployment): boolean {
  if (models.some((model) => model.name === name && model.alias === alias && model.served === served)) return true;
  return alias === everyAlias && served === name;
}
