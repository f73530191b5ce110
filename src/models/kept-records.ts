import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { toSwitchyardError } from '../shared/errors.ts';
import type { Log } from './reconciler.ts';
import { DigestCache } from './repository/digest.ts';
import { type JsonTable, type Quarantined, quarantineTable, unprovenTable, verdictTable } from './verdicts.ts';

/**
 * What is known of versions beyond the process's end, in the data folder. A full disk costs work at the next start, never
 * a model that could be served: what cannot be written is told and goes on being known here.
 */
export class KeptRecords {
  readonly quarantine: JsonTable<Quarantined>;
  readonly verdicts: ReturnType<typeof verdictTable>;
  readonly unproven: ReturnType<typeof unprovenTable>;
  readonly digests: DigestCache;
  private readonly dataDir: string;
  private readonly log: Log;

  constructor(dataDir: string, log: Log) {
    this.dataDir = dataDir;
    this.log = log;
    this.quarantine = quarantineTable(dataDir);
    this.verdicts = verdictTable(dataDir);
    this.unproven = unprovenTable(dataDir);
    this.digests = new DigestCache(join(dataDir, 'digests.json'));
  }

  async load(): Promise<void> {
    await Promise.all([this.quarantine.load(), this.verdicts.load(), this.unproven.load(), this.digests.load()]);
    const stale = join(this.dataDir, 'overrides');
    await this.written('removing files of old load requests', rm(stale, { recursive: true, force: true }));
  }

  async persist(): Promise<void> {
    await this.written('keeping digests', this.digests.save());
    await this.written('keeping preflight verdicts', this.verdicts.flush());
  }

  /** To be called before a version is loaded without a proof: it may end the process. */
  async noteUnproven(key: string, model: string, version: string): Promise<void> {
    if (this.unproven.get(key) !== undefined) return;
    await this.written(
      'noting a version without preflight',
      this.unproven.set(key, { model, version, loadedAt: Date.now() }),
    );
  }

  async quarantineVersion(key: string, row: Quarantined): Promise<void> {
    await this.written('keeping the quarantine', this.quarantine.set(key, row));
  }

  /** Versions of a model that were in quarantine may be tried again. */
  async release(model: string): Promise<void> {
    const rows = [...this.quarantine.entries()].filter(([, row]) => row.model === model);
    await this.written('keeping the quarantine', this.quarantine.delete(rows.map(([key]) => key)));
  }

  private async written(what: string, write: Promise<void>): Promise<void> {
    try {
      await write;
    } catch (error) {
      this.log('warn', `${what} failed on disk: ${toSwitchyardError(error).message}`, {});
    }
  }
}
