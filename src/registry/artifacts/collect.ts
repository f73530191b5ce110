import type { ExpressionBuilder } from 'kysely';
import type { Digest } from '../blobs/digest.ts';
import type { BlobVault } from '../blobs/vault.ts';
import type { Db, RegistryDatabase } from '../database/database.ts';
import type { Tables } from '../database/tables.ts';
import { collectRecords, countRecords, type Records } from './collect-records.ts';
import { artifactIsDoomed, type Bounds } from './deletion-rules.ts';
import type { Uploads } from './uploads.ts';

export interface CollectAges {
  /** Nothing younger is touched. */
  graceMs: number;
  /** What was deleted later can be restored. At least the grace time. */
  deletedMs: number;
}

export interface CollectOptions extends CollectAges {
  /** Only count. */
  dryRun: boolean;
}

export interface Collected extends Records {
  /** Artifacts of runs and logged models that were deleted long enough ago, and of unused imports. */
  artifacts: number;
  /** Blobs that nothing names, and their bytes. */
  blobs: number;
  bytes: number;
  /** Uploads in several requests that nobody went on with. */
  uploads: number;
  /** Left-overs of uploads that broke off with their process, in the staging folder and the bucket. */
  staged: number;
}

const BATCH = 500;
/** No blob takes longer to its bucket. */
const LONGEST_UPLOAD_MS = 24 * 3_600_000;

/**
 * Garbage collection. It runs beside uploads, in several processes at once, and may be killed at any point: what is
 * forgotten is forgotten in one write, and a blob is marked in the database before its bytes go (see BlobVault).
 */
export class GarbageCollector {
  private readonly database: RegistryDatabase;
  private readonly vault: BlobVault;
  private readonly uploads: Uploads;
  private readonly now: () => number;
  private last: Promise<unknown> = Promise.resolve();

  constructor(parts: { database: RegistryDatabase; vault: BlobVault; uploads: Uploads; now: () => number }) {
    this.database = parts.database;
    this.vault = parts.vault;
    this.uploads = parts.uploads;
    this.now = parts.now;
  }

  /** One collection at a time in this process: a second waits for the first. */
  collect(options: CollectOptions): Promise<Collected> {
    const next = this.last.then(() => this.run(options));
    this.last = next.catch(() => {});
    return next;
  }

  private async run({ graceMs, deletedMs, dryRun }: CollectOptions): Promise<Collected> {
    const now = this.now();
    const before = now - graceMs;
    const bounds = { before, deletedBefore: now - deletedMs };
    if (dryRun) return this.database.read((db) => count(db, bounds));
    const forgotten = await this.database.write((db) =>
      db.deleteFrom('artifacts').where(artifactIsDoomed(bounds)).executeTakeFirst(),
    );
    const records = await collectRecords(this.database, bounds);
    const uploads = await this.uploads.expire(before);
    await this.findStrays(before);
    const { blobs, bytes } = await this.dropUnnamed(before);
    const keep = await this.uploads.ids();
    const staged = await this.vault.staging.sweep(before, (id) => keep.has(id));
    // Of other processes it is not known whether they live.
    const parts = await this.vault.store.abortUploads(Math.min(before, now - LONGEST_UPLOAD_MS));
    return { ...records, artifacts: Number(forgotten.numDeletedRows), blobs, bytes, uploads, staged: staged + parts };
  }

  private async dropUnnamed(before: number): Promise<{ blobs: number; bytes: number }> {
    let blobs = 0;
    let bytes = 0;
    await this.vault.finishRemovals();
    for (;;) {
      const now = this.now();
      const marked = await this.database.write((db) => mark(db, before, now));
      for (const { digest, size } of marked) {
        if (!(await this.vault.removeMarked(digest as Digest, now))) continue;
        blobs++;
        bytes += size;
      }
      if (marked.length < BATCH) return { blobs, bytes };
    }
  }

