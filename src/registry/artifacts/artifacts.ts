import type { Digest } from '../blobs/digest.ts';
import type { ByteSource } from '../blobs/receive.ts';
import type { StagedBlob } from '../blobs/staged-file.ts';
import type { BlobVault } from '../blobs/vault.ts';
import type { Db, RegistryDatabase } from '../database/database.ts';
import { doesNotExist, shown } from '../errors.ts';
import { mediaTypeOf } from './media-type.ts';
import {
  type Artifact,
  type FolderEntry,
  filesBelow,
  getArtifact,
  listFolder,
  putArtifact,
  removeTree,
} from './tree.ts';

export interface UploadFacts {
  /** Content-Type of the request; '' = none. */
  mediaType: string;
  declared: number | undefined;
  expected: Digest | undefined;
}

/** A part of a write. */
type Also = (db: Db) => Promise<void>;

/** The artifact tree: paths in the database, bytes in the blob store. Paths are checked by the caller (path.ts). */
export class Artifacts {
  readonly maxBytes: number;
  private readonly database: RegistryDatabase;
  private readonly vault: BlobVault;
  private readonly now: () => number;

  constructor(parts: { database: RegistryDatabase; vault: BlobVault; now: () => number; maxBytes: number }) {
    this.database = parts.database;
    this.vault = parts.vault;
    this.now = parts.now;
    this.maxBytes = parts.maxBytes;
  }

  /** Stores an upload under a path, in the place of what was there. Resolves when both survive a power cut. */
  async upload(path: string, source: ByteSource, { mediaType, declared, expected }: UploadFacts): Promise<Artifact> {
    const { digest, size } = await this.vault.put(source, { maxBytes: this.maxBytes, declared, expected });
    return this.name({ path, digest, size, mediaType: mediaTypeOf(path, mediaType) });
  }

  /** Stores a staged file under a path. `also` is done in the write that names it. On failure the file stays staged. */
  async adopt(path: string, staged: StagedBlob, mediaType: string, also: Also): Promise<Artifact> {
    await this.vault.adopt(staged);
    return this.name({ path, digest: staged.digest, size: staged.size, mediaType: mediaTypeOf(path, mediaType) }, also);
  }

  /** As `adopt`, for bytes that are stored already. Resolves with undefined when they are not. */
  async adoptStored(artifact: Artifact, also: Also): Promise<Artifact | undefined> {
    if (!(await this.vault.claimStored(artifact.digest, artifact.size))) return undefined;
    return this.name({ ...artifact, mediaType: mediaTypeOf(artifact.path, artifact.mediaType) }, also);
  }

  private async name(artifact: Artifact, also?: Also): Promise<Artifact> {
    await this.database.write(async (db) => {
      await this.vault.claimAgain(db, artifact.digest);
      await putArtifact(db, artifact, this.now());
      await also?.(db);
    });
    return artifact;
  }

  /** Throws RESOURCE_DOES_NOT_EXIST. */
  async get(path: string): Promise<Artifact> {
    const found = await this.database.read((db) => getArtifact(db, path));
    if (found === undefined) throw doesNotExist(`No such artifact: ${shown(path)}`);
    return found;
  }

  /** Entries directly in a folder; none for a missing folder and for a file. */
  list(folder: string): Promise<FolderEntry[]> {
    return this.database.read((db) => listFolder(db, folder));
  }

  /** Every file at or below a path. */
  filesBelow(path: string): Promise<Artifact[]> {
    return this.database.read((db) => filesBelow(db, path));
  }

  /** Forgets a file or a folder with all it holds. A missing one is no error. */
  remove(path: string): Promise<number> {
    return this.database.write((db) => removeTree(db, path));
  }

  /** Puts the files below a folder in the place of all that another one holds, in one write. Returns how many. */
  move(from: string, to: string): Promise<number> {
    return this.database.write(async (db) => {
      const files = await filesBelow(db, from);
      if (files.length === 0) return 0;
      await removeTree(db, to);
      for (const file of files) await putArtifact(db, { ...file, path: to + file.path.slice(from.length) }, this.now());
      await removeTree(db, from);
      return files.length;
    });
  }
}
