import { mkdtempSync, rmSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const DIST = fileURLToPath(new URL('../../dist', import.meta.url));
const made = new Map<string, string>();

/**
 * A file of the sources with all it imports as one file in dist, where it starts the threads of the built program; gone with
 * this process. Build first.
 */
export function inDist(source: string): string {
  let file = made.get(source);
  if (file === undefined) {
    const folder = mkdtempSync(join(DIST, 'test-'));
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
    file = join(folder, `${basename(source, extname(source))}.js`);
    const form = { bundle: true, packages: 'external', platform: 'node', format: 'esm' } as const;
    buildSync({ entryPoints: [source], outfile: file, ...form });
    made.set(source, file);
  }
  return file;
}
