import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Db, RegistryDatabase } from '../database/database.ts';
import { type Digest, digestOf } from './digest.ts';
import { type ByteSource, type ReceiveLimits, receive } from './receive.ts';
import type { StagedBlob } from './staged-file.ts';
import type { Staging } from './staging.ts';
import type { BlobStore, ByteRange } from './store.ts';

const CLAIM_TRIES = 100;
const CLAIM_PAUSE_MS = 50;
/** A removal that has not ended by then was cut off with its process. */
const REMOVAL_MS = 60_000;

/**
 * The blob store together with what the database knows of it. The protocol that keeps collection and uploads of several
 * processes apart: whoever needs a blob claims its row before storing it, and again in the write that names it; the
 * collector marks only rows whose claim is older than the grace time, and removes only what it marked.
 */
export class BlobVault {
  readonly store: BlobStore;
  readonly staging: Staging;
  private readonly database: RegistryDatabase;
  private readonly now: () => number;

  constructor(parts: { store: BlobStore; staging: Staging; database: RegistryDatabase; now: () => number }) {
    this.store = parts.store;
    this.staging = parts.staging;
    this.database = parts.database;
    this.now = parts.now;
  }

  /** Takes an upload. What it resolves to is stored durably, but collected as garbage unless it is named soon. */
  async put(source: ByteSource, limits: ReceiveLimits): Promise<{ digest: Digest; size: number }> {
    const staged = await receive(this.staging, source, limits);
    await this.keep(staged);
    return { digest: staged.digest, size: staged.size };
  }

  /** Makes a staged file a blob. The staged file is gone afterwards, also on failure. */
  async keep(staged: StagedBlob): Promise<void> {
    try {
      await this.adopt(staged);
    } catch (error) {
      await this.staging.discard(staged.file);
      throw error;
    }
  }

  /** As `keep`, but after a failure the staged file is still there. */
  async adopt(staged: StagedBlob): Promise<void> {
    await this.claim(staged.digest, staged.size);
    await this.store.adopt(staged.digest, staged.file, staged.size);
  }

  /** Claims a blob that should be stored. False: it is not. */
  async claimStored(digest: Digest, size: number): Promise<boolean> {
    // Claimed first: from then on no collection takes it away.
    await this.claim(digest, size);
    return (await this.store.stat(digest))?.size === size;
  }

  private async claim(digest: Digest, size: number): Promise<void> {
    for (let i = 0; i < CLAIM_TRIES; i++) {
      const claimed = await this.database.write(async (db) => {
        const now = this.now();
        const result = await db
          .insertInto('blobs')
          .values({ digest, size, claimed_time: now, deleting_time: null })
          .onConflict((conflict) =>
            conflict.column('digest').doUpdateSet({ claimed_time: now }).where('blobs.deleting_time', 'is', null),
          )
          .executeTakeFirst();
        return result.numInsertedOrUpdatedRows === 1n;
      });
      if (claimed) return;
      await this.finishRemovals();
      await sleep(CLAIM_PAUSE_MS);
    }
    throw new SwitchyardError('unavailable', `blob ${digest} is being removed as garbage; try again`, {
      retryAfterMs: 1000,
    });
  }

  /** To be called in the write that names a blob. Throws unavailable when the blob was collected since it was stored. */
  async claimAgain(db: Db, digest: Digest): Promise<void> {
    const result = await db
      .updateTable('blobs')
      .set({ claimed_time: this.now() })
      .where('digest', '=', digest)
      .where('deleting_time', 'is', null)
      .executeTakeFirst();
    if (result.numUpdatedRows === 1n) return;
    throw new SwitchyardError('unavailable', `blob ${digest} was removed as garbage meanwhile; send it again`, {
      retryAfterMs: 1000,
    });
  }

  /** Removes marked blobs whose collector is gone. */
  async finishRemovals(): Promise<void> {
    const mark = this.now();
    const abandoned = await this.database.write((db) =>
      db
        .updateTable('blobs')
        .set({ deleting_time: mark })
        .where('deleting_time', '<', mark - REMOVAL_MS)
        .returning('digest')
        .execute(),
    );
    for (const { digest } of abandoned) await this.removeMarked(digest as Digest, mark);
  }

  /**
   * Removes a blob that the caller has marked at `mark`. False: somebody else has taken the removal over, and the blob
   * may be back already. The bytes go first: a row without bytes is collected again, bytes without a row would be lost
   * from sight.
   */
  async removeMarked(digest: Digest, mark: number): Promise<boolean> {
    const now = this.now();
    const { numUpdatedRows } = await this.database.write((db) =>
      db
        .updateTable('blobs')
        .set({ deleting_time: now })
        .where('digest', '=', digest)
        .where('deleting_time', '=', mark)
        .executeTakeFirst(),
    );
    if (numUpdatedRows !== 1n) return false;
    await this.store.remove(digest);
    await this.database.write((db) =>
      db.deleteFrom('blobs').where('digest', '=', digest).where('deleting_time', '=', now).execute(),
    );
    return true;
  }

  open(digest: Digest, range?: ByteRange): Promise<Readable> {
    return this.store.open(digest, range);
  }

  /** Reads the whole blob and compares. Throws not_found, or failed_precondition for one whose bytes have changed. */
  async verify(digest: Digest): Promise<void> {
    const hash = createHash('sha256');
    for await (const chunk of await this.store.open(digest)) hash.update(chunk as Buffer);
    const found = digestOf(hash.digest());
    if (found === digest) return;
    throw new SwitchyardError(
      'failed_precondition',
      `blob ${digest} is damaged: its bytes have the digest ${found}; upload the artifact again`,
    );
  }
}
