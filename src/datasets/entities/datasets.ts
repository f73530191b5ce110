import { buffer } from 'node:stream/consumers';
import type { Digest } from '../../registry/blobs/digest.ts';
import { doesNotExist, RegistryError, shown } from '../../registry/errors.ts';
import { versionsFrom } from '../../registry/models/lineage.ts';
import type { Registry } from '../../registry/registry.ts';
import { type Batch, type Cell, collect, type Schema, type Source } from '../batch.ts';
import { type ParquetSource, type RandomAccess, readParquet } from '../formats/parquet.ts';
import type { Profile } from '../profile.ts';
import { type Caller, checkReaders, checkTags, type DatasetVersion, mayRead, type NewDataset } from './dataset.ts';
import {
  childrenOf,
  type FullRow,
  findVersion,
  profileOf,
  type SearchRequest,
  searchVersions,
  views,
} from './store.ts';
import { type Rejects, VersionMaker } from './version-maker.ts';

type Parts = Pick<Registry, 'commits' | 'database' | 'storage'>;

/**
 * Datasets: named, versioned, never changed. A version is Parquet in the blob store, known by its digest, with schema and
 * statistics in the database. The same rows again are the version that exists.
 */
export class Datasets {
  private readonly parts: Parts;
  private readonly maker: VersionMaker;

  constructor(parts: Parts) {
    this.parts = parts;
    this.maker = new VersionMaker(parts);
  }

  /**
   * Reads all of a source into a new version. Resolves when it is durable. Rejects with the source's errors, with
   * invalid_argument for what `facts` may not be, and with permission_denied for a name of somebody else's.
   */
  async create(facts: NewDataset, source: Source, by: Caller, rejects?: Rejects): Promise<DatasetVersion> {
    const row = await this.maker.make(facts, source, by, rejects);
    return this.parts.database.read(async (db) => (await views(db, [row]))[0]);
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

  /** Throws not_found where the version has no such tag. */
  async removeTag(name: string, version: number, key: string, by: Caller): Promise<void> {
    const { version_key } = await this.row(name, version, by);
    await this.parts.database.write(async (db) => {
      const { numDeletedRows } = await db
        .deleteFrom('dataset_tags')
        .where('version_key', '=', version_key)
        .where('key', '=', key)
        .executeTakeFirst();
      if (Number(numDeletedRows) === 0)
        throw doesNotExist(`version ${version} of dataset ${name} has no tag ${shown(key)}`);
    });
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

function notShared(name: string): RegistryError {
  return new RegistryError(
    'PERMISSION_DENIED',
    `dataset ${name} is not shared with you; ask its owner to add you to its readers`,
  );
}
