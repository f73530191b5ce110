import { createWriteStream } from 'node:fs';
import { readFile, rename, rm, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { CliError, EXIT } from './io.ts';

/** A JSON or YAML file's only document. Rejects with CliError naming the file. */
export async function readDocument(file: string): Promise<unknown> {
  const { parse } = await import('yaml');
  try {
    return parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new CliError(`${file}: ${(error as Error).message}`, EXIT.usage);
  }
}

/** Writes bytes to a file, whole or not at all. Resolves with their number. */
export async function saveAs(path: string, bytes: AsyncIterable<Uint8Array>): Promise<number> {
  const partial = `${path}.partial`;
  try {
    await pipeline(bytes, createWriteStream(partial));
    await rename(partial, path);
  } finally {
    await rm(partial, { force: true });
  }
  return (await stat(path)).size;
}
