import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
import { invalidArgument } from '../../shared/errors.ts';

const MAX_FILES = 1000;
const MAX_BYTES = 16 * 1024 * 1024;
const LEFT_OUT = /^(\.git|\.venv|venv|node_modules|__pycache__|\.ipynb_checkpoints)$/;

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * The text files below a folder by their paths. `allowed`: folders in which it must lie; undefined: anywhere, for whoever
 * reads files of their own. Throws invalid_argument, also for a link: it may lead anywhere.
 */
export async function packSourceDir(
  folder: string,
  allowed: readonly string[] | undefined,
): Promise<Record<string, string>> {
  const fail = (problem: string): Error => invalidArgument(`spec.sourceDir: ${JSON.stringify(folder)} ${problem}`);
  const root = await realpath(resolve(folder)).catch(() => {
    throw fail('is not there');
  });
  if (allowed !== undefined) {
    const roots = await Promise.all(allowed.map((path) => realpath(resolve(path)).catch(() => undefined)));
    const inside = roots.some((path) => path !== undefined && (root === path || root.startsWith(path + sep)));
    if (!inside)
      throw fail(
        'does not lie in a folder of training.sourceDirs; "switchyard jobs submit" sends files of your own along',
      );
  }
  const files: Record<string, string> = {};
  let bytes = 0;
  const walk = async (at: string): Promise<void> => {
    for (const entry of (await readdir(at, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(at, entry.name);
      if (LEFT_OUT.test(entry.name)) continue;
      if (entry.isDirectory()) await walk(path);
      else if (!entry.isFile()) throw fail(`holds ${JSON.stringify(relative(root, path))}, which is no plain file`);
      else {
        bytes += (await stat(path)).size;
        if (bytes > MAX_BYTES)
          throw fail(`holds more than ${MAX_BYTES} bytes; give large files as inputs of the registry`);
        try {
          files[relative(root, path).split(sep).join('/')] = utf8.decode(await readFile(path));
        } catch {
          throw fail(
            `holds ${JSON.stringify(relative(root, path))}, which is not UTF-8 text; give it as an input of the registry`,
          );
        }
        if (Object.keys(files).length > MAX_FILES) throw fail(`holds more than ${MAX_FILES} files`);
      }
    }
  };
  if (!(await stat(root)).isDirectory()) throw fail('is no folder');
  await walk(root);
  return files;
}
