import { RegistryError } from '../../registry/errors.ts';
import { manifestOf } from '../../registry/models/files.ts';
import { findVersion } from '../../registry/models/find.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Artifact } from './artifacts.ts';
import type { StepServices } from './steps/context.ts';

export interface NamedVersion {
  name: string;
  version: string;
}

type Calls = Pick<StepServices, 'calls'>;

/** The version that an alias names; undefined: there is no such alias, or no such model. */
export async function versionBehind({ calls }: Calls, name: string, alias: string): Promise<string | undefined> {
  const found = await calls.find('mlflowGetModelVersionByAlias', { name, alias });
  return found?.model_version.version;
}

/** Files of a registered version. Throws not_found. */
export async function versionFiles({ registry }: StepServices, { name, version }: NamedVersion): Promise<Artifact> {
  const manifest = await registry.database.read(async (db) => manifestOf(db, await findVersion(db, name, version)));
  if (manifest === undefined)
    throw new SwitchyardError(
      'failed_precondition',
      `version ${version} of ${name} has no files yet; upload them to its source`,
    );
  return { files: manifest.files.map(({ path, digest, size }) => ({ path, digest, size })) };
}

/** `models:/<name>/<version>` or `models:/<name>@<alias>`. Throws when it names nothing. */
export async function findNamed(services: StepServices, uri: string): Promise<NamedVersion> {
  const path = uri.replace(/^models:\/+/, '');
  const at = path.lastIndexOf('@');
  if (at > 0) {
    const [name, alias] = [path.slice(0, at), path.slice(at + 1)];
    const version = await versionBehind(services, name, alias);
    if (version === undefined)
      throw new SwitchyardError('failed_precondition', `${uri} names no version: model ${name} has no alias ${alias}`);
    return { name, version };
  }
  const slash = path.lastIndexOf('/');
  return { name: path.slice(0, slash), version: path.slice(slash + 1) };
}

/**
 * Points an alias to a version if it still points to what was seen before; that it does already is no error. Resolves
 * with what it pointed to. Throws conflict when somebody else moved it meanwhile.
 */
export async function moveTo(
  services: Calls,
  { name, version }: NamedVersion,
  alias: string,
  why: { actor: string; reason: string },
): Promise<string | undefined> {
  const before = await versionBehind(services, name, alias);
  if (before === version) return before;
  try {
    await services.calls.call(
      'registryMoveAlias',
      { name, alias, version, expected_version: before ?? null, reason: why.reason },
      why.actor,
    );
  } catch (error) {
    if (error instanceof RegistryError && error.registryCode === 'RESOURCE_CONFLICT')
      throw new SwitchyardError('conflict', `${error.message}`);
    throw error;
  }
  return before;
}
