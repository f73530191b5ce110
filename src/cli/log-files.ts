import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { RouteDocument } from '../config/route-schema.ts';
import { CliError, EXIT } from './io.ts';

/** Problems shown before it is enough. */
const SHOWN = 5;

/**
 * Every line of files of JSON lines, read by `read`; undefined for one that is of another kind. Rejects with CliError
 * naming file and line of what is wrong: a log that is only half understood gives half an answer.
 */
export async function readLines<T>(files: readonly string[], read: (value: unknown) => T | undefined): Promise<T[]> {
  const all: T[] = [];
  const problems: string[] = [];
  for (const file of files) {
    let number = 0;
    try {
      for await (const line of createInterface({
        input: createReadStream(file),
        crlfDelay: Number.POSITIVE_INFINITY,
      })) {
        number++;
        if (line.trim() === '') continue;
        try {
          const one = read(JSON.parse(line));
          if (one !== undefined) all.push(one);
        } catch (error) {
          if (problems.length < SHOWN) problems.push(`${file}:${number}: ${(error as Error).message}`);
          else throw error;
        }
      }
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== undefined) problems.push(`${file}: cannot be read: ${(error as Error).message}`);
      if (problems.length >= SHOWN) break;
    }
  }
  if (problems.length > 0) throw new CliError(problems.join('\n'));
  return all;
}

/** One route of route files, with their templates. Rejects with CliError. */
export async function routeOf(
  files: readonly string[],
  name: string | undefined,
): Promise<{ route: RouteDocument; templates: Awaited<ReturnType<typeof load>>['templates'] }> {
  const { routes, templates } = await load(files);
  const names = routes.map(({ metadata }) => metadata.name).join(', ') || 'none';
  const found = name === undefined ? routes : routes.filter(({ metadata }) => metadata.name === name);
  if (found.length === 1) return { route: found[0], templates };
  if (name === undefined && routes.length > 1)
    throw new CliError(`there are several routes; choose one with --name: ${names}`, EXIT.usage);
  throw new CliError(`no such route in ${files.join(', ')}; there are: ${names}`, EXIT.usage);
}

async function load(files: readonly string[]) {
  const { loadRouteFiles } = await import('../config/load-routes.ts');
  const { ConfigError } = await import('../config/yaml-file.ts');
  try {
    return loadRouteFiles(files);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new CliError(error.problems.join('\n'));
  }
}
