import { chosenVersion, isModelReady } from '../../../pipeline/ready.ts';
import type { ServingModel, ServingTable, ServingVersion } from '../../../pipeline/types.ts';
import { SwitchyardError } from '../../../shared/errors.ts';

/** Throws not_found, in the words Triton's clients look for. */
export function findModel(table: ServingTable, model: string): ServingModel {
  const found = table.models.get(model);
  if (found === undefined) {
    throw new SwitchyardError('not_found', `Request for unknown model: '${model}' is not found`);
  }
  return found;
}

/** The loaded version asked for, '' = the highest ready. Throws not_found, or unavailable where the version is known. */
export function findVersion(table: ServingTable, model: string, version: string): ServingVersion {
  const known = findModel(table, model);
  const ready =
    version === '' ? chosenVersion(known) : known.versions.find((candidate) => candidate.version === version);
  if (ready !== undefined) return ready;
  const listed = version === '' ? known.index.length > 0 || known.onDemand : isListed(known, version);
  if (listed) {
    const which = version === '' ? `model '${model}'` : `model '${model}' version ${version}`;
    throw new SwitchyardError('unavailable', `${which} is not ready; its state is in the repository index`);
  }
  throw new SwitchyardError(
    'not_found',
    version === ''
      ? `Request for unknown model: '${model}' has no available versions`
      : `Request for unknown model: '${model}' version ${version} is not found`,
  );
}

/** TF Serving's version label. Throws not_found. */
export function findLabel(table: ServingTable, model: string, label: string): string {
  const known = findModel(table, model);
  for (const version of known.versions) {
    const labels = version.config.versionLabels;
    if (Object.hasOwn(labels, label)) return labels[label];
  }
  throw new SwitchyardError('not_found', `model '${model}' has no version label '${label}'`);
}

export function isReady(table: ServingTable, model: string, version: string): boolean {
  const known = table.models.get(model);
  return known !== undefined && isModelReady(known, version);
}

function isListed(model: ServingModel, version: string): boolean {
  return model.index.some((candidate) => candidate.version === version);
}
