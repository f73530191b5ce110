import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { chmod, lstat, mkdir, readdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Storage } from '../../registry/artifacts/storage.ts';
import type { Digest } from '../../registry/blobs/digest.ts';
import type { RegistryDatabase } from '../../registry/database/database.ts';
import { type InputFile, inputFiles } from '../../registry/models/input-files.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { dataFileName, isData } from '../inputs/pin.ts';
import type { JobSpec } from '../jobs/spec.ts';

export interface WorkParts {
  database: RegistryDatabase;
  storage: Pick<Storage, 'vault' | 'artifacts'>;
}

/** Where an input lies in the work folder. */
export function inputPath({ name, path }: JobSpec['inputs'][number]): string {
  return path ?? `inputs/${name}`;
}

/** Folder of a run's artifacts with the last checkpoint of its job. */
export const CHECKPOINT_FOLDER = 'checkpoint';

/** Puts the job's files and inputs into an empty work folder. Rejects with not_found or failed_precondition naming the input. */
export async function fillWorkFolder(folder: string, spec: JobSpec, parts: WorkParts): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const [path, text] of Object.entries(spec.files)) {
    const file = join(folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
    if (text.startsWith('#!')) await chmod(file, 0o755);
  }
  for (const input of spec.inputs) await fetchInput(folder, input, parts);
}

/** The files of an input by their digests; '' as path: the place of the input itself. Rejects with not_found or failed_precondition. */
export async function resolveInput(
  input: JobSpec['inputs'][number],
  { database }: Pick<WorkParts, 'database'>,
): Promise<Pick<InputFile, 'path' | 'digest'>[]> {
  const { name, source, digest } = input;
  const what = `input ${JSON.stringify(name)}`;
  // Decided when the job was submitted.
  if (isData(input)) return [{ path: dataFileName(input), digest: digest as Digest }];
  if (source === undefined) return [{ path: '', digest: digest as Digest }];
  const files = await database
    .read((db) => inputFiles(db, source))
    .catch((error: unknown) => {
      throw new SwitchyardError('not_found', `${what}: ${(error as Error).message}`);
    });
  if (digest !== undefined && (files.length !== 1 || files[0].digest !== digest)) {
    const found = files.length === 1 ? files[0].digest : `${files.length} files`;
    throw new SwitchyardError('failed_precondition', `${what}: ${source} is ${found}, and ${digest} was asked for`);
  }
  return files;
}

async function fetchInput(folder: string, input: JobSpec['inputs'][number], parts: WorkParts): Promise<void> {
  const place = join(folder, inputPath(input));
  for (const { path, digest } of await resolveInput(input, parts))
    await fetchBlob(join(place, path), digest, `input ${JSON.stringify(input.name)}`, parts);
}

/** Copies a blob and checks what it copied. */
export async function fetchBlob(file: string, digest: Digest, what: string, { storage }: WorkParts): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const hash = createHash('sha256');
  const source = await storage.vault.open(digest).catch((error: unknown) => {
    throw new SwitchyardError('not_found', `${what}: ${(error as Error).message}`);
  });
  const draft = `${file}.part`;
  await pipeline(
    source,
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        hash.update(chunk);
        yield chunk;
      }
    },
    createWriteStream(draft, { mode: 0o644 }),
  );
  const found = `sha256:${hash.digest('hex')}`;
  if (found !== digest)
    throw new SwitchyardError('failed_precondition', `${what}: ${digest} is damaged; its bytes are ${found}`);
  await rename(draft, file);
}

/** Stores a file or folder as artifacts below `artifactPath`. Links are left out: they may lead anywhere. Returns how many. */
export async function storeFiles(path: string, artifactPath: string, parts: WorkParts): Promise<number> {
  const info = await lstat(path);
  if (info.isFile()) {
    const facts = { mediaType: '', declared: undefined, expected: undefined };
    await parts.storage.artifacts.upload(artifactPath, createReadStream(path), facts);
    return 1;
  }
  if (!info.isDirectory()) return 0;
  let count = 0;
  for (const entry of (await readdir(path)).sort())
    count += await storeFiles(join(path, entry), `${artifactPath}/${entry}`, parts);
  return count;
}

/** Whether every folder on the way to a path of the work folder is a real one, and what is there. */
export async function lookInside(folder: string, path: string): Promise<'file' | 'folder' | 'link' | 'missing'> {
  let at = folder;
  const parts = path.split('/');
  for (const [i, part] of parts.entries()) {
    at = join(at, part);
    const info = await lstat(at).catch(() => undefined);
    if (info === undefined) return 'missing';
    if (info.isSymbolicLink()) return 'link';
    if (i === parts.length - 1) return info.isDirectory() ? 'folder' : info.isFile() ? 'file' : 'missing';
  }
  return 'missing';
}
