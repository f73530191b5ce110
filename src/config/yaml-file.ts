import { readFileSync } from 'node:fs';
import { type Document, isMap, isSeq, LineCounter, type Node, parseAllDocuments, type YAMLParseError } from 'yaml';
import type { z } from 'zod';

/** A configuration that cannot be used: one line per mistake, each with file, line and column. */
export class ConfigError extends Error {
  readonly problems: string[];

  constructor(problems: string[]) {
    super(problems.join('\n'));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

const MAX_BYTES = 1024 * 1024;
const MAX_ALIASES = 100;

/** A mistake, and where in the file's text it is. */
export interface Problem {
  offset: number;
  message: string;
}

export interface YamlDocument {
  plain: unknown;
  document: Document;
}

export interface YamlFile {
  file: string;
  documents: YamlDocument[];
  lines: LineCounter;
  /** Not what anybody wrote: lines of it say nothing. */
  generated?: boolean | undefined;
}

/** The same of a file. Throws ConfigError, also when it cannot be read. */
export function readYamlFile(file: string, maxBytes: number = MAX_BYTES): YamlFile {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError([`${file}: cannot be read: ${(error as Error).message}`]);
  }
  return readYaml(text, file, maxBytes);
}

/** Reads YAML within bounds (1 MiB unless said otherwise, core schema, 100 aliases). Throws ConfigError. */
export function readYaml(text: string, file: string, maxBytes: number = MAX_BYTES): YamlFile {
  if (text.length > maxBytes) throw new ConfigError([`${file}:1:1: larger than ${maxBytes} bytes`]);
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: lines, schema: 'core', uniqueKeys: true });
  const documents: Document[] = Array.isArray(parsed) ? parsed : [];
  const errors = documents.flatMap((document) => document.errors);
  if (errors.length > 0) {
    const problems = errors.map((error) => ({ offset: error.pos[0], message: syntaxMessage(error) }));
    throw new ConfigError(located({ file, documents: [], lines }, problems));
  }
  return {
    file,
    lines,
    documents: documents.map((document) => {
      try {
        return { document, plain: document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown };
      } catch (error) {
        throw new ConfigError([`${file}:1:1: ${(error as Error).message}`]);
      }
    }),
  };
}

/** The problems as lines of text, in the order of the file. */
export function located(yaml: YamlFile, problems: readonly Problem[]): string[] {
  return [...problems]
    .sort((a, b) => a.offset - b.offset)
    .map(({ offset, message }) => `${placeText(yaml, offset)}: ${message}`);
}

/** file:line:column; the file alone of what is generated. */
export function placeText({ file, lines, generated }: YamlFile, offset: number): string {
  if (generated === true) return file;
  const { line, col } = lines.linePos(offset);
  return `${file}:${line}:${col}`;
}

/** The parser's words without the place, which stands in front already, and without its own API. */
function syntaxMessage(error: YAMLParseError): string {
  return error.message.split('\n')[0].replace(/ at line \d+, column \d+:?$/, '');
}

export function describe(issue: z.core.$ZodIssue, document: Document): Problem[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const path = [...issue.path, key];
      return { offset: place(path, document), message: `unknown setting '${path.join('.')}'` };
    });
  }
  const where = issue.path.length === 0 ? 'configuration' : issue.path.join('.');
  return [{ offset: place(issue.path, document), message: `${where}: ${issueMessage(issue)}` }];
}

/** What is wrong; of a key of a map what is wrong with the key. */
export function issueMessage(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'invalid_key') return issue.message;
  return issue.issues.map(({ message }) => message).join(', ');
}

/** Where the deepest node of the path that the file has starts; a key's own place for the last step. */
export function place(path: readonly PropertyKey[], document: Document): number {
  let node: Node | null | undefined = document.contents as Node | null;
  let offset = node?.range?.[0] ?? document.range?.[0] ?? 0;
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find(
        (item) => String((item.key as { value?: unknown })?.value ?? item.key) === String(step),
      );
      if (pair === undefined) break;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value as Node | null;
    } else if (isSeq(node)) {
      node = node.items[Number(step)] as Node | undefined;
      offset = node?.range?.[0] ?? offset;
    } else break;
  }
  return offset;
}
