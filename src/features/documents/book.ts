import { documentFiles } from '../../config/document-files.ts';
import { ConfigError } from '../../config/yaml-file.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { buildSet, emptySet, type FeatureSet } from './catalog.ts';
import { loadFeatureFiles } from './load.ts';
import { type FeatureDocument, type FeatureKind, readDocument } from './schema.ts';

export interface Change {
  kind: FeatureKind;
  name: string;
  /** Undefined: remove it. */
  body: unknown;
}

/** All feature documents: those of files, and those given over the API. Swapped whole, or not at all. */
export class FeatureBook {
  private readonly patterns: readonly string[];
  private readonly baseDir: string;
  private files: FeatureDocument[] = [];
  private stored = new Map<string, FeatureDocument>();
  private built: FeatureSet = emptySet();

  constructor(patterns: readonly string[], baseDir: string) {
    this.patterns = patterns;
    this.baseDir = baseDir;
  }

  get set(): FeatureSet {
    return this.built;
  }

  get documents(): FeatureDocument[] {
    return [...this.files, ...this.stored.values()];
  }

  origin(kind: FeatureKind, name: string): 'file' | 'api' {
    return this.stored.has(`${kind} ${name}`) ? 'api' : 'file';
  }

  /** Throws ConfigError; what was there stays in use. */
  readFiles(): void {
    const files = loadFeatureFiles(documentFiles(this.patterns, this.baseDir));
    const { set, problems } = buildSet([...files, ...this.stored.values()]);
    if (problems.length > 0)
      throw new ConfigError(problems.map(({ path, message }) => `${path.join('.')}: ${message}`));
    this.files = files;
    this.built = set;
  }

  /** What the database holds. Documents that cannot be used any more are left out and named. */
  restore(rows: readonly { kind: string; name: string; body: string }[]): string[] {
    const problems: string[] = [];
    this.stored = new Map();
    for (const { kind, name, body } of rows) {
      const { document, issues } = readDocument(JSON.parse(body));
      if (document !== undefined) this.stored.set(`${kind} ${name}`, document);
      else problems.push(...issues.map(({ path, message }) => `${kind} ${name}: ${path.join('.')}: ${message}`));
    }
    for (;;) {
      const documents = this.documents;
      const { set, problems: found } = buildSet(documents);
      this.built = set;
      const bad = found.find(({ at }) => at >= this.files.length);
      if (bad === undefined) return problems;
      const { kind, metadata } = documents[bad.at];
      problems.push(`${kind} ${metadata.name}: ${bad.message}`);
      this.stored.delete(`${kind} ${metadata.name}`);
    }
  }

  /** Throws SwitchyardError with every problem when the changes cannot be; nothing is changed then. */
  change(changes: readonly Change[], dryRun: boolean): void {
    const stored = new Map(this.stored);
    const problems: string[] = [];
    for (const { kind, name, body } of changes) {
      const key = `${kind} ${name}`;
      if (this.files.some((document) => document.kind === kind && document.metadata.name === name))
        throw new SwitchyardError('failed_precondition', `${key} is in a file; change it there, or take another name`);
      if (body === undefined) {
        if (!stored.delete(key)) throw new SwitchyardError('not_found', `there is no ${key}`);
        continue;
      }
      const { document, issues } = readDocument(body);
      if (document !== undefined) stored.set(key, document);
      else problems.push(...issues.map(({ path, message }) => `${key}: ${path.join('.')}: ${message}`));
    }
    const documents = [...this.files, ...stored.values()];
    const { set, problems: among } = buildSet(documents);
    problems.push(
      ...among.map(
        ({ at, path, message }) =>
          `${documents[at].kind} ${documents[at].metadata.name}: ${path.join('.')}: ${message}`,
      ),
    );
    if (problems.length > 0) throw invalidArgument(problems.join('; '));
    if (dryRun) return;
    this.stored = stored;
    this.built = set;
  }
}
