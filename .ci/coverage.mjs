// The tests under a floor of coverage (.c8rc.json), of a dist with one file for each source: in a bundle c8 takes every line
// for run. The bundle is back at the end. Files of types alone compile to nothing, so there is nothing of them to cover: they
// are left out.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { transformSync } from 'esbuild';

const { exclude } = JSON.parse(readFileSync('.c8rc.json', 'utf8'));
const empty = readdirSync('src', { recursive: true })
  .map((file) => join('src', file))
  .filter((file) => file.endsWith('.ts') && isEmpty(readFileSync(file, 'utf8')));
if (empty.length === 0) throw new Error('src has no file of types alone: they are not recognised');

function isEmpty(source) {
  return transformSync(source, { loader: 'ts' }).code.trim() === '';
}

const stdio = 'inherit';
const excludes = [...exclude, ...empty].map((file) => `--exclude=${file}`);
rmSync('dist', { recursive: true, force: true });
const passed = [
  () => spawnSync('node', ['node_modules/typescript-native/bin/tsc', '-p', '.ci/tsconfig.json'], { stdio }),
  () => spawnSync('npm', ['run', '-s', 'check'], { stdio }),
  () => spawnSync('c8', [...excludes, 'npm', 'run', '-s', 'unit'], { stdio }),
].every((step) => step().status === 0);
const { status } = spawnSync('npm', ['run', '-s', 'build'], { stdio });
process.exit(passed && status === 0 ? 0 : 1);
