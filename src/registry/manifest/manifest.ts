import { createHash } from 'node:crypto';
import { SwitchyardError } from '../../shared/errors.ts';
import { type Digest, digestOf, isDigest } from '../blobs/digest.ts';

export const MANIFEST_TYPE = 'application/vnd.switchyard.model-version.manifest.v1+json';

export interface ManifestFile {
  /** Relative, of plain parts. */
  path: string;
  digest: Digest;
  size: number;
  mediaType: string;
}

/** Everything a model version consists of. Its canonical bytes are what is signed and what its digest names. */
export interface Manifest {
  name: string;
  version: string;
  /** Sorted by path, each path once. */
  files: readonly ManifestFile[];
}

/** Builds a manifest. Throws failed_precondition for two files of one path. */
export function makeManifest(name: string, version: string, files: readonly ManifestFile[]): Manifest {
  const sorted = files
    .map(({ path, digest, size, mediaType }) => ({ path, digest, size, mediaType }))
    .sort((a, b) => comparePaths(a.path, b.path));
  const twice = sorted.find((file, i) => i > 0 && file.path === sorted[i - 1].path);
  if (twice !== undefined) throw broken(`the path ${JSON.stringify(twice.path)} occurs twice`);
  return { name, version, files: sorted };
}

function comparePaths(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** The one way to write a manifest: keys sorted, no spaces, files sorted by path (JSON of RFC 8785's form). */
export function canonicalManifest(manifest: Manifest): Buffer {
  return Buffer.from(
    JSON.stringify({
      files: manifest.files.map(({ digest, mediaType, path, size }) => ({ digest, mediaType, path, size })),
      mediaType: MANIFEST_TYPE,
      name: manifest.name,
      version: manifest.version,
    }),
  );
}

export function manifestDigest(manifest: Manifest): Digest {
  return digestOf(createHash('sha256').update(canonicalManifest(manifest)).digest());
}

/** Reads canonical bytes. Throws failed_precondition for anything that this program would have written otherwise. */
export function parseManifest(bytes: Uint8Array): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw broken('it is not JSON');
  }
  const { name, version, files } = (value ?? {}) as Partial<Manifest>;
  if (typeof name !== 'string' || typeof version !== 'string' || !Array.isArray(files))
    throw broken('it lacks name, version or files');
  const manifest = makeManifest(name, version, files.map(readFile));
  // Unknown fields, another order, other escapes: two texts of one meaning are a forger's tool.
  if (!canonicalManifest(manifest).equals(Buffer.from(bytes))) throw broken('it is not in canonical form');
  return manifest;
}

function readFile(value: unknown): ManifestFile {
  const { path, digest, size, mediaType } = (value ?? {}) as Partial<ManifestFile>;
  if (typeof path !== 'string' || !isPlainPath(path)) throw broken('a file has no plain relative path');
  if (typeof digest !== 'string' || !isDigest(digest)) throw broken(`${JSON.stringify(path)} has no sha256 digest`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    throw broken(`${JSON.stringify(path)} has no size`);
  if (typeof mediaType !== 'string') throw broken(`${JSON.stringify(path)} has no media type`);
  return { path, digest, size, mediaType };
}

/** Whoever loads a version makes files of these paths: none may lead out of the folder they are put in. */
function isPlainPath(path: string): boolean {
  if (path.length === 0 || path.length > 1024 || /[\\\0-\x1f\x7f]|^[A-Za-z]:/.test(path)) return false;
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

function broken(problem: string): SwitchyardError {
  return new SwitchyardError('failed_precondition', `the manifest is refused: ${problem}`);
}
