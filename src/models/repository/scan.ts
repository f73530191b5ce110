import type { Dirent } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { toSwitchyardError } from '../../shared/errors.ts';
import { CONFIG_FILES } from '../config/read.ts';
import { compareVersions, isVersionName } from '../version-policy.ts';
import { isInside, isSafeName } from './names.ts';

export interface FileFact {
  /** Relative to the version's or the model's folder, with "/". */
  path: string;
  size: number;
  mtimeMs: number;
}

export interface ScannedVersion {
  version: string;
  /** Absolute; '' when the model has no folder for it (remote models, ensembles). */
  directory: string;
  /** Sorted by path. */
  files: FileFact[];
  /** Why it must not be loaded although it is wanted; absent: nothing is known against it. */
  problem?: string;
}

/** What one look at a model's folder found. Nothing has been opened yet. */
export interface ScannedModel {
  name: string;
  /** Absolute `<repo>/<model>`. */
  directory: string;
  /** File name of the configuration inside `directory`; '' = none. */
  configFile: string;
  /** Ascending. */
  versions: ScannedVersion[];
  /** Files beside the version folders (configuration, labels, warm-up data). */
  files: FileFact[];
  /** Changes when any file is added, removed or touched. */
  fingerprint: string;
  /** Why the folder cannot be served; '' = it can be looked into. */
  error: string;
}

export interface RepositorySnapshot {
  models: Map<string, ScannedModel>;
  /** Folders that are no models, and repositories that could not be read, in words for the log. */
  warnings: string[];
}

const MAX_FILES = 20_000;
const MAX_DEPTH = 12;
const SCAN_WIDTH = 16;

/**
 * Looks through repositories laid out as `<repo>/<model>/<version>/…`. A repository that cannot be read is a warning and
 * its models of `previous` are kept, so that a passing NFS fault unloads nothing.
 */
export async function scanRepositories(
  repositories: readonly string[],
  previous?: RepositorySnapshot,
): Promise<RepositorySnapshot> {
  const snapshot: RepositorySnapshot = { models: new Map(), warnings: [] };
  const owner = new Map<string, number>();
  for (const [index, repository] of repositories.entries()) {
    let found: ScannedModel[];
    try {
      found = await scanRepository(repository, snapshot.warnings);
    } catch (error) {
      snapshot.warnings.push(
        `model repository ${shown(repositories, index)} cannot be read: ${toSwitchyardError(error).message}`,
      );
      found = [...(previous?.models.values() ?? [])].filter((model) => isInside(repository, model.directory));
    }
    for (const model of found) {
      const first = owner.get(model.name);
      if (first !== undefined) {
        const error = `is in two repositories, ${shown(repositories, first)} and ${shown(repositories, index)}; remove one`;
        const both = snapshot.models.get(model.name)!.fingerprint + model.fingerprint;
        snapshot.models.set(model.name, { ...model, versions: [], fingerprint: both, error });
        continue;
      }
      owner.set(model.name, index);
      snapshot.models.set(model.name, model);
    }
  }
  return snapshot;
}

/** By position and last folder only: index reasons reach clients, machine paths must not. */
function shown(repositories: readonly string[], index: number): string {
  return `${index + 1} ("${basename(repositories[index])}")`;
}

async function scanRepository(repository: string, warnings: string[]): Promise<ScannedModel[]> {
  const root = await realpath(repository);
  const entries = (await readdir(root, { withFileTypes: true })).filter(
    (entry) => !entry.name.startsWith('.') && (entry.isDirectory() || entry.isSymbolicLink()),
  );
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  const models: ScannedModel[] = [];
  for (let start = 0; start < entries.length; start += SCAN_WIDTH) {
    const part = entries.slice(start, start + SCAN_WIDTH);
    const scanned = await Promise.all(part.map((entry) => scanEntry(root, repository, entry, warnings)));
    for (const model of scanned) if (model) models.push(model);
  }
  return models;
}

