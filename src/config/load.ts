import { readFileSync } from 'node:fs';
import { type Document, isMap, isSeq, LineCounter, type Node, parseDocument, type YAMLParseError } from 'yaml';
import type { z } from 'zod';
import { type Config, configSchema } from './schema.ts';

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

/** Reads and validates a YAML file. `overrides` (flags, environment) win over the file. Throws ConfigError. */
export function loadConfig(file: string | undefined, overrides: Record<string, unknown> = {}): Config {
  if (file === undefined) return parseConfig('', '(defaults)', overrides);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError([`${file}: cannot be read: ${(error as Error).message}`]);
  }
  return parseConfig(text, file, overrides);
}

export function parseConfig(text: string, file: string, overrides: Record<string, unknown> = {}): Config {
  if (text.length > MAX_BYTES) throw new ConfigError([`${file}:1:1: larger than ${MAX_BYTES} bytes`]);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, schema: 'core', uniqueKeys: true });
  if (document.errors.length > 0) {
    throw new ConfigError(
      document.errors.map((error) => {
        const { line, col } = lines.linePos(error.pos[0]);
        return `${file}:${line}:${col}: ${syntaxMessage(error)}`;
      }),
    );
  }
  let plain: unknown;
  try {
    plain = document.toJS({ maxAliasCount: MAX_ALIASES }) ?? {};
  } catch (error) {
    throw new ConfigError([`${file}:1:1: ${(error as Error).message}`]);
  }
  const result = configSchema.safeParse(merge(withoutEmptySections(plain), overrides));
  if (result.success) return result.data;
  const problems = result.error.issues.flatMap((issue) => describe(issue, document));
  problems.sort((a, b) => a.offset - b.offset);
  throw new ConfigError(
    problems.map(({ offset, message }) => {
      const { line, col } = lines.linePos(offset);
      return `${file}:${line}:${col}: ${message}`;
    }),
  );
}

/** The parser's words without the place, which stands in front already, and without its own API. */
function syntaxMessage(error: YAMLParseError): string {
  if (error.code === 'MULTIPLE_DOCS') return 'a second document starts here; the configuration is one document';
  return error.message.split('\n')[0].replace(/ at line \d+, column \d+:?$/, '');
}

/** A section all of whose settings are commented out reads as null; it is as good as absent. */
function withoutEmptySections(plain: unknown): unknown {
  if (typeof plain !== 'object' || plain === null || Array.isArray(plain)) return plain;
  return Object.fromEntries(
    Object.entries(plain).filter(([key, value]) => value !== null || !Object.hasOwn(configSchema.shape, key)),
  );
}

interface Problem {
  /** Into the file's text. */
  offset: number;
  message: string;
}

function describe(issue: z.core.$ZodIssue, document: Document): Problem[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const path = [...issue.path, key];
      return { offset: place(path, document), message: `unknown setting '${path.join('.')}'` };
    });
  }
  const where = issue.path.length === 0 ? 'configuration' : issue.path.join('.');
  return [{ offset: place(issue.path, document), message: `${where}: ${issue.message}` }];
}

/** Where the deepest node of the path that the file has starts; a key's own place for the last step. */
function place(path: readonly PropertyKey[], document: Document): number {
  let node: Node | null | undefined = document.contents as Node | null;
  let offset = node?.range?.[0] ?? 0;
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

function merge(base: unknown, over: Record<string, unknown>): unknown {
  if (typeof base !== 'object' || base === null || Array.isArray(base))
    return Object.keys(over).length === 0 ? base : over;
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    if (value === undefined) continue;
    const nested = typeof value === 'object' && value !== null && !Array.isArray(value);
    merged[key] = nested ? merge(merged[key] ?? {}, value as Record<string, unknown>) : value;
  }
  return merged;
}
