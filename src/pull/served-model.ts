import { join } from 'node:path';
import type { RawConfig } from '../models/config/map.ts';
import { writeTextFile } from '../models/repository/digest.ts';
import type { ScannedModel, ScannedVersion } from '../models/repository/scan.ts';
import { scanModel } from '../models/repository/scan.ts';

/** A registry's model as the manager reads models: its configuration in `folder`, its versions wherever they are. */
export async function servedModel(
  name: string,
  folder: string,
  versions: readonly ScannedVersion[],
  config: RawConfig,
): Promise<ScannedModel> {
  const directory = join(folder, name);
  await writeTextFile(join(directory, 'config.yaml'), `${JSON.stringify(config, undefined, 2)}\n`);
  const { files, configFile, error } = await scanModel(name, directory);
  const sorted = versions.toSorted((a, b) => a.version.length - b.version.length || (a.version < b.version ? -1 : 1));
  return {
    name,
    directory,
    configFile,
    versions: sorted,
    files,
    fingerprint: JSON.stringify([
      config,
      sorted.map(({ version, directory, problem }) => [version, directory, problem]),
    ]),
    error,
  };
}
