import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, extname, join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';

/** Under tsx this source; built, one of dist's files: the bundler decides what lies where, so no file finds another by its own place. */
const running = fileURLToPath(import.meta.url);

/** What holds package.json, config/ and native/. */
export const PACKAGE_FOLDER = packageOf(dirname(running));

function packageOf(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : packageOf(dirname(folder));
}

/** The entry of a thread or process, as `gateway/thread`: in dist, or in src under tsx. */
export function programFile(entry: string): string {
  const [folder] = relative(PACKAGE_FOLDER, running).split(sep);
  return join(PACKAGE_FOLDER, folder, entry + extname(running));
}

/** Flags of a process that is to run such a file: TypeScript sources bring the loader they run under along. */
export function loaderFlags(): string[] {
  if (extname(running) !== '.ts') return [];
  return ['--import', pathToFileURL(createRequire(running).resolve('tsx/esm')).href];
}

/** A thread of such a file, where it may be started under tsx too, whose loader does not reach threads by itself. */
export function startThread(entry: string, name: string): Worker {
  const file = programFile(entry);
  if (extname(file) !== '.ts') return new Worker(file, { name });
  const loader = import.meta.resolve('tsx/esm/api');
  const [api, source] = [loader, pathToFileURL(file).href].map((url) => JSON.stringify(url));
  return new Worker(`import(${api}).then(({ register }) => (register(), import(${source})))`, { name, eval: true });
}
