import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import type { Digest } from '../../registry/blobs/digest.ts';
import type { StagedBlob } from '../../registry/blobs/staged-file.ts';
import { commit } from '../../registry/commit.ts';
import type { Db } from '../../registry/database/database.ts';
import { doesNotExist, RegistryError } from '../../registry/errors.ts';
import { versionsFrom } from '../../registry/models/lineage.ts';
import type { Registry } from '../../registry/registry.ts';
import { type Batch, type Cell, collect, type Schema, type Source } from '../batch.ts';
import {
  openFile,
  type ParquetSource,
  type RandomAccess,
  readParquet,
  readParquetColumn,
  writeParquet,
} from '../formats/parquet.ts';
import { ColumnProfiler, type Profile } from '../profile.ts';
import {
  type Caller,
  checkName,
  checkReaders,
  checkTags,
  type DatasetVersion,
  mayRead,
  type NewDataset,
} from './dataset.ts';
import {
  childrenOf,
  type FullRow,
  findVersion,
  profileOf,
  type SearchRequest,
  searchVersions,
  views,
} from './store.ts';

type Parts = Pick<Registry, 'commits' | 'database' | 'storage'>;

/** A file of rejects, which is taken over. */
export interface Rejects {
  readonly count: number;
  readonly path: string;
  close(): Promise<void>;
}

/**
 * Datasets: named, versioned, never changed. A version is Parquet in the blob store, known by its digest, with schema and
 * statistics in the database. The same rows again are the version that exists.
 */
export class Datasets {
  private readonly parts: Parts;

  constructor(parts: Parts) {
    this.parts = parts;
  }

  /**
   * Reads all of a source into a new version. Resolves when it is durable. Rejects with the source's errors, with
   * invalid_argument for what `facts` may not be, and with permission_denied for a name of somebody else's.
   */
  async create(facts: NewDataset, source: Source, by: Caller, rejects?: Rejects): Promise<DatasetVersion> {
    checkName(facts.name);
    checkTags(facts.tags);
    checkReaders(facts.readers ?? []);
    const { vault } = this.parts.storage;
    const staged = await this.stage(source);
    let profile: Profile;
    try {
      profile = await profileFile(staged.file, source.schema);
    } catch (error) {
      await vault.staging.discard(staged.file);
      throw error;
    }
    await vault.keep(staged);
    const rejected = rejects === undefined || rejects.count === 0 ? undefined : await this.keepRejects(rejects);
    const row = await this.name(facts, { staged, schema: source.schema, profile, rejects, rejected }, by);
    return this.parts.database.read(async (db) => (await views(db, [row]))[0]);
  }

  private async stage(source: Source): Promise<StagedBlob> {
    const file = await this.parts.storage.vault.staging.create();
    try {
      for await (const chunk of writeParquet(source)) await file.write(chunk);
      return await file.finish();
    } catch (error) {
      await file.discard();
      throw error;
    }
  }

  private async keepRejects(rejects: Rejects): Promise<Digest> {
    await rejects.close();
    const { path } = rejects;
    const { vault } = this.parts.storage;
    const { digest } = await vault.put(createReadStream(path), { maxBytes: Number.MAX_SAFE_INTEGER });
    await rm(path, { force: true });
    return digest;
  }

  private name(
    facts: NewDataset,
    made: {
      staged: StagedBlob;
      schema: Schema;
      profile: Profile;
      rejects: Rejects | undefined;
      rejected: Digest | undefined;
    },
    { actor }: Caller,
  ): Promise<FullRow> {
    const { staged, schema, profile, rejects, rejected } = made;
    const { rows } = profile;
    return commit(this.parts.commits, async (db, now, note) => {
      await this.parts.storage.vault.claimAgain(db, staged.digest);
      if (rejected !== undefined) await this.parts.storage.vault.claimAgain(db, rejected);
      const known = await this.claimName(db, facts, actor, now);
      const latest = known ? await findVersion(db, facts.name, undefined) : undefined;
      if (latest?.digest === staged.digest && latest.kind === facts.kind) return latest;
      const { last_version: version } = await db
        .updateTable('dataset_names')
        .set((set) => ({ last_version: set('last_version', '+', 1) }))
        .where('name', '=', facts.name)
        .returning('last_version')
        .executeTakeFirstOrThrow();
      const { version_key } = await db
        .insertInto('dataset_versions')
        .values({
          name: facts.name,
          version,
          kind: facts.kind,
          digest: staged.digest,
          mlflow_digest: shortDigest(staged.digest),
          size: staged.size,
          row_count: rows,
          schema: JSON.stringify(schema),
          profile: JSON.stringify(profile),
          source: JSON.stringify(facts.origin),
          parents: JSON.stringify(facts.parents.map(({ name, version }) => ({ name, version }))),
          run_id: facts.runId,
          rejects: rejects?.count ?? 0,
          rejects_digest: rejected ?? '',
          actor,
          created_at: now,
        })
        .returning('version_key')
        .executeTakeFirstOrThrow();
      const tags = Object.entries(facts.tags).map(([key, value]) => ({ version_key, key, value }));
      if (tags.length > 0) await db.insertInto('dataset_tags').values(tags).execute();
      const data = { name: facts.name, version: String(version), kind: facts.kind, digest: staged.digest, rows };
      note({ entity: 'dataset', action: 'created', data });
      return (await findVersion(db, facts.name, version)) as FullRow;
    });
  }