async function scanEntry(
  root: string,
  repository: string,
  entry: Dirent,
  warnings: string[],
): Promise<ScannedModel | undefined> {
  if (!isSafeName(entry.name)) {
    warnings.push(`folder ${JSON.stringify(entry.name)} in a model repository is not a model: its name is not allowed`);
    return undefined;
  }
  const path = join(root, entry.name);
  const real = await realpath(path).catch(() => '');
  if (real === '' || !(await stat(real)).isDirectory()) return undefined;
  const directory = join(repository, entry.name);
  if (!isInside(root, real))
    return broken(entry.name, directory, 'its folder is a link that leads out of the repository');
  return scanModel(entry.name, directory);
}

function broken(name: string, directory: string, error: string): ScannedModel {
  return { name, directory, configFile: '', versions: [], files: [], fingerprint: error, error };
}

/** Looks at one model's folder. Never rejects: what is wrong is in `error`. */
export async function scanModel(name: string, directory: string): Promise<ScannedModel> {
  const versions = new Map<string, ScannedVersion>();
  const files: FileFact[] = [];
  try {
    const root = await realpath(directory);
    const walker = new Walker(root);
    for (const entry of await readdir(root, { withFileTypes: true })) {
      if (entry.name.startsWith('.')) continue;
      if (isVersionName(entry.name) && (await walker.isDirectory(entry.name, entry))) {
        const version: ScannedVersion = { version: entry.name, directory: join(directory, entry.name), files: [] };
        await walker.walk(entry.name, '', version.files, 0);
        versions.set(entry.name, version);
      } else await walker.visit('', entry.name, entry, files, 0);
    }
  } catch (error) {
    return broken(name, directory, readable(error));
  }
  const configFile = CONFIG_FILES.find((file) => files.some((fact) => fact.path === file)) ?? '';
  const sorted = [...versions.values()].sort((a, b) => compareVersions(a.version, b.version));
  const error =
    configFile === '' && sorted.length === 0 ? `holds neither a version folder nor ${CONFIG_FILES.join(' or ')}` : '';
  const fingerprint = JSON.stringify([files, sorted.map(({ version, files }) => [version, files])]);
  return { name, directory, configFile, versions: sorted, files, fingerprint, error };
}

function readable(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  return code === undefined ? toSwitchyardError(error).message : `its folder cannot be read (${code})`;
}

/** Walks below a model's real folder; links may only lead to places inside it. */
class Walker {
  private readonly root: string;
  private count = 0;

  constructor(root: string) {
    this.root = root;
  }

  async isDirectory(path: string, entry: Dirent): Promise<boolean> {
    if (!entry.isSymbolicLink()) return entry.isDirectory();
    return (await stat(await this.resolve(path))).isDirectory();
  }

  async walk(base: string, path: string, into: FileFact[], depth: number): Promise<void> {
    if (depth > MAX_DEPTH) throw new Error(`folders nest deeper than ${MAX_DEPTH} below "${base}"`);
    const entries = await readdir(join(this.root, base, path), { withFileTypes: true });
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of entries)
      await this.visit(base, path === '' ? entry.name : `${path}/${entry.name}`, entry, into, depth);
  }

  async visit(base: string, path: string, entry: Dirent, into: FileFact[], depth: number): Promise<void> {
    if (++this.count > MAX_FILES) throw new Error(`holds more than ${MAX_FILES} files`);
    const inner = join(base, path);
    const real = entry.isSymbolicLink() ? await this.resolve(inner) : join(this.root, inner);
    const facts = await stat(real);
    if (facts.isDirectory()) await this.walk(base, path, into, depth + 1);
    else if (facts.isFile()) into.push({ path, size: facts.size, mtimeMs: facts.mtimeMs });
    else throw new Error(`"${inner}" is not a regular file`);
  }

  private async resolve(path: string): Promise<string> {
    const real = await realpath(join(this.root, path)).catch(() => '');
    if (real === '') throw new Error(`"${path}" is a link that leads nowhere`);
    if (!isInside(this.root, real)) throw new Error(`"${path}" is a link that leads out of the model's folder`);
    return real;
  }
}

/** Stands for a model that exists only in a load request. */
export function emptyModel(name: string): ScannedModel {
  return {
    name,
    directory: '',
    configFile: '',
    versions: [],
    files: [],
    fingerprint: '',
    error: 'is in no model repository',
  };
}
