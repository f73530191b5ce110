import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline as pump } from 'node:stream/promises';
import { putArtifact } from '../../registry/artifacts/tree.ts';
import type { Digest } from '../../registry/blobs/digest.ts';
import type { Registry } from '../../registry/registry.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { ColumnFacts } from '../tables/table.ts';
import { digestJson } from './cache-key.ts';

export interface ArtifactFile {
  /** Relative to the artifact; its name, for one of a single file. */
  path: string;
  digest: string;
  size: number;
}

/** What one output of a step is: files in the blob store, known by their digests. */
export interface Artifact {
  files: ArtifactFile[];
  /** Of datasets that a built-in step wrote: CSV with these columns. */
  columns?: ColumnFacts[];
  rows?: number;
}

/** Of files and their names; of one file its own digest. */
export function artifactDigest({ files }: Artifact): string {
  if (files.length === 1) return files[0].digest;
  return `sha256:${digestJson(files.map(({ path, digest }) => [path, digest]))}`;
}

export function digestsOf(artifacts: Readonly<Record<string, Artifact>>): string[] {
  return Object.values(artifacts).flatMap(({ files }) => files.map(({ digest }) => digest));
}

type Parts = Pick<Registry, 'storage' | 'database'>;

/** Stores every file of a folder, or the one file. Resolves when all are durable. They are collected unless they are named soon. */
export async function storeFiles({ storage }: Parts, path: string): Promise<ArtifactFile[]> {
  const files = (await stat(path)).isDirectory() ? await listFiles(path, '') : [''];
  const stored: ArtifactFile[] = [];
  for (const file of files) {
    const from = file === '' ? path : join(path, file);
    const { digest, size } = await storage.vault.put(createReadStream(from), { maxBytes: storage.artifacts.maxBytes });
    stored.push({ path: file === '' ? (path.split('/').pop() as string) : file, digest, size });
  }
  return stored;
}

async function listFiles(root: string, folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  const found: string[] = [];
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) found.push(...(await listFiles(root, path)));
    else if (entry.isFile()) found.push(path);
  }
  return found;
}

/** Names artifacts below a run of the registry, so that they are shown there and live as long as it does. */
export async function nameFiles(
  { storage, database }: Parts,
  artifactUri: string,
  artifacts: Readonly<Record<string, Artifact>>,
  now: number,
): Promise<void> {
  const root = artifactUri.replace(/^mlflow-artifacts:\/+/, '');
  await database.write(async (db) => {
    for (const [name, { files }] of Object.entries(artifacts)) {
      for (const { path, digest, size } of files) {
        await storage.vault.claimAgain(db, digest as Digest);
        await putArtifact(
          db,
          { path: `${root}/${name}/${path}`, digest: digest as Digest, size, mediaType: mediaType(path) },
          now,
        );
      }
    }
  });
}

function mediaType(path: string): string {
  if (path.endsWith('.csv')) return 'text/csv';
  if (path.endsWith('.parquet')) return 'application/vnd.apache.parquet';
  return path.endsWith('.json') ? 'application/json' : 'application/octet-stream';
}

/** Writes an artifact's files into a folder. Returns their paths there. Throws not_found for a blob that is gone. */
export async function fetchFiles({ storage }: Parts, { files }: Artifact, folder: string): Promise<string[]> {
  const paths: string[] = [];
  for (const { path, digest } of files) {
    const to = join(folder, path);
    await mkdir(dirname(to), { recursive: true });
    await pump(await storage.vault.open(digest as Digest), createWriteStream(to));
    paths.push(to);
  }
  return paths;
}

/** The one file of an artifact that is wanted: the named one, else its only one, else its only .onnx file. */
export function chooseFile({ files }: Artifact, wanted: string, what: string): ArtifactFile {
  const named = wanted === '' ? files : files.filter(({ path }) => path === wanted);
  const found = named.length > 1 ? named.filter(({ path }) => path.endsWith('.onnx')) : named;
  if (found.length === 1) return found[0];
  const known = files.map(({ path }) => path).join(', ') || 'nothing';
  throw new SwitchyardError(
    'failed_precondition',
    wanted === ''
      ? `${what} holds ${known}; say with modelFile which file is meant`
      : `${what} holds no file ${JSON.stringify(wanted)} but ${known}`,
  );
}
