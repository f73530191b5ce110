import { readFile } from 'node:fs/promises';
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
