import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { Digest } from '../../registry/blobs/digest.ts';
import type { StagedBlob } from '../../registry/blobs/staged-file.ts';
import { commit } from '../../registry/commit.ts';
import type { Db } from '../../registry/database/database.ts';
import { RegistryError } from '../../registry/errors.ts';
import type { Registry } from '../../registry/registry.ts';
import type { Schema, Source } from '../batch.ts';
import { openFile, readParquetColumn, writeParquet } from '../formats/parquet.ts';
import { ColumnProfiler, type Profile } from '../profile.ts';
import { type Caller, checkName, checkReaders, checkTags, type NewDataset } from './dataset.ts';
import { type FullRow, findVersion } from './store.ts';

type Parts = Pick<Registry, 'commits' | 'storage'>;

/** A file of rejects, which is taken over. */
export interface Rejects {
  readonly count: number;
  readonly path: string;
  close(): Promise<void>;
}

/**
 * Makes versions of datasets: bytes first, to the blob store, then, in one write, the row that names them. So a version that
 * is there is whole, and what no row names is garbage that is collected.
 */
export class VersionMaker {
  private readonly parts: Parts;

  constructor(parts: Parts) {
    this.parts = parts;
  }

  /** As Datasets.create. */
  async make(facts: NewDataset, source: Source, by: Caller, rejects: Rejects | undefined): Promise<FullRow> {
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
    return this.name(facts, { staged, schema: source.schema, profile, rejects, rejected }, by);
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
}

/** As runs note datasets: MLflow's limit of 36 characters leaves room for so much. */
function shortDigest(digest: string): string {
  return digest.slice('sha256:'.length, 'sha256:'.length + 32);
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
