import { createHash } from 'node:crypto';
import { readJsonFile, writeJsonFile } from '../models/repository/digest.ts';
import type { Deployment, Follow } from '../registry/serving/types.ts';

/** What a gateway goes on with after a restart while the registry is away. */
interface KeptState {
  wanted: Deployment[];
  /** The last that were ready. */
  standing: Deployment[];
  /** Digests that stay at hand, newest last, per served model. */
  recent: [string, string[]][];
}

/** Undefined: nothing is kept, or it is of another `follow`. */
export async function readState(file: string, follow: Follow): Promise<KeptState | undefined> {
  const kept = await readJsonFile<Partial<KeptState & { follow: string }>>(file, {});
  if (kept.follow !== fingerprint(follow)) return undefined;
  return { wanted: kept.wanted ?? [], standing: kept.standing ?? [], recent: kept.recent ?? [] };
}

export function writeState(file: string, follow: Follow, state: KeptState): Promise<void> {
  return writeJsonFile(file, { follow: fingerprint(follow), ...state });
}

function fingerprint(follow: Follow): string {
  return createHash('sha256').update(JSON.stringify(follow)).digest('hex');
}
