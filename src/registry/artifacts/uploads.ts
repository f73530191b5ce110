import { randomUUID } from 'node:crypto';
import { type ErrorCode, SwitchyardError } from '../../shared/errors.ts';
import type { Digest } from '../blobs/digest.ts';
import { append, type ByteSource, checkReceived, tooLarge } from '../blobs/receive.ts';
import type { StagedFile } from '../blobs/staged-file.ts';
import type { Staging } from '../blobs/staging.ts';
import type { Db, RegistryDatabase } from '../database/database.ts';
import type { Artifacts } from './artifacts.ts';
import type { Artifact } from './tree.ts';

/** So often the received length is made certain, for the case that the process dies. */
const CHECKPOINT_BYTES = 64 * 1024 * 1024;
const MAX_OPEN = 1000;

export interface Upload {
  id: string;
  path: string;
  size: number;
  received: number;
}

interface UploadRow extends Upload {
  mediaType: string;
  expected: Digest | undefined;
}

/**
 * Uploads in several requests: each appends at the offset that the one before reached. What came is kept when the
 * connection breaks and when the server restarts. One request at a time; while it runs, the file and its running hash
 * stay open, afterwards they stay for the next.
 */
export class Uploads {
  private readonly database: RegistryDatabase;
  private readonly staging: Staging;
  private readonly artifacts: Artifacts;
  private readonly now: () => number;
  private readonly files = new Map<string, StagedFile>();
  private readonly busy = new Set<string>();

  constructor(parts: { database: RegistryDatabase; staging: Staging; artifacts: Artifacts; now: () => number }) {
    this.database = parts.database;
    this.staging = parts.staging;
    this.artifacts = parts.artifacts;
    this.now = parts.now;
  }

  async create(path: string, size: number, mediaType: string, expected: Digest | undefined): Promise<Upload> {
    if (size > this.artifacts.maxBytes) throw tooLarge(this.artifacts.maxBytes);
    const id = randomUUID();
    // Before the row: a file without a row is swept, a row without a file is a promise that cannot be kept.
    const file = await this.staging.create(id);
    await file.close();
    const now = this.now();
    await this.database.write((db) =>
      db
        .insertInto('uploads')
        .values({
          upload_id: id,
          path,
          media_type: mediaType,
          size,
          expected: expected ?? '',
          received: 0,
          created_time: now,
          touched_time: now,
        })
        .execute(),
    );
    return { id, path, size, received: 0 };
  }

  /** Where an upload stands. Throws not_found. */
  async get(id: string): Promise<Upload> {
    const row = await this.row(id);
    return { id, path: row.path, size: row.size, received: this.files.get(id)?.size ?? row.received };
  }

  /**
   * Appends at `offset`. When the last byte is there, the whole is checked and becomes the artifact, which is answered.
   * Throws conflict for another offset than the upload has reached, and while another request appends.
   */
  async append(id: string, offset: number, source: ByteSource): Promise<{ upload: Upload; artifact?: Artifact }> {
    if (this.busy.has(id))
      throw new SwitchyardError('conflict', 'another request is appending to this upload; ask for its offset again');
    this.busy.add(id);
    try {
      const row = await this.row(id);
      const stored = await this.completeStored(row);
      if (stored !== undefined) return { upload: row, artifact: stored };
      const file = await this.file(row);
      if (file.size !== offset) {
        throw new SwitchyardError(
          'conflict',
          `the upload has reached offset ${file.size}, not ${offset}; go on from there`,
        );
      }
      await this.take(row, file, source);
      if (file.size < row.size) return { upload: { id, path: row.path, size: row.size, received: file.size } };
      return { upload: { ...row, received: row.size }, artifact: await this.complete(row, file) };
    } finally {
      this.busy.delete(id);
    }
  }

  /** Ends an upload whose last byte had come when the process died, from the blob that its bytes had become. */
  private async completeStored(row: UploadRow): Promise<Artifact | undefined> {
    const { path, size, received, expected: digest, mediaType, id } = row;
    if (received !== size || digest === undefined || this.files.has(id) || (await this.staging.has(id)))
      return undefined;
    return this.artifacts.adoptStored({ path, digest, size, mediaType }, (db) => deleteRow(db, id));
  }

  private async take(row: UploadRow, file: StagedFile, source: ByteSource): Promise<void> {
    try {
      await append(file, this.withCheckpoints(row.id, file, source), row.size);
    } catch (error) {
      // What came before the break is good; only a disk that fails makes the file worthless.
      const intact = isCode(error, 'cancelled', 'payload_too_large', 'unavailable') && (await this.keep(row.id, file));
      if (!intact) await this.forget(row.id).catch(() => {});
      throw error;
    }
    // The last bytes are made certain together with their digest.
    if (file.size < row.size) await this.checkpoint(row.id, file);
  }

