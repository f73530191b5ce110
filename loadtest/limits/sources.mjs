// Sources of the program as one module, bundled as `npm run build` bundles them: dist has no file of each.
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { buildSync } from 'esbuild';

const ROOT = join(import.meta.dirname, '..', '..');

/** What the sources export together; `protocol/v2/json-writer` is one. */
export async function sources(...paths) {
  const folder = mkdtempSync(join(ROOT, 'dist', 'limit-'));
  try {
    const contents = paths.map((path) => `export * from './src/${path}.ts';`).join('\n');
    const outfile = join(folder, 'sources.js');
    const form = { bundle: true, packages: 'external', platform: 'node', format: 'esm' };
    buildSync({ stdin: { contents, resolveDir: ROOT }, outfile, ...form });
    return await import(outfile);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
