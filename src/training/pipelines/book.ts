import { documentFiles } from '../../config/document-files.ts';
import { ConfigError } from '../../config/yaml-file.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { runParameters } from './check.ts';
import { type EnvironmentDocument, environmentSchema, type ParameterSpec } from './document.ts';
import { addDocument, type DocumentKind, emptySet, loadPipelineFiles, type PipelineSet, readDocument } from './load.ts';

export interface Change {
  kind: DocumentKind;
  name: string;
  /** Undefined: remove it. */
  body: unknown;
}

/** All documents: those of files, and those that were given over the API. Swapped whole, or not at all. */
export class PipelineBook {
  private readonly patterns: readonly string[];
  private readonly baseDir: string;
  private files: PipelineSet = emptySet();
  private stored = new Map<string, Change>();
  private all: PipelineSet = emptySet();
  private readonly fallback: EnvironmentDocument;

  /** @param environment the one that is used when none is named; it needs no document */
  constructor(patterns: readonly string[], baseDir: string, environment: string) {
    this.patterns = patterns;
    this.baseDir = baseDir;
    const document = {
      apiVersion: 'switchyard/v1',
      kind: 'PipelineEnvironment',
      metadata: { name: environment },
      spec: {},
    };
    this.fallback = environmentSchema.parse(document);
  }

  get set(): PipelineSet {
    return this.all;
  }

  environments(): Map<string, { name: string; spec: EnvironmentDocument['spec'] }> {
    const found = new Map([[this.fallback.metadata.name, this.fallback], ...this.all.environments]);
    return new Map([...found].map(([name, { spec }]) => [name, { name, spec }]));
  }

  origin(kind: DocumentKind, name: string): 'file' | 'api' {
    return this.stored.has(`${kind} ${name}`) ? 'api' : 'file';
  }

  /** Throws ConfigError; the documents before stay in use. */
  readFiles(): void {
    const files = loadPipelineFiles(documentFiles(this.patterns, this.baseDir));
    const problems = this.problemsOf(files, [...this.stored.values()]);
    if (problems.length > 0) throw new ConfigError(problems);
    this.files = files;
    this.rebuild();
  }

  /** What the database holds. Documents that cannot be used any more are left out and named. */
  restore(rows: readonly { kind: string; name: string; body: string }[]): string[] {
    const problems: string[] = [];
    this.stored = new Map();
    for (const { kind, name, body } of rows) {
      const change = { kind: kind as DocumentKind, name, body: JSON.parse(body) as unknown };
      try {
        readDocument(change.body);
        problems.push(...this.problemsOf(this.files, [change]));
        this.stored.set(`${kind} ${name}`, change);
      } catch (error) {
        problems.push(`${kind} ${name}: ${(error as Error).message}`);
      }
    }
    this.rebuild();
    return problems;
  }

  /** Throws SwitchyardError when a change cannot be; nothing is changed then. @param dryRun only check */
  change(changes: readonly Change[], dryRun: boolean): void {
    const stored = new Map(this.stored);
    for (const { kind, name, body } of changes) {
      const key = `${kind} ${name}`;
      if (this.find(this.files, kind, name))
        throw new SwitchyardError('failed_precondition', `${key} is in a file; change it there, or take another name`);
      if (body === undefined) {
        if (!stored.delete(key)) throw new SwitchyardError('not_found', `there is no ${key}`);
        continue;
      }
      readDocument(body);
      stored.set(key, { kind, name, body });
    }
    const problems = this.problemsOf(this.files, [...stored.values()]);
    if (problems.length > 0) throw invalidArgument(problems.join('; '));
    if (dryRun) return;
    this.stored = stored;
    this.rebuild();
  }

  private find(set: PipelineSet, kind: DocumentKind, name: string): boolean {
    const map = kind === 'Pipeline' ? set.pipelines : kind === 'Trigger' ? set.triggers : set.environments;
    return map.has(name);
  }

  private rebuild(): void {
    this.all = joined(this.files, [...this.stored.values()]);
  }

  /** What documents say about one another. */
  private problemsOf(files: PipelineSet, stored: readonly Change[]): string[] {
    const set = joined(files, stored);
    const environments = new Set([this.fallback.metadata.name, ...set.environments.keys()]);
    const known = [...environments].join(', ');
    const problems: string[] = [];
    for (const [name, { spec }] of set.triggers) {
      const pipeline = set.pipelines.get(spec.pipeline);
      if (pipeline === undefined) {
        const there = [...set.pipelines.keys()].join(', ') || 'none';
        problems.push(`Trigger ${name}: there is no pipeline ${JSON.stringify(spec.pipeline)}; there are ${there}`);
        continue;
      }
      if (spec.environment !== undefined && !environments.has(spec.environment))
        problems.push(
          `Trigger ${name}: there is no environment ${JSON.stringify(spec.environment)}; there are ${known}`,
        );
      const { parameters = {} } = (pipeline.document.spec ?? {}) as { parameters?: Record<string, ParameterSpec> };
      try {
        runParameters(parameters, spec.parameters);
      } catch (error) {
        problems.push(`Trigger ${name}: ${(error as Error).message}`);
      }
    }
    for (const [name, { spec }] of set.environments)
      if (spec.promotesFrom !== undefined && !environments.has(spec.promotesFrom))
        problems.push(
          `PipelineEnvironment ${name}: promotesFrom names ${JSON.stringify(spec.promotesFrom)}; there are ${known}`,
        );
    return problems;
  }
}

function joined(files: PipelineSet, stored: readonly Change[]): PipelineSet {
  const set: PipelineSet = {
    pipelines: new Map(files.pipelines),
    environments: new Map(files.environments),
    triggers: new Map(files.triggers),
  };
  for (const { body } of stored) addDocument(set, body);
  return set;
}
