import { chosenVersion } from '../../pipeline/ready.ts';
import type { ServingModel, ServingTable, ServingVersion } from '../../pipeline/types.ts';
import { SwitchyardError } from '../../shared/errors.ts';

/** A known model, loaded or not. Throws not_found. */
export function findModel(table: ServingTable, name: string): ServingModel {
  const model = table.models.get(name);
  if (model === undefined) throw new SwitchyardError('not_found', `Request for unknown model: '${name}' is not found`);
  return model;
}

/** The version a request would reach; '' is the highest ready. Throws not_found, and unavailable where none is loaded. */
export function findVersion(table: ServingTable, name: string, version: string): ServingVersion {
  const model = findModel(table, name);
  if (version === '') {
    const chosen = chosenVersion(model);
    if (chosen !== undefined) return chosen;
    throw new SwitchyardError('unavailable', `Request for unknown model: '${name}' has no available versions`);
  }
  const found = model.versions.find((candidate) => candidate.version === version);
  if (found !== undefined) return found;
  if (model.index.some((known) => known.version === version)) {
    throw new SwitchyardError(
      'unavailable',
      `Request for unknown model: '${name}' version ${version} is not at ready state`,
    );
  }
  throw new SwitchyardError('not_found', `Request for unknown model: '${name}' version ${version} is not found`);
}