  /** True: the name was there. Throws permission_denied when it may not be written by this caller. */
  private async claimName(db: Db, facts: NewDataset, actor: string, now: number): Promise<boolean> {
    const { numInsertedOrUpdatedRows } = await db
      .insertInto('dataset_names')
      .values({
        name: facts.name,
        description: facts.description ?? '',
        owner: actor,
        readers: JSON.stringify(facts.readers ?? ['*']),
        last_version: 0,
        created_at: now,
      })
      .onConflict((conflict) => conflict.column('name').doNothing())
      .executeTakeFirst();
    if (numInsertedOrUpdatedRows === 1n) return false;
    const found = await db
      .selectFrom('dataset_names')
      .selectAll()
      .where('name', '=', facts.name)
      .executeTakeFirstOrThrow();
    if (actor !== found.owner)
      throw new RegistryError(
        'PERMISSION_DENIED',
        `dataset ${facts.name} is ${found.owner}'s: only ${found.owner} may add versions; choose another name`,
      );
    const changes = {
      ...(facts.description === undefined ? {} : { description: facts.description }),
      ...(facts.readers === undefined ? {} : { readers: JSON.stringify(facts.readers) }),
    };
    if (Object.keys(changes).length > 0)
      await db.updateTable('dataset_names').set(changes).where('name', '=', facts.name).execute();
    return true;
  }

  /** @param version undefined: the latest. Throws not_found or permission_denied. */
  async get(name: string, version: number | undefined, by: Caller): Promise<DatasetVersion> {
    const row = await this.row(name, version, by);
    return this.parts.database.read(async (db) => (await views(db, [row]))[0]);
  }

  async profile(name: string, version: number | undefined, by: Caller): Promise<Profile> {
    const row = await this.row(name, version, by);
    return this.parts.database.read((db) => profileOf(db, row));
  }

  private async row(name: string, version: number | undefined, by: Caller): Promise<FullRow> {
    const row = await this.parts.database.read((db) => findVersion(db, name, version));
    if (row === undefined)
      throw doesNotExist(
        `there is no dataset ${JSON.stringify(name.slice(0, 200))}${version === undefined ? '' : ` of version ${version}`}; list them at /api/v1/datasets`,
      );
    if (mayRead({ owner: row.owner, readers: JSON.parse(row.readers) as string[] }, by)) return row;
    throw notShared(name);
  }

  async search(request: SearchRequest): Promise<{ datasets: DatasetVersion[]; nextPageToken: string }> {
    const { database } = this.parts;
    return database.read(async (db) => {
      const { rows, nextPageToken } = await searchVersions(db, database.kind, request);
      return { datasets: await views(db, rows), nextPageToken };
    });
  }

  /** Its rows, which can be read once. */
  async open(
    name: string,
    version: number | undefined,
    by: Caller,
  ): Promise<ParquetSource & { version: DatasetVersion }> {
    const found = await this.get(name, version, by);
    return { ...(await readParquet(this.blob(found.digest as Digest, found.size))), version: found };
  }

  /** All its rows in memory. Throws payload_too_large beyond `maxRows`. */
  async load(
    name: string,
    version: number | undefined,
    by: Caller,
    maxRows?: number,
  ): Promise<{ schema: Schema; batch: Batch; version: DatasetVersion }> {
    const source = await this.open(name, version, by);
    return { schema: source.schema, batch: await collect(source, maxRows), version: source.version };
  }

  /** Some rows in memory. */
  async rows(name: string, version: number | undefined, by: Caller, from: number, count: number) {
    const source = await this.open(name, version, by);
    const columns: Cell[][] = source.schema.fields.map(() => []);
    let at = 0;
    for await (const batch of source.batches()) {
      const first = Math.max(0, from - at);
      const last = Math.min(batch.rows, from + count - at);
      columns.forEach((column, i) => {
        for (let row = first; row < last; row++) column.push(batch.columns[i][row]);
      });
      at += batch.rows;
      if (at >= from + count) break;
    }
    return { schema: source.schema, batch: { rows: columns[0].length, columns }, version: source.version };
  }

