import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { RawConfig } from '../models/config/map.ts';
import { readJsonFile, writeJsonFile } from '../models/repository/digest.ts';
import { isSafeRelativePath } from '../models/repository/names.ts';
import type { FileFact, ScannedVersion } from '../models/repository/scan.ts';
import { Serial } from '../models/serial.ts';
import { type Digest, hexOf, isDigest } from '../registry/blobs/digest.ts';
import { type Manifest, type ManifestFile, manifestDigest, parseManifest } from '../registry/manifest/manifest.ts';
import { type SignedManifest, type SigningKey, verifyManifest } from '../registry/manifest/signature.ts';
import type { Deployment, VersionManifest } from '../registry/serving/types.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { BlobCache } from './blob-cache.ts';
import { MLMODEL_FILE, onnxFileOf } from './mlmodel.ts';
import { configFileOf, servedConfig } from './served-config.ts';
import type { RegistrySource } from './source.ts';

const MAX_FILES = 5000;
const MAX_TEXT_BYTES = 1024 * 1024;
const PARALLEL = 4;

/** A version whose files are here and are what they should be. */
export interface LocalVersion {
  scanned: ScannedVersion;
  config: RawConfig;
  /** Path → digest. */
  files: ReadonlyMap<string, string>;
}

/** Kept beside a version's files, so that it can be served, and checked again, without the registry. */
interface Kept {
  manifest: string;
  signed?: SignedManifest;
}

/** Versions of the registry as folders of our own, by the digest of their manifest. */
export class VersionStore {
  private readonly folder: string;
  private readonly blobs: BlobCache;
  private readonly trusted: readonly SigningKey[];
  /** Bytes that have come for a version that is not linked yet look as if nobody wanted them. */
  private preparing = 0;
  private cleaning: Promise<void> | undefined;
  /** By digest: nobody takes a folder away that another one has just made, and reads. */
  private readonly queues = new Map<string, Serial>();

  /** @param trusted keys of which one must have signed every manifest; none: signatures are not asked for */
  constructor(folder: string, trusted: readonly SigningKey[]) {
    this.folder = folder;
    this.blobs = new BlobCache(join(folder, 'blobs'));
    this.trusted = trusted;
  }

  /**
   * Makes a version's folder, from what is here and, for the rest, from `source`. Rejects with unavailable when the
   * registry is needed and away, and with the reason when the version is not what it should be.
   */
  async prepare(deployment: Deployment, source: RegistrySource): Promise<LocalVersion> {
    while (this.cleaning !== undefined) await this.cleaning;
    this.preparing++;
    try {
      return await this.inTurn(deployment.digest, () => this.bring(deployment, source));
    } finally {
      this.preparing--;
    }
  }

  private inTurn<T>(digest: string, work: () => Promise<T>): Promise<T> {
    const queue = this.queues.get(digest) ?? new Serial();
    this.queues.set(digest, queue);
    return queue.run(work).finally(() => {
      if (!queue.busy) this.queues.delete(digest);
    });
  }

  private async bring(deployment: Deployment, source: RegistrySource): Promise<LocalVersion> {
    const { name, version } = deployment;
    if (deployment.digest === '') throw refused(`version ${version} of ${name} has no files`);
    if (!isDigest(deployment.digest)) throw refused('the registry named a digest that is none');
    const manifest = await this.manifest(deployment, deployment.digest, source);
    checkFiles(manifest.files);
    const directory = join(this.folder, 'versions', hexOf(deployment.digest));
    await each(manifest.files, PARALLEL, (file) =>
      this.blobs.ensure(file.digest, file.size, () => source.blob(file.digest)),
    );
    await this.materialise(manifest, directory);
    return describe(manifest, version, directory);
  }

  private async manifest(deployment: Deployment, digest: Digest, source: RegistrySource): Promise<Manifest> {
    const file = join(this.folder, 'manifests', `${hexOf(digest)}.json`);
    const kept = await readJsonFile<Kept | undefined>(file, undefined);
    if (kept !== undefined) {
      try {
        return this.check(kept, deployment);
      } catch {
        // Damaged here, or signed by a key that is no longer trusted: the registry may have a better one.
      }
    }
    const { manifest, signed }: VersionManifest = await source.manifest(deployment.name, deployment.version);
    const fresh = signed === undefined ? { manifest } : { manifest, signed };
    const checked = this.check(fresh, deployment);
    await writeJsonFile(file, fresh);
    return checked;
  }

