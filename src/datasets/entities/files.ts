import { LRUCache } from 'lru-cache';
import type { Digest } from '../../registry/blobs/digest.ts';
import type { BlobVault } from '../../registry/blobs/vault.ts';
import { doesNotExist } from '../../registry/errors.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Source } from '../batch.ts';
import { encode, type Format } from '../formats/formats.ts';
import type { DatasetVersion } from './dataset.ts';
import type { Datasets } from './datasets.ts';

/** Rows as one file in the blob store. It is collected as garbage unless it is named soon. */
export interface RowsFile {
  digest: Digest;
  size: number;
  rows: number;
}

/** Who has the permissions of every training job. */
const JOBS = 'job ';
const REMEMBERED = 1000;

/** Versions of datasets, and other rows, as files for training jobs. */
export class DatasetFiles {
  private readonly datasets: Datasets;
  private readonly vault: BlobVault;
  /** What versions became in other formats, by digest and format. */
  private readonly encoded = new LRUCache<string, RowsFile>({ max: REMEMBERED });

  constructor(datasets: Datasets, vault: BlobVault) {
    this.datasets = datasets;
    this.vault = vault;
  }

  /**
   * A version (undefined: the latest) in a format, if `actor` or training jobs may read it. Rejects with not_found telling
   * what there is, or permission_denied.
   */
  async version(
    name: string,
    version: number | undefined,
    format: Format,
    actor: string,
  ): Promise<RowsFile & { version: number; datasetDigest: string }> {
    const found = await this.find(name, version, actor);
    const facts = { version: found.version, datasetDigest: found.digest };
    if (format === 'parquet') return { digest: found.digest as Digest, size: found.size, rows: found.rows, ...facts };
    const key = `${found.digest} ${format}`;
    const known = this.encoded.get(key);
    if (known !== undefined && (await this.vault.claimStored(known.digest, known.size))) return { ...known, ...facts };
    const file = await this.keep(await this.datasets.open(name, found.version, { actor: found.owner }), format);
    this.encoded.set(key, file);
    return { ...file, ...facts };
  }

  private async find(name: string, version: number | undefined, actor: string): Promise<DatasetVersion> {
    try {
      return await this.datasets.get(name, version, { actor });
    } catch (error) {
      if (!(error instanceof SwitchyardError)) throw error;
      // What is shared with jobs may be a job's input, whoever submits it.
      if (error.code === 'permission_denied') return this.datasets.get(name, version, { actor: JOBS });
      if (error.code !== 'not_found' || version === undefined) throw error;
      const latest = await this.datasets.get(name, undefined, { actor });
      throw doesNotExist(
        `dataset ${name} has no version ${version}; its latest is ${latest.version}, list them at /api/v1/datasets/${name}/versions`,
      );
    }
  }

  /** Writes rows as a file. */
  async keep(source: Source, format: Format): Promise<RowsFile> {
    let rows = 0;
    const counted: Source = {
      schema: source.schema,
      async *batches() {
        for await (const batch of source.batches()) {
          rows += batch.rows;
          yield batch;
        }
      },
    };
    const file = await this.vault.staging.create();
    try {
      for await (const chunk of encode(format, counted)) await file.write(chunk);
      const staged = await file.finish();
      await this.vault.keep(staged);
      return { digest: staged.digest, size: staged.size, rows };
    } catch (error) {
      await file.discard();
      throw error;
    }
  }
}
