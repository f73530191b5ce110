import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The URL of a thread's entry file, with the running file's own extension: .js when built, .ts under tsx. */
export function workerEntry(base: string, path: string): URL {
  return new URL(path + extname(fileURLToPath(base)), base);
}