  private check({ manifest: text, signed }: Kept, { name, version, digest }: Deployment): Manifest {
    if (this.trusted.length > 0 && signed === undefined)
      throw refused(
        `the manifest of ${name} version ${version} is not signed, and models.registry.trustedKeys asks for it`,
      );
    const manifest =
      this.trusted.length > 0 && signed !== undefined
        ? verifyManifest(signed, this.trusted, { name, version })
        : parseManifest(Buffer.from(text, 'base64'));
    if (manifestDigest(manifest) !== digest)
      throw refused(
        `the manifest of ${name} version ${version} has the digest ${manifestDigest(manifest)}, not ${digest}`,
      );
    return manifest;
  }

  /** Links the files into the version's folder, which is there whole or not at all. */
  private async materialise(manifest: Manifest, directory: string): Promise<void> {
    if (await this.isWhole(manifest, directory)) return;
    await rm(directory, { recursive: true, force: true });
    const fresh = join(dirname(directory), `.${randomUUID()}`);
    try {
      for (const { path, digest } of manifest.files) {
        const target = join(fresh, path);
        await mkdir(dirname(target), { recursive: true, mode: 0o700 });
        await this.blobs.place(digest, target);
      }
      if (!(await this.isWhole(manifest, fresh)))
        throw new SwitchyardError(
          'unavailable',
          `the files of version ${manifest.version} changed while they were copied`,
        );
      await rename(fresh, directory);
    } finally {
      await rm(fresh, { recursive: true, force: true });
    }
  }

  /** Whether the folder holds these files, none missing, and each is the cache's or has been read through. */
  private async isWhole(manifest: Manifest, directory: string): Promise<boolean> {
    for (const { path, digest, size } of manifest.files)
      if (!(await this.blobs.isPlaced(digest, size, join(directory, path)))) return false;
    return true;
  }

  /**
   * Removes every version but those that are wanted when it begins, by the digest of their manifest, and the bytes that
   * only those had. Does nothing while a version is being prepared: the next call will.
   */
  async keepOnly(wanted: () => ReadonlySet<string>): Promise<void> {
    while (this.cleaning !== undefined) await this.cleaning;
    if (this.preparing > 0) return;
    const cleaned = this.remove(wanted());
    this.cleaning = cleaned
      .catch(() => undefined)
      .finally(() => {
        this.cleaning = undefined;
      });
    await cleaned;
  }

  private async remove(digests: ReadonlySet<string>): Promise<void> {
    const kept = new Set([...digests].filter(isDigest).map(hexOf));
    for (const place of ['versions', 'manifests']) {
      for (const name of await readdir(join(this.folder, place)).catch(() => [])) {
        if (!kept.has(name.replace(/\.json$/, '')))
          await rm(join(this.folder, place, name), { recursive: true, force: true });
      }
    }
    await this.blobs.sweep();
  }
}

function checkFiles(files: readonly ManifestFile[]): void {
  if (files.length > MAX_FILES) throw refused(`it has ${files.length} files; at most ${MAX_FILES} are served`);
  const paths = new Set(files.map(({ path }) => path));
  for (const { path } of files) {
    if (!isSafeRelativePath(path)) throw refused(`the path ${JSON.stringify(path.slice(0, 200))} is not plain`);
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1))
      if (paths.has(path.slice(0, end))) throw refused(`${JSON.stringify(path.slice(0, end))} is a file and a folder`);
  }
}

async function describe(manifest: Manifest, version: string, directory: string): Promise<LocalVersion> {
  const paths = new Set(manifest.files.map(({ path }) => path));
  const text = async (path: string): Promise<string> => {
    const size = manifest.files.find((file) => file.path === path)?.size ?? 0;
    if (size > MAX_TEXT_BYTES) throw refused(`${path} has ${size} bytes; at most ${MAX_TEXT_BYTES} are read`);
    return readFile(join(directory, path), 'utf8');
  };
  const modelFile = onnxFileOf(paths, paths.has(MLMODEL_FILE) ? await text(MLMODEL_FILE) : undefined);
  const file = configFileOf(paths);
  const config = servedConfig(file === undefined ? undefined : { text: await text(file), file }, modelFile);
  const files: FileFact[] = [];
  for (const { path, size } of manifest.files)
    files.push({ path, size, mtimeMs: (await stat(join(directory, path))).mtimeMs });
  return {
    scanned: { version, directory, files },
    config,
    files: new Map(manifest.files.map(({ path, digest }) => [path, digest])),
  };
}

/** Works on a few items at a time. After a failure none is begun, and those under way are waited for. */
async function each<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  let failed = false;
  const worker = async (): Promise<void> => {
    while (next < items.length && !failed) {
      try {
        await work(items[next++]);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const workers = Array.from({ length: Math.min(width, items.length) }, worker);
  await Promise.allSettled(workers);
  await Promise.all(workers);
}

function refused(problem: string): SwitchyardError {
  return new SwitchyardError('failed_precondition', `the version cannot be served: ${problem}`);
}
