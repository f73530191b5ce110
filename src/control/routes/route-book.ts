import { documentFiles } from '../../config/document-files.ts';
import type { KnowsModel, RouteFile, RouteSet } from '../../config/load-routes.ts';
import { parseRoutes, readRouteFiles } from '../../config/load-routes.ts';
import { ConfigError } from '../../config/yaml-file.ts';
import { SwitchyardError } from '../../shared/errors.ts';

export type DocumentKind = 'Route' | 'AnalysisTemplate';

/** A route or template that was made over the API: JSON text. */
export interface StoredDocument {
  kind: string;
  name: string;
  body: string;
}

export interface BookStatus {
  /** Counts sets taken into use; starts at 1. */
  generation: number;
  /** Problems of the last reading of the files, with file, line and column; empty: it was taken. */
  problems: string[];
}

/** What routes may count on. */
export interface Surroundings {
  knowsModel(): KnowsModel;
  /** Whether brokers are configured. */
  kafka: boolean;
}

/** Marks the problems of a stored document in place of a file's name. */
const API = 'api:';

/**
 * All routes and templates there are: of the files, and made over the API. Checked together and swapped whole: a
 * problem in one leaves all as they were.
 */
export class RouteBook {
  set: RouteSet = { routes: [], templates: new Map(), places: new Map() };
  status: BookStatus = { generation: 1, problems: [] };
  private readonly patterns: readonly string[];
  private readonly baseDir: string;
  private readonly surroundings: Surroundings;
  private files: RouteFile[] = [];
  private stored = new Map<string, StoredDocument>();

  constructor(patterns: readonly string[], baseDir: string, surroundings: Surroundings) {
    this.patterns = patterns;
    this.baseDir = baseDir;
    this.surroundings = surroundings;
  }

  /** Reads the files. Throws ConfigError, and keeps what it has. `anyModel`: models may come later. */
  readFiles(anyModel = false): void {
    try {
      const files = readRouteFiles(documentFiles(this.patterns, this.baseDir));
      this.take(files, this.stored, anyModel);
      this.status = { ...this.status, problems: [] };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.status = { ...this.status, problems: error.problems };
      throw error;
    }
  }

  /** Whether the files are others than those in use, for whoever begins to watch them. */
  filesChanged(): boolean {
    try {
      return JSON.stringify(readRouteFiles(documentFiles(this.patterns, this.baseDir))) !== JSON.stringify(this.files);
    } catch {
      return true;
    }
  }

  /** What the API made before. Documents that do not fit (any more) are left out and named. */
  restore(documents: readonly StoredDocument[]): string[] {
    const before = this.stored;
    const all = new Map(documents.map((document) => [keyOf(document.kind, document.name), document]));
    try {
      this.take(this.files, all, true);
      return [];
    } catch (error) {
      this.stored = before;
      return error instanceof ConfigError ? error.problems : [(error as Error).message];
    }
  }

  /** Checks changes over the API, and takes them together or not at all. Throws SwitchyardError. */
  change(changes: readonly { kind: DocumentKind; name: string; body: string | undefined }[], dryRun: boolean): void {
    const next = new Map(this.stored);
    for (const { kind, name, body } of changes) {
      const key = keyOf(kind, name);
      if (this.inFile(kind, name)) {
        throw new SwitchyardError(
          'failed_precondition',
          `${kind} ${name} comes from a file of this server; change the file, which is read again at once`,
        );
      }
      if (body !== undefined) next.set(key, { kind, name, body });
      else if (!next.delete(key)) throw new SwitchyardError('not_found', `there is no ${kind} ${JSON.stringify(name)}`);
    }
    try {
      if (dryRun) this.parse(this.files, next, false);
      else this.take(this.files, next, false);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      throw new SwitchyardError('invalid_argument', error.problems.join('\n'));
    }
  }

  /** True for what the API made. */
  isStored(kind: DocumentKind, name: string): boolean {
    return this.stored.has(keyOf(kind, name));
  }

  private inFile(kind: DocumentKind, name: string): boolean {
    if (this.stored.has(keyOf(kind, name))) return false;
    return kind === 'Route'
      ? this.set.routes.some(({ metadata }) => metadata.name === name)
      : this.set.templates.has(name);
  }

  private take(files: RouteFile[], stored: Map<string, StoredDocument>, anyModel: boolean): void {
    const set = this.parse(files, stored, anyModel);
    this.files = files;
    this.stored = stored;
    this.set = set;
    this.status = { ...this.status, generation: this.status.generation + 1 };
  }

  private parse(files: RouteFile[], stored: ReadonlyMap<string, StoredDocument>, anyModel: boolean): RouteSet {
    const documents = [...stored.values()].map(({ kind, name, body }) => ({
      file: `${API}${kind}/${name}`,
      text: body,
      generated: true,
    }));
    return parseRoutes([...files, ...documents], {
      knowsModel: anyModel ? undefined : this.surroundings.knowsModel(),
      kafka: this.surroundings.kafka,
    });
  }
}

function keyOf(kind: string, name: string): string {
  return `${kind}\n${name}`;
}
