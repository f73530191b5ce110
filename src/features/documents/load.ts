import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import {
  ConfigError,
  located,
  type Problem,
  place,
  readYaml,
  type YamlDocument,
  type YamlFile,
} from '../../config/yaml-file.ts';
import { buildSet } from './catalog.ts';
import { type FeatureDocument, readDocument } from './schema.ts';

interface Placed {
  yaml: YamlFile;
  source: YamlDocument;
  document: FeatureDocument;
}

/** Reads feature files. Throws ConfigError with every problem of every file, each with its line and column. */
export function loadFeatureFiles(files: readonly string[]): FeatureDocument[] {
  const problems: string[] = [];
  const placed: Placed[] = [];
  for (const file of files) {
    try {
      const yaml = readYaml(readText(file), file);
      const found: Problem[] = [];
      for (const source of yaml.documents) {
        if (source.plain === null) continue;
        const { document, issues } = readDocument(source.plain);
        if (document !== undefined) placed.push({ yaml, source, document });
        else found.push(...issues.map(({ path, message }) => problemAt(source, path, message)));
      }
      problems.push(...located(yaml, found));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
    }
  }
  // What documents say about one another makes sense only when all of them can be read.
  if (problems.length === 0)
    for (const { at, path, message } of buildSet(placed.map(({ document }) => document)).problems) {
      const { yaml, source } = placed[at];
      problems.push(...located(yaml, [problemAt(source, path, message)]));
    }
  if (problems.length > 0) throw new ConfigError(problems);
  return placed.map(({ document }) => document);
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError([`${file}: cannot be read: ${(error as Error).message}`]);
  }
}

function problemAt({ document }: YamlDocument, path: PropertyKey[], message: string): Problem {
  const where = path.length === 0 ? 'the document' : path.map(String).join('.');
  return { offset: place(path, document), message: `${where}: ${message}` };
}

/** Paths, folders (their YAML files) and patterns with * in the last part. A missing path is kept, so that reading it says so. */
export function featureFiles(patterns: readonly string[], baseDir: string): string[] {
  const found = new Set<string>();
  for (const pattern of patterns) {
    const path = resolve(baseDir, pattern);
    const isPattern = basename(path).includes('*');
    const isFolder = !isPattern && existsSync(path) && statSync(path).isDirectory();
    if (!isPattern && !isFolder) {
      found.add(path);
      continue;
    }
    const folder = isFolder ? path : dirname(path);
    const parts = basename(isFolder ? '*' : path).split('*');
    const regex = new RegExp(`^${parts.map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, '\\$&')).join('.*')}$`);
    for (const name of existsSync(folder) ? readdirSync(folder).sort() : [])
      if (regex.test(name) && !name.startsWith('.') && (!isFolder || /\.ya?ml$/.test(name)))
        found.add(join(folder, name));
  }
  return [...found];
}
