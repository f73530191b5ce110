import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type ElfNeeds, elfNeeds } from '../shared/elf.ts';

/** Where a library is looked for besides its user's own folders. Tests put their own in place. */
export interface LibraryPlaces {
  /** LD_LIBRARY_PATH and the system's folders. */
  folders: readonly string[];
  /** The loader's cache: name → path. */
  cached: ReadonlyMap<string, string>;
}

const SYSTEM_FOLDERS = ['/lib', '/usr/lib', '/lib64', '/usr/lib64'];

/** The loader's places on this machine; without ldconfig (musl), the usual folders alone. */
export function systemPlaces(environment: NodeJS.ProcessEnv = process.env): LibraryPlaces {
  const cached = new Map<string, string>();
  for (const program of ['/sbin/ldconfig', 'ldconfig']) {
    const { stdout, status } = spawnSync(program, ['-p'], { encoding: 'utf8' });
    if (status !== 0) continue;
    // "	libcuda.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libcuda.so.1"; the first of a name wins.
    for (const [, name, path] of stdout.matchAll(/^\s+(\S+) \([^)]*\) => (\S+)$/gm))
      if (!cached.has(name)) cached.set(name, path);
    break;
  }
  const named = (environment.LD_LIBRARY_PATH ?? '').split(':').filter((folder) => folder !== '');
  return { folders: [...named, ...SYSTEM_FOLDERS], cached };
}

/** The path under which the loader would find `name`, or undefined. `own`: folders its user names. */
export function findLibrary(name: string, places: LibraryPlaces, own: readonly string[] = []): string | undefined {
  const found = [...own, ...places.folders].map((folder) => join(folder, name)).find((path) => existsSync(path));
  return found ?? places.cached.get(name);
}

/**
 * The names that `file`, or a library it needs, needs and the loader would not find, as `ldd` lists them. Nothing of the
 * file is run. Throws an Error when it is no shared library of this kind of machine.
 */
export function missingLibraries(file: string, places: LibraryPlaces): string[] {
  const missing = new Set<string>();
  const seen = new Set<string>([file]);
  const queue: { path: string; needs: ElfNeeds }[] = [{ path: file, needs: elfNeeds(file) }];
  for (const { path, needs } of queue) {
    const own = needs.searched.map((folder) => folder.replace(/\$ORIGIN|\$\{ORIGIN\}/g, dirname(path)));
    for (const name of needs.needed) {
      const found = findLibrary(name, places, own);
      if (found === undefined) missing.add(name);
      else if (!seen.has(found)) {
        seen.add(found);
        queue.push({ path: found, needs: elfNeeds(found) });
      }
    }
  }
  return [...missing].sort();
}