  /** Bytes without a row, as a database restored from a backup leaves them, get one: then they are unnamed blobs. */
  private async findStrays(before: number): Promise<void> {
    let batch: { digest: string; size: number; claimed_time: number; deleting_time: null }[] = [];
    const flush = async (): Promise<void> => {
      const rows = batch;
      batch = [];
      if (rows.length === 0) return;
      const digests = rows.map((row) => row.digest);
      const known = await this.database.read((db) =>
        db.selectFrom('blobs').select('digest').where('digest', 'in', digests).execute(),
      );
      const digestsKnown = new Set(known.map(({ digest }) => digest));
      const strays = rows.filter((row) => !digestsKnown.has(row.digest));
      if (strays.length === 0) return;
      await this.database.write((db) =>
        db
          .insertInto('blobs')
          .values(strays)
          .onConflict((conflict) => conflict.column('digest').doNothing())
          .execute(),
      );
    };
    for await (const { digest, size, modifiedMs } of this.vault.store.list()) {
      if (modifiedMs >= before) continue;
      batch.push({ digest, size, claimed_time: Math.floor(modifiedMs), deleting_time: null });
      if (batch.length === BATCH) await flush();
    }
    await flush();
  }
}

function isUnnamed({ and, not, exists, selectFrom }: ExpressionBuilder<Tables, 'blobs'>) {
  const pinned = selectFrom('model_version_files')
    .select('path')
    .whereRef('model_version_files.digest', '=', 'blobs.digest');
  const named = selectFrom('artifacts').select('path').whereRef('artifacts.digest', '=', 'blobs.digest');
  return and([not(exists(named)), not(exists(pinned)), not(exists(ofDataset(selectFrom)))]);
}

/** A dataset names its Parquet and the file of its rejects. */
function ofDataset(selectFrom: ExpressionBuilder<Tables, 'blobs'>['selectFrom']) {
  return selectFrom('dataset_versions')
    .select('dataset_versions.name')
    .where((where) =>
      where.or([
        where('dataset_versions.digest', '=', where.ref('blobs.digest')),
        where('dataset_versions.rejects_digest', '=', where.ref('blobs.digest')),
      ]),
    );
}

function mark(db: Db, before: number, now: number): Promise<{ digest: string; size: number }[]> {
  return (
    db
      .updateTable('blobs')
      .set({ deleting_time: now })
      .where('digest', 'in', (query) =>
        query
          .selectFrom('blobs')
          .select('digest')
          .where('claimed_time', '<', before)
          .where('deleting_time', 'is', null)
          .where(isUnnamed)
          .limit(BATCH),
      )
      // Asked again: PostgreSQL looks at these once more when an upload claimed the row meanwhile.
      .where('claimed_time', '<', before)
      .where('deleting_time', 'is', null)
      .returning(['digest', 'size'])
      .execute()
  );
}

/** What a collection would find; blobs that only doomed artifacts name are among them. */
async function count(db: Db, bounds: Bounds): Promise<Collected> {
  const doomed = db.selectFrom('artifacts').select('path').where(artifactIsDoomed(bounds));
  const artifacts = await db
    .selectFrom('artifacts')
    .select(({ fn }) => fn.countAll().as('count'))
    .where('path', 'in', doomed)
    .executeTakeFirstOrThrow();
  const blobs = await db
    .selectFrom('blobs')
    .select(({ fn }) => [fn.countAll().as('count'), fn.sum('size').as('bytes')])
    .where('claimed_time', '<', bounds.before)
    .where(({ and, not, exists, selectFrom }) =>
      and([
        not(
          exists(
            selectFrom('artifacts')
              .select('path')
              .whereRef('artifacts.digest', '=', 'blobs.digest')
              .where('path', 'not in', doomed),
          ),
        ),
        not(
          exists(
            selectFrom('model_version_files')
              .select('path')
              .whereRef('model_version_files.digest', '=', 'blobs.digest'),
          ),
        ),
        not(exists(ofDataset(selectFrom))),
      ]),
    )
    .executeTakeFirstOrThrow();
  const uploads = await db
    .selectFrom('uploads')
    .select(({ fn }) => fn.countAll().as('count'))
    .where('touched_time', '<', bounds.before)
    .executeTakeFirstOrThrow();
  return {
    ...(await countRecords(db, bounds)),
    artifacts: Number(artifacts.count),
    blobs: Number(blobs.count),
    bytes: Number(blobs.bytes ?? 0),
    uploads: Number(uploads.count),
    staged: 0,
  };
}