  /** The file of rejects, JSON lines. Throws not_found where there are none. */
  async rejects(name: string, version: number | undefined, by: Caller): Promise<NodeJS.ReadableStream> {
    const { rejects_digest: digest } = await this.row(name, version, by);
    if (digest === '') throw doesNotExist(`dataset ${name}: every row fitted, there are no rejects`);
    return this.parts.storage.vault.open(digest as Digest);
  }

  /** The Parquet as it is stored. */
  async parquet(name: string, version: number | undefined, by: Caller) {
    const { digest, size } = await this.row(name, version, by);
    return { stream: await this.parts.storage.vault.open(digest as Digest), size };
  }

  private blob(digest: Digest, size: number): RandomAccess {
    const { vault } = this.parts.storage;
    return {
      byteLength: size,
      slice: async (start, end = size) => {
        if (end <= start) return new ArrayBuffer(0);
        const bytes = await buffer(await vault.open(digest, { start, end: Math.min(end, size) - 1 }));
        return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
      },
      close: async () => {},
    };
  }

  /** Where a version came from, and what was made of it. Runs and model versions are found by the digest they noted. */
  async lineage(name: string, version: number | undefined, by: Caller): Promise<object> {
    const row = await this.row(name, version, by);
    return this.parts.database.read(async (db) => {
      const runs = await db
        .selectFrom('datasets as d')
        .innerJoin('run_datasets as l', 'l.dataset_key', 'd.dataset_key')
        .innerJoin('runs as r', 'r.run_key', 'l.run_key')
        .select(['r.run_id', 'r.run_name', 'l.context'])
        .where('d.digest', '=', row.mlflow_digest)
        .orderBy('r.start_time', 'desc')
        .limit(1000)
        .execute();
      return {
        name: row.name,
        version: row.version,
        digest: row.digest,
        source: JSON.parse(row.source) as object,
        parents: JSON.parse(row.parents) as object[],
        made_by_run: row.run_id === '' ? null : row.run_id,
        children: await childrenOf(db, row),
        runs,
        model_versions: await versionsFrom(db, { commit: '', dataset: row.mlflow_digest }, 1000),
      };
    });
  }

  async setTag(name: string, version: number, key: string, value: string, by: Caller): Promise<void> {
    checkTags({ [key]: value });
    const { version_key } = await this.row(name, version, by);
    await this.parts.database.write((db) =>
      db
        .insertInto('dataset_tags')
        .values({ version_key, key, value })
        .onConflict((conflict) => conflict.columns(['version_key', 'key']).doUpdateSet({ value }))
        .execute(),
    );
  }

  /** Who may read all versions of a name. Only its owner may say so. */
  async share(name: string, readers: readonly string[], by: Caller): Promise<DatasetVersion> {
    checkReaders(readers);
    const { owner } = await this.row(name, undefined, by);
    if (owner !== by.actor)
      throw new RegistryError('PERMISSION_DENIED', `dataset ${name} is ${owner}'s: only ${owner} may share it`);
    await this.parts.database.write((db) =>
      db
        .updateTable('dataset_names')
        .set({ readers: JSON.stringify(readers) })
        .where('name', '=', name)
        .execute(),
    );
    return this.get(name, undefined, by);
  }

  /** Forgets a version; its bytes go with the next collection of garbage. Its number is never given again. */
  async remove(name: string, version: number, by: Caller): Promise<void> {
    const { version_key, owner } = await this.row(name, version, by);
    if (owner !== by.actor)
      throw new RegistryError('PERMISSION_DENIED', `dataset ${name} is ${owner}'s: only ${owner} may delete from it`);
    await this.parts.database.write(async (db) => {
      await db.deleteFrom('dataset_tags').where('version_key', '=', version_key).execute();
      await db.deleteFrom('dataset_versions').where('version_key', '=', version_key).execute();
    });
  }
}

/** As runs note datasets: MLflow's limit of 36 characters leaves room for so much. */
export function shortDigest(digest: string): string {
  return digest.slice('sha256:'.length, 'sha256:'.length + 32);
}

function notShared(name: string): RegistryError {
  return new RegistryError(
    'PERMISSION_DENIED',
    `dataset ${name} is not shared with you; ask its owner to add you to its readers`,
  );
}

/** Column after column, so that memory holds the statistics of one only. */
async function profileFile(path: string, { fields }: Schema): Promise<Profile> {
  const columns = [];
  for (const field of fields) {
    const profiler = new ColumnProfiler(field);
    for await (const cells of readParquetColumn(await openFile(path), field.name)) profiler.add(cells);
    columns.push(profiler.result());
  }
  return { rows: columns[0].count + columns[0].nulls, columns };
}
