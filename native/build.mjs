// Compiles the addon:  node native/build.mjs [--required]
// Runs at `npm install`; where it cannot build it says so and ends with 0, since the TypeScript codecs do the same work.
// With --required it ends with 1 then. The addon uses Node-API only, so one build serves every Node release from 18 on.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const here = import.meta.dirname;
const target = join(here, 'build', 'switchyard.node');

/** Compiles into a file beside the target, so that a running gateway never sees half of one. Returns what went wrong. */
async function build() {
  if (process.platform === 'win32') return 'Windows is not supported';
  let headers;
  try {
    ({ include_dir: headers } = await import('node-api-headers'));
  } catch {
    return 'the package node-api-headers is not installed';
  }
  const sources = readdirSync(join(here, 'src')).filter((name) => name.endsWith('.cc'));
  const fresh = `${target}.${process.pid}`;
  const flags = ['-std=c++17', '-O2', '-fPIC', '-fvisibility=hidden', '-fno-exceptions', '-fno-rtti'];
  // Contracting a·b+c would round differently from JavaScript.
  flags.push('-ffp-contract=off', '-Wall', '-Wextra', '-Wno-missing-field-initializers', '-DNAPI_VERSION=8');
  // What Node-API itself is made of comes from the node process that loads the addon.
  flags.push(...(process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared', '-s']));
  const compiler = process.env.CXX || 'c++';
  mkdirSync(join(here, 'build'), { recursive: true });
  const { status, error } = spawnSync(
    compiler,
    [...flags, '-I', headers, ...sources.map((name) => join(here, 'src', name)), '-o', fresh],
    { stdio: 'inherit' },
  );
  if (status === 0) {
    renameSync(fresh, target);
    return '';
  }
  rmSync(fresh, { force: true });
  return error === undefined ? `${compiler} failed` : `${compiler} cannot be run (${error.code})`;
}

const problem = await build();
if (problem !== '') {
  console.error(`The native codecs were not built: ${problem}. Switchyard works without them, only slower at JSON.`);
  console.error('To build them, install a C++17 compiler (g++ 11 or clang 14 and later) and run: npm run build:native');
  if (process.argv.includes('--required')) process.exit(1);
}
