import {
  ConfigError,
  located,
  type Problem,
  place,
  readYamlFile,
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
  return readPlaced(files).map(({ document }) => document);
}

/** The same documents as they were written, checked: what the API takes. */
export function plainFeatureFiles(files: readonly string[]): unknown[] {
  return readPlaced(files).map(({ source }) => source.plain);
}

function readPlaced(files: readonly string[]): Placed[] {
  const problems: string[] = [];
  const placed: Placed[] = [];
  for (const file of files) {
    try {
      const yaml = readYamlFile(file);
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
  return placed;
}

function problemAt({ document }: YamlDocument, path: PropertyKey[], message: string): Problem {
  const where = path.length === 0 ? 'the document' : path.map(String).join('.');
  return { offset: place(path, document), message: `${where}: ${message}` };
}
