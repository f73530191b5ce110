import { documentFiles } from '../config/document-files.ts';
import { ConfigError, describe, issueMessage, located, readYamlFile } from '../config/yaml-file.ts';
import { invalidArgument, SwitchyardError } from '../shared/errors.ts';
import { type MonitorDocument, monitorSchema } from './document.ts';

export type MonitorSet = ReadonlyMap<string, MonitorDocument>;

/** Throws ConfigError with every problem of every file, each with its line and column. */
export function loadMonitorFiles(patterns: readonly string[], baseDir: string): MonitorSet {
  const set = new Map<string, MonitorDocument>();
  const problems: string[] = [];
  for (const file of documentFiles(patterns, baseDir)) {
    try {
      readFile(file, set, problems);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return set;
}

function readFile(file: string, set: Map<string, MonitorDocument>, problems: string[]): void {
  const yaml = readYamlFile(file);
  for (const { plain, document } of yaml.documents) {
    if (plain === null) continue;
    const result = monitorSchema.safeParse(plain);
    if (!result.success) {
      problems.push(
        ...located(
          yaml,
          result.error.issues.flatMap((issue) => describe(issue, document)),
        ),
      );
      continue;
    }
    const { name } = result.data.metadata;
    if (set.has(name)) {
      const offset = document.range?.[0] ?? 0;
      problems.push(...located(yaml, [{ offset, message: `there is another Monitor ${name}` }]));
    }
    set.set(name, result.data);
  }
}

/** A document of a request. Throws invalid_argument with all its problems. */
export function readMonitor(plain: unknown): MonitorDocument {
  const result = monitorSchema.safeParse(plain);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) =>
    issue.code === 'unrecognized_keys'
      ? `unknown setting '${[...issue.path, issue.keys[0]].join('.')}'`
      : `${issue.path.join('.') || 'the document'}: ${issueMessage(issue)}`,
  );
  throw invalidArgument(problems.join('; '));
}

export interface MonitorChange {
  name: string;
  /** Undefined: remove it. */
  body: unknown;
}

/** All monitors: those of files, and those that were given over the API. */
export class MonitorBook {
  private readonly patterns: readonly string[];
  private readonly baseDir: string;
  private files: MonitorSet = new Map();
  private readonly given = new Map<string, { document: MonitorDocument; plain: unknown }>();

  constructor(patterns: readonly string[], baseDir: string) {
    this.patterns = patterns;
    this.baseDir = baseDir;
  }

  get all(): MonitorSet {
    const given = [...this.given].map(([name, { document }]): [string, MonitorDocument] => [name, document]);
    return new Map([...given, ...this.files].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  origin(name: string): 'file' | 'api' {
    return this.files.has(name) ? 'file' : 'api';
  }

  /** Throws ConfigError; the monitors before stay in use. */
  readFiles(): void {
    this.files = loadMonitorFiles(this.patterns, this.baseDir);
  }

  /** What the database holds. Documents that cannot be used any more are left out and named. */
  restore(rows: readonly { name: string; body: string }[]): string[] {
    const problems: string[] = [];
    this.given.clear();
    for (const { name, body } of rows) {
      try {
        const plain = JSON.parse(body) as unknown;
        this.given.set(name, { document: readMonitor(plain), plain });
      } catch (error) {
        problems.push(`Monitor ${name}: ${(error as Error).message}`);
      }
    }
    return problems;
  }

  /** Throws SwitchyardError when a change cannot be. */
  check(changes: readonly MonitorChange[]): void {
    for (const { name, body } of changes) {
      if (this.files.has(name))
        throw new SwitchyardError('failed_precondition', `Monitor ${name} is in a file; change it there`);
      if (body !== undefined) readMonitor(body);
      else if (!this.given.has(name)) throw new SwitchyardError('not_found', `there is no monitor ${name}`);
    }
  }

  change(changes: readonly MonitorChange[]): void {
    for (const { name, body } of changes) {
      if (body === undefined) this.given.delete(name);
      else this.given.set(name, { document: readMonitor(body), plain: body });
    }
  }
}
