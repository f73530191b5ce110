// The test command under a floor of coverage (.c8rc.json). Files of types alone compile to nothing, so there is nothing
// of them to cover: they are left out. `npm ci` has built dist, which tells which they are.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const { exclude } = JSON.parse(readFileSync('.c8rc.json', 'utf8'));
const empty = readdirSync('dist', { recursive: true })
  .filter((file) => file.endsWith('.js') && isEmpty(readFileSync(join('dist', file), 'utf8')))
  .map((file) => `src/${file.replace(/\.js$/, '.ts')}`);
if (empty.length === 0) throw new Error('dist has no file of types alone: it is not what npm run build makes');

function isEmpty(code) {
  return code.replaceAll(/\/\*[^]*?\*\/|\/\/.*/g, '').trim() === 'export {};';
}

const args = [...exclude, ...empty].map((file) => `--exclude=${file}`);
const { status } = spawnSync('c8', [...args, 'npm', 'test'], { stdio: 'inherit' });
process.exit(status ?? 1);
