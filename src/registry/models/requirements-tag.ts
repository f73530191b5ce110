import { toSwitchyardError } from '../../shared/errors.ts';
import { invalidParameter } from '../errors.ts';
import { parseRequirements, REQUIREMENTS_TAG } from '../serving/requirements.ts';

/** A version that could never be served for a misspelt requirement is refused when it is tagged, not when it is loaded. */
export function checkRequirementsTag({ key, value }: { key: string; value: string }): void {
  if (key !== REQUIREMENTS_TAG) return;
  try {
    parseRequirements(value);
  } catch (error) {
    throw invalidParameter(`Invalid value for the tag ${REQUIREMENTS_TAG}: ${toSwitchyardError(error).message}`);
  }
}
