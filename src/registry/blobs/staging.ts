import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AlignedBuffers } from './direct-file.ts';
import { diskError } from './disk.ts';
import { lost, StagedFile } from './staged-file.ts';

/** The folder in which uploads grow. Nothing in it is visible to anyone, and everything in it may be thrown away. */
export class Staging {
  readonly folder: string;
  /** Ids of files being written: never swept. */
  private readonly busy = new Set<string>();
  private readonly buffers = new AlignedBuffers();

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async open(folder: string): Promise<Staging> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return new Staging(folder);
  }

  /** A new file. Throws insufficient_storage when the disk is full. */
  async create(id: string = randomUUID()): Promise<StagedFile> {
    const file = this.path(id);
    const handle = await open(file, 'wx', 0o600).catch((error: unknown) => {
      throw diskError(error);
    });
    return this.track(id, new StagedFile(id, file, handle, this.buffers));
  }

  /**
   * An earlier file, to be continued at `offset`: what lies behind it, a torn write, is cut off. Reads what is there once,
   * for the digest. Throws not_found when the file is gone or shorter.
   */
  async reopen(id: string, offset: number): Promise<StagedFile> {
    const file = this.path(id);
    const handle = await open(file, constants.O_RDWR | constants.O_NOFOLLOW).catch(() => {
      throw lost(id);
    });
    try {
      if ((await handle.stat()).size < offset) throw lost(id);
      await handle.truncate(offset);
      const staged = new StagedFile(id, file, handle, this.buffers);
      await staged.readBack(offset);
      return this.track(id, staged);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Whether the file is there. */
  has(id: string): Promise<boolean> {
    return stat(this.path(id)).then(
      () => true,
      () => false,
    );
  }

  /** Removes files that nobody writes, nobody keeps and that are older than `beforeMs`. Returns how many. */
  async sweep(beforeMs: number, keep: (id: string) => boolean): Promise<number> {
    let removed = 0;
    for (const id of await readdir(this.folder)) {
      if (this.busy.has(id) || keep(id)) continue;
      const facts = await stat(this.path(id)).catch(() => undefined);
      // Asked again: an upload may have begun meanwhile.
      if (facts === undefined || facts.mtimeMs > beforeMs || this.busy.has(id)) continue;
      await rm(this.path(id), { force: true });
      removed++;
    }
    return removed;
  }

  /** Removes a finished file. Never rejects. */
  async discard(file: string): Promise<void> {
    await rm(file, { force: true }).catch(() => {});
  }

  async discardId(id: string): Promise<void> {
    await this.discard(this.path(id));
  }

  private track(id: string, staged: StagedFile): StagedFile {
    this.busy.add(id);
    staged.onClosed = () => this.busy.delete(id);
    return staged;
  }

  private path(id: string): string {
    if (!/^[A-Za-z0-9-]{1,64}$/.test(id)) throw lost(id);
    return join(this.folder, id);
  }
}
