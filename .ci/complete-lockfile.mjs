// Adds to package-lock.json the optional packages of other platforms that a registry mirror without them left out:
//   node .ci/complete-lockfile.mjs
// Without their entries `npm ci` refuses the lockfile. Their integrity is asked of the registry; where it does not know
// them the entry stays without one, and npm takes it on no platform that its name does not mean.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const file = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(file, 'utf8'));
const added = [];
for (const [path, entry] of Object.entries({ ...lock.packages })) {
  for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
    if (resolves(path, name)) continue;
    const words = name.toLowerCase().split(/[^a-z0-9]+/);
    const pick = (known) => words.filter((word) => known.includes(word));
    const os = pick(['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32']);
    const cpu = pick(['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64']);
    const libc = words.includes('musl') ? ['musl'] : [];
    const version = range.match(/\d+\.\d+\.\d+[^\s|]*/)?.[0];
    if (version === undefined) throw new Error(`${name}: no version can be read from "${range}"`);
    const only = Object.fromEntries(Object.entries({ cpu, libc, os }).filter(([, list]) => list.length > 0));
    lock.packages[`node_modules/${name}`] = { version, ...(entry.dev ? { dev: true } : {}), optional: true, ...only };
    added.push(`${name}@${version}`);
  }
}
for (const [path, entry] of Object.entries(lock.packages)) {
  if (path === '' || entry.integrity !== undefined || entry.link === true) continue;
  const name = entry.name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
  const integrity = integrityOf(`${name}@${entry.version}`);
  if (integrity === undefined) continue;
  lock.packages[path] = { ...entry, integrity };
  added.push(`${name}@${entry.version}: integrity`);
}
const sorted = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
writeFileSync(file, `${JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, null, 2)}\n`);
console.log(added.length === 0 ? 'nothing was missing' : added.join('\n'));

/** What the registry says of a package's file; undefined where it does not answer. */
function integrityOf(specifier) {
  try {
    const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 20_000 };
    const text = execFileSync('npm', ['view', specifier, 'dist.integrity'], options).trim();
    return /^sha512-[A-Za-z0-9+/=]{88}$/.test(text) ? text : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a package that lies at `path` finds `name`, looking upward through node_modules as Node does. */
function resolves(path, name) {
  for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    if (lock.packages[`${at === '' ? '' : `${at}/`}node_modules/${name}`] !== undefined) return true;
    if (!at.includes('/node_modules/')) return lock.packages[`node_modules/${name}`] !== undefined;
  }
}
