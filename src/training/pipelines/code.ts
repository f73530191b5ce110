import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';

const MAX_FILES = 1000;
const MAX_BYTES = 4 * 1024 * 1024;
const LEFT_OUT = /^(\.|__pycache__$|node_modules$)/;

/**
 * Reads the files of a step's `code: {folder, files}`, or of a list of such, for its job, so that a document holds all
 * that its steps run.
 *
 * @param base what the folder is relative to: the pipeline's file
 * @returns path → text
 * @throws Error in words for people
 */
export function readCode(code: unknown, base: string): Record<string, string> {
  if (Array.isArray(code)) return Object.assign({}, ...code.map((part: unknown) => readCode(part, base)));
  const { folder, files } = (typeof code === 'object' && code !== null ? code : {}) as {
    folder?: unknown;
    files?: unknown;
  };
  if (typeof folder !== 'string' || folder === '')
    throw new Error('folder: missing; give a folder relative to this file');
  if (files !== undefined && (!Array.isArray(files) || files.some((file) => typeof file !== 'string')))
    throw new Error('files: must be a list of paths inside the folder');
  const root = resolve(base, folder);
  const paths = (files as string[] | undefined) ?? [...filesBelow(root, '')];
  if (paths.length > MAX_FILES)
    throw new Error(
      `${paths.length} files are in ${folder}; at most ${MAX_FILES} are taken, name those needed with files`,
    );
  return Object.fromEntries(paths.map((path) => [path, readText(root, path)]));
}

function* filesBelow(root: string, folder: string): Generator<string> {
  for (const entry of readFolder(join(root, folder))) {
    if (LEFT_OUT.test(entry.name)) continue;
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) yield* filesBelow(root, path);
    else if (entry.isFile()) yield path;
  }
}

function readFolder(path: string) {
  try {
    return readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    throw new Error(`folder: ${(error as Error).message}`);
  }
}

function readText(root: string, path: string): string {
  const file = resolve(root, path);
  if (!file.startsWith(root + sep)) throw new Error(`files: ${JSON.stringify(path)} leads out of the folder`);
  try {
    if (statSync(file).size > MAX_BYTES) throw new Error(`larger than ${MAX_BYTES} bytes`);
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
  } catch (error) {
    const reason =
      error instanceof TypeError
        ? 'is no text; name the text files that are needed with files'
        : (error as Error).message;
    throw new Error(`files: ${path}: ${reason}`);
  }
}
