// Compiles the addon:  node native/build.mjs [--required | --prebuild]
// Runs at `npm install`: a prebuilt of this platform that loads is used as it is, else the addon is compiled; where it
// cannot be, this says so and ends with 0, since the TypeScript codecs do the same work. --required compiles whatever is
// there and ends with 1 if that fails; --prebuild does so into native/prebuilds/, to be shipped to other machines.
// The addon uses Node-API only, so one build serves every Node release from 18 on.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { prebuiltName } from './platform.mjs';

const here = import.meta.dirname;
const prebuilt = join(here, 'prebuilds', prebuiltName());
const prebuild = process.argv.includes('--prebuild');
const required = prebuild || process.argv.includes('--required');
const target = prebuild ? prebuilt : join(here, 'build', 'switchyard.node');

/** Why the prebuilt addon does not do, or '' when it does: it loads, and it is of these sources' interface. */
function prebuiltProblem() {
  if (!existsSync(prebuilt)) return 'there is none for this platform';
  try {
    const source = readFileSync(join(here, 'src', 'addon.cc'), 'utf8');
    const wanted = Number(/kInterface = (\d+)/.exec(source)?.[1]);
    const { interface: found } = createRequire(import.meta.url)(prebuilt);
    return found === wanted ? '' : `it has interface ${found}, these sources have ${wanted}`;
  } catch (error) {
    return error.message;
  }
}

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
  const flags = ['-std=c++17', '-O3', '-fPIC', '-fvisibility=hidden', '-fno-exceptions', '-fno-rtti'];
  // Contracting a·b+c would round differently from JavaScript.
  flags.push('-ffp-contract=off', '-Wall', '-Wextra', '-Wno-missing-field-initializers', '-DNAPI_VERSION=8');
  // What Node-API itself is made of comes from the node process that loads the addon.
  flags.push(...(process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared', '-s']));
  const compiler = process.env.CXX || 'c++';
  mkdirSync(dirname(target), { recursive: true });
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

const unfit = required ? 'a build was asked for' : prebuiltProblem();
if (unfit !== '' && !required && existsSync(prebuilt)) console.error(`The prebuilt addon is not used: ${unfit}`);
const problem = unfit === '' ? '' : await build();
if (problem !== '') {
  console.error(`The native codecs were not built: ${problem}. Switchyard works without them, only slower at JSON.`);
  console.error('To build them, install a C++17 compiler (g++ 11 or clang 14 and later) and run: npm run build:native');
  if (required) process.exit(1);
}