  private async *withCheckpoints(id: string, file: StagedFile, source: ByteSource): ByteSource {
    let last = file.size;
    for await (const chunk of source) {
      yield chunk;
      if (file.size - last < CHECKPOINT_BYTES) continue;
      last = file.size;
      await this.checkpoint(id, file);
    }
  }

  private async checkpoint(id: string, file: StagedFile): Promise<void> {
    await file.sync();
    const received = file.size;
    await this.database.write((db) =>
      db.updateTable('uploads').set({ received, touched_time: this.now() }).where('upload_id', '=', id).execute(),
    );
  }

  /** Makes certain what came before a break. False: it is not on the disk. */
  private async keep(id: string, file: StagedFile): Promise<boolean> {
    try {
      await this.checkpoint(id, file);
      return true;
    } catch (error) {
      // The database is away. The file knows its length while this process lives, and the next checkpoint notes it.
      return isCode(error, 'unavailable');
    }
  }

  /**
   * Two writes keep it whole when the process dies in between: the first says what the bytes are before they leave the
   * staging folder, the second names them and ends the upload.
   */
  private async complete(row: UploadRow, file: StagedFile): Promise<Artifact> {
    this.files.delete(row.id);
    try {
      const staged = await file.finish();
      checkReceived(staged, { maxBytes: row.size, expected: row.expected });
      await this.database.write((db) =>
        db
          .updateTable('uploads')
          .set({ received: staged.size, expected: staged.digest, touched_time: this.now() })
          .where('upload_id', '=', row.id)
          .execute(),
      );
      return await this.artifacts.adopt(row.path, staged, row.mediaType, (db) => deleteRow(db, row.id));
    } catch (error) {
      // A store that is away may be back: an empty request at the end tries again. Bytes that are not what was promised
      // cannot be mended by sending more.
      if (!isCode(error, 'unavailable')) await this.forget(row.id);
      throw error;
    }
  }

  /** Ends an upload without a result. A missing one is no error. Throws conflict while a request appends. */
  async abort(id: string): Promise<void> {
    if (this.busy.has(id)) throw new SwitchyardError('conflict', 'a request is appending to this upload; end it first');
    await this.forget(id);
  }

  private async forget(id: string): Promise<void> {
    const file = this.files.get(id);
    this.files.delete(id);
    // The file first: on a full disk the database needs its room. A row without a file is one that fails when it is used.
    await file?.discard();
    if (file === undefined) await this.staging.discardId(id);
    await this.forgetRow(id);
  }

  private async forgetRow(id: string): Promise<void> {
    await this.database.write((db) => deleteRow(db, id));
  }

  /** Ends uploads that nobody has gone on with since `beforeMs`. Returns how many. */
  async expire(beforeMs: number): Promise<number> {
    const old = await this.database.read((db) =>
      db.selectFrom('uploads').select('upload_id').where('touched_time', '<', beforeMs).execute(),
    );
    let ended = 0;
    for (const { upload_id } of old) {
      if (this.busy.has(upload_id)) continue;
      await this.forget(upload_id);
      ended++;
    }
    return ended;
  }

  /** Ids whose staged bytes must stay. */
  async ids(): Promise<Set<string>> {
    const rows = await this.database.read((db) => db.selectFrom('uploads').select('upload_id').execute());
    return new Set(rows.map((row) => row.upload_id));
  }

  /** Lets go of open files; uploads go on with the next process. */
  async close(): Promise<void> {
    for (const file of this.files.values()) await file.close();
    this.files.clear();
  }

  private async row(id: string): Promise<UploadRow> {
    const row = await this.database.read((db) =>
      db.selectFrom('uploads').selectAll().where('upload_id', '=', id).executeTakeFirst(),
    );
    if (row === undefined)
      throw new SwitchyardError('not_found', `no upload ${JSON.stringify(id.slice(0, 80))}; it ended or expired`);
    return {
      id,
      path: row.path,
      size: row.size,
      received: row.received,
      mediaType: row.media_type,
      expected: row.expected === '' ? undefined : (row.expected as Digest),
    };
  }

  private async file(row: UploadRow): Promise<StagedFile> {
    const open = this.files.get(row.id);
    if (open !== undefined) return open;
    await this.closeIdle();
    const file = await this.staging.reopen(row.id, row.received);
    this.files.set(row.id, file);
    return file;
  }

  /** Each open upload holds a file descriptor; the oldest idle ones are closed and opened again when needed. */
  private async closeIdle(): Promise<void> {
    for (const [id, file] of this.files) {
      if (this.files.size < MAX_OPEN) return;
      if (this.busy.has(id)) continue;
      this.files.delete(id);
      await file.close();
    }
  }
}

function isCode(error: unknown, ...codes: ErrorCode[]): boolean {
  return error instanceof SwitchyardError && codes.includes(error.code);
}

async function deleteRow(db: Db, id: string): Promise<void> {
  await db.deleteFrom('uploads').where('upload_id', '=', id).execute();
}
