import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { invalidArgument } from '../../shared/errors.ts';
import { isVersionName } from '../version-policy.ts';
import { checkModelName, isSafeRelativePath } from './names.ts';

const MAX_FILES = 256;

/**
 * Checks the files of a load request ("1/model.onnx" → bytes): plain relative paths below a version folder.
 * Throws invalid_argument naming the path.
 */
export function checkOverrideFiles(files: ReadonlyMap<string, Uint8Array>): void {
  if (files.size > MAX_FILES)
    throw invalidArgument(`the load request carries ${files.size} files; allowed: up to ${MAX_FILES}`);
  for (const path of files.keys()) {
    const [version, ...rest] = path.split('/');
    if (!isSafeRelativePath(path) || !isVersionName(version) || rest.length === 0) {
      throw invalidArgument(
        `file ${JSON.stringify(path.slice(0, 200))} of the load request is not allowed: name it <version>/<file>, such as file:1/model.onnx`,
      );
    }
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
      if (files.has(path.slice(0, end)))
        throw invalidArgument(`file "${path.slice(0, end)}" of the load request is also the folder of "${path}"`);
    }
  }
}

/**
 * Writes a load request's files as a model folder of our own, `<dataDir>/overrides/<model>/<digest>`, by an atomic
 * rename, and returns that folder. The same files give the same folder. Throws invalid_argument for bad names.
 */
export async function materialiseOverride(
  dataDir: string,
  model: string,
  files: ReadonlyMap<string, Uint8Array>,
): Promise<string> {
  checkModelName(model);
  checkOverrideFiles(files);
  const hash = createHash('sha256');
  const paths = [...files.keys()].sort();
  for (const path of paths) {
    const bytes = files.get(path)!;
    hash.update(JSON.stringify([path, bytes.byteLength])).update(bytes);
  }
  const parent = join(dataDir, 'overrides', model);
  const target = join(parent, hash.digest('hex').slice(0, 32));
  const fresh = join(parent, `.${randomUUID()}`);
  try {
    for (const path of paths) {
      const file = join(fresh, path);
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      await writeFile(file, files.get(path)!, { flag: 'wx', mode: 0o600 });
    }
    await rename(fresh, target);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    const code = (error as NodeJS.ErrnoException).code;
    // Already there from an earlier load of the same bytes.
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
  }
  return target;
}

/** Removes a model's materialised folders except `keep` ('' = all). Call when nothing loaded uses them. */
export async function removeOverrides(dataDir: string, model: string, keep: string): Promise<void> {
  checkModelName(model);
  const parent = join(dataDir, 'overrides', model);
  const entries = await readdir(parent).catch(() => []);
  for (const entry of entries) {
    if (join(parent, entry) !== keep) await rm(join(parent, entry), { recursive: true, force: true });
  }
}
