import type { Stage } from '../database/tables/models.ts';
import { invalidParameter, shown } from '../errors.ts';

const MAX_NAME = 256;
const MAX_ALIAS = 255;
/** What JavaScript finds on every object: whoever keeps things by a model's name must not meet them. */
const RESERVED = ['__proto__', 'constructor', 'prototype'];
const MAX_TAG_KEY = 250;
const MAX_TAG_VALUE = 100_000;
export const MAX_DESCRIPTION = 5000;

/** A registered model's name becomes a URI part (models:/<name>@<alias>) and a path part. */
export function checkModelName(name: string, parameter = 'name'): string {
  if (name.trim() === '') throw invalidParameter(`Missing value for required parameter '${parameter}'.`);
  const plain = !/[/:\0-\x1f\x7f]/.test(name) && name !== '.' && name !== '..' && !/^\s|\s$/.test(name);
  if (RESERVED.includes(name))
    throw invalidParameter(`Invalid model name: ${shown(name)} for parameter '${parameter}'. The name is reserved`);
  if (plain && name.length <= MAX_NAME) return name;
  throw invalidParameter(
    `Invalid model name: ${shown(name)} for parameter '${parameter}'. Names cannot contain '/' or ':', control characters or outer spaces, nor be '.' or '..'; at most ${MAX_NAME} characters`,
  );
}

/** Throws INVALID_PARAMETER_VALUE unless it is an alias that may be looked up. */
export function checkAlias(alias: string): string {
  if (alias === '') throw invalidParameter('Registered model alias name cannot be empty.');
  if (!/^[\w-]+$/.test(alias)) {
    throw invalidParameter(
      `Invalid alias name: ${shown(alias)}. Names may only contain alphanumerics, underscores (_), and dashes (-).`,
    );
  }
  if (alias.length > MAX_ALIAS)
    throw invalidParameter(
      `Registered model alias name has ${alias.length} characters; at most ${MAX_ALIAS} are allowed`,
    );
  return alias;
}

/** As checkAlias, for one that is set: names that mean something by themselves are reserved. */
export function checkNewAlias(alias: string): string {
  checkAlias(alias);
  if (alias.toLowerCase() === 'latest')
    throw invalidParameter("'latest' alias name (case insensitive) is reserved: it always means the newest version");
  if (/^v\d+$/i.test(alias))
    throw invalidParameter(`Version alias name ${shown(alias)} is reserved: it looks like a version`);
  return alias;
}

/** Versions are text on the wire. Throws INVALID_PARAMETER_VALUE unless it is a whole number. */
export function versionNumber(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw invalidParameter(`Invalid value ${shown(text)} for parameter 'version' supplied: not an integer`);
}

const STAGES: readonly Stage[] = ['None', 'Staging', 'Production', 'Archived'];
export const ACTIVE_STAGES: readonly Stage[] = ['Staging', 'Production'];

/** A stage in any letter case. Throws INVALID_PARAMETER_VALUE. */
export function stageOf(text: string): Stage {
  const found = STAGES.find((stage) => stage.toLowerCase() === text.toLowerCase());
  if (found !== undefined) return found;
  throw invalidParameter(`Invalid Model Version stage: ${shown(text)}. Value must be one of ${STAGES.join(', ')}.`);
}

/** Throws INVALID_PARAMETER_VALUE for a key or value that tags of models and versions may not have. */
export function checkModelTag({ key, value }: { key: string; value: string }): void {
  if (key.length > MAX_TAG_KEY)
    throw invalidParameter(
      `The tag key ${shown(key)} has ${key.length} characters; at most ${MAX_TAG_KEY} are allowed`,
    );
  if (!/^[\p{L}\p{N}_.\- /:]+$/u.test(key) || key.split('/').some((part) => part === '..' || part === '.')) {
    throw invalidParameter(
      `Invalid value ${shown(key)} for parameter 'key' supplied: names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colons (:) and slashes (/)`,
    );
  }
  if (value.length > MAX_TAG_VALUE)
    throw invalidParameter(
      `The value of tag ${shown(key)} has ${value.length} characters; at most ${MAX_TAG_VALUE} are allowed`,
    );
}

export function checkDescription(text: string): string {
  if (text.length <= MAX_DESCRIPTION) return text;
  throw invalidParameter(
    `Invalid value ${shown(text.slice(0, 60))} for parameter 'description' supplied: ${text.length} characters; at most ${MAX_DESCRIPTION} are allowed`,
  );
}
