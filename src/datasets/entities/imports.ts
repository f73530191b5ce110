import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import { type Connectors, originOf } from '../connectors/connectors.ts';
import type { DatasetJoin, SourceSpec } from '../connectors/spec.ts';
import { type Progress, RejectFile } from '../reading.ts';
import { type Caller, checkName, type DatasetVersion, type NewDataset } from './dataset.ts';
import type { Datasets } from './datasets.ts';
import { joinDatasets } from './joins.ts';

export interface ImportView extends Progress {
  id: string;
  name: string;
  status: 'running' | 'succeeded' | 'failed';
  rejects: number;
  /** Why it failed; '' else. */
  error: string;
  /** The version it made; 0 before. */
  version: number;
  actor: string;
  /** Milliseconds since 1970. */
  startedAt: number;
  endedAt: number | null;
}

const MAX_REMEMBERED = 1000;
const MAX_RUNNING = 4;

/** Imports that run in the background, with their progress. They are remembered as long as the process lives. */
export class Imports {
  private readonly datasets: Datasets;
  private readonly connectors: Connectors;
  private readonly imports = new Map<string, ImportView>();

  constructor(datasets: Datasets, connectors: Connectors) {
    this.datasets = datasets;
    this.connectors = connectors;
  }

  /** Begins one. Throws overloaded while as many run as may. */
  start(
    facts: Omit<NewDataset, 'origin'>,
    spec: SourceSpec,
    joins: readonly DatasetJoin[],
    maxRejects: number,
    by: Caller,
  ): ImportView {
    checkName(facts.name);
    if ([...this.imports.values()].filter(({ status }) => status === 'running').length >= MAX_RUNNING)
      throw new SwitchyardError('overloaded', `${MAX_RUNNING} imports are running; wait for one to end`, {
        retryAfterMs: 5000,
      });
    const view: ImportView = {
      id: randomBytes(10).toString('hex'),
      name: facts.name,
      status: 'running',
      rows: 0,
      bytes: 0,
      totalBytes: undefined,
      rejects: 0,
      error: '',
      version: 0,
      actor: by.actor,
      startedAt: Date.now(),
      endedAt: null,
    };
    this.imports.set(view.id, view);
    for (const [id, { status }] of this.imports) {
      if (this.imports.size <= MAX_REMEMBERED) break;
      if (status !== 'running') this.imports.delete(id);
    }
    void this.run(view, facts, spec, joins, maxRejects, by);
    return view;
  }

  /** Throws not_found. */
  get(id: string): ImportView {
    const view = this.imports.get(id);
    if (view !== undefined) return view;
    throw new SwitchyardError(
      'not_found',
      `no import ${JSON.stringify(id.slice(0, 100))}; a restart forgets them, and the datasets they made are there`,
    );
  }

  /** The newest first. */
  list(): ImportView[] {
    return [...this.imports.values()].reverse();
  }

  /** Never rejects. */
  private async run(
    view: ImportView,
    facts: Omit<NewDataset, 'origin'>,
    spec: SourceSpec,
    joins: readonly DatasetJoin[],
    maxRejects: number,
    by: Caller,
  ): Promise<void> {
    try {
      const { version } = await this.read(
        { ...facts, origin: originOf(spec) },
        spec,
        joins,
        maxRejects,
        by,
        (progress) => Object.assign(view, progress),
      );
      Object.assign(view, { status: 'succeeded', version: version.version, rejects: version.rejects });
    } catch (error) {
      Object.assign(view, { status: 'failed', error: toSwitchyardError(error).message });
    } finally {
      view.endedAt = Date.now();
    }
  }

  private async read(
    facts: NewDataset,
    spec: SourceSpec,
    joins: readonly DatasetJoin[],
    maxRejects: number,
    by: Caller,
    onProgress: (progress: Progress & { rejects: number }) => void,
  ): Promise<{ version: DatasetVersion }> {
    const folder = await mkdtemp(join(tmpdir(), 'switchyard-import-'));
    const rejects = new RejectFile(join(folder, 'rejects.jsonl'), maxRejects);
    try {
      const source = await this.connectors.open(spec, {
        ...(maxRejects > 0 ? { rejects } : {}),
        onProgress: (progress) => onProgress({ ...progress, rejects: rejects.count }),
      });
      const { joined, parents } = await joinDatasets(this.datasets, source, joins, by);
      const version = await this.datasets.create({ ...facts, parents }, joined, by, rejects);
      return { version };
    } finally {
      await rejects.close().catch(() => {});
      await rm(folder, { recursive: true, force: true });
    }
  }
}
