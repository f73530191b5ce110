// Builds dist: the program's entries as few files, with what they need at their start from node_modules. Node reads, links
// and compiles each module by itself, and every thread does so again: as 1,500 files that was two thirds of a start's CPU.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DIST = join(ROOT, 'dist');

/** What starts as a process or thread: programFile() finds it under this name. */
const ENTRIES = [
  'cli/main',
  'main',
  'gateway/thread',
  'protocol/scan/thread',
  'executor/thread',
  'eventlog/thread',
  'models/preflight/child',
  'backends/process/child',
  'training/runners/process/supervisor',
  'training/pipelines/worker/child',
];

/**
 * Packages that a start loads. The others stay in node_modules: they are loaded when first used, hold binaries, or read
 * files of their own.
 */
const BUNDLED = new Set([
  '@grpc/proto-loader',
  'chokidar',
  'cockatiel',
  'commander',
  'croner',
  'grpc-health-check',
  'hyparquet-compressors',
  'hyparquet-writer',
  'jose',
  'kysely',
  'lru-cache',
  'pino',
  'prom-client',
  'protobufjs',
  'pure-rand',
  'yaml',
  'zod',
]);

/** What a package bundles with it comes along. */
const packages = {
  name: 'packages',
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^[^./]/ }, ({ path, importer, kind }) => {
      if (isBuiltin(path) || kind === 'require-resolve') return { path, external: true };
      return importer.includes('/node_modules/') || BUNDLED.has(packageOf(path)) ? undefined : { path, external: true };
    });
    // The one that reads a file of its own finds it where npm has put it.
    onLoad({ filter: /grpc-health-check\/build\/src\/health\.js$/ }, ({ path }) => {
      const folder = "require('path').join(require.resolve('grpc-health-check/package.json'), '../build/src')";
      return { contents: `const __dirname = ${folder};${readFileSync(path, 'utf8')}` };
    });
  },
};

function packageOf(path) {
  return path
    .split('/')
    .slice(0, path.startsWith('@') ? 2 : 1)
    .join('/');
}

/** The texts that the bundled packages' licences want beside their code. */
function licences(inputs) {
  const names = new Set();
  for (const input of inputs) {
    const at = input.lastIndexOf('node_modules/');
    if (at >= 0) names.add(`${input.slice(0, at)}node_modules/${packageOf(input.slice(at + 13))}`);
  }
  const texts = [...names].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'));
    const files = readdirSync(join(ROOT, folder)).filter((file) => /^(licen[cs]e|notice|copying)/i.test(file));
    const texts = files.map((file) => readFileSync(join(ROOT, folder, file), 'utf8').trim());
    return [`${name} ${version}: ${license}`, ...texts].join('\n\n');
  });
  return `${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
}

const { metafile, outputFiles } = await build({
  absWorkingDir: ROOT,
  entryPoints: ENTRIES.map((entry) => ({ in: `src/${entry}.ts`, out: entry })),
  outdir: DIST,
  bundle: true,
  // What is imported when needed stays in files of its own.
  splitting: true,
  chunkNames: 'parts/[name]-[hash]',
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  // For the CommonJS packages among them.
  banner: {
    js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
  },
  sourcemap: true,
  sourcesContent: false,
  metafile: true,
  write: false,
  plugins: [packages],
});
// Names change with what is in the files: none of the last build may stay.
rmSync(DIST, { recursive: true, force: true });
for (const { path, contents } of outputFiles) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, contents);
}
writeFileSync(join(DIST, 'licences.txt'), licences(Object.keys(metafile.inputs)));
