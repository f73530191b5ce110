import { randomBytes, randomInt } from 'node:crypto';
import { type CommitContext, commit } from '../../registry/commit.ts';
import type { RegistryDatabase } from '../../registry/database/database.ts';
import { decodePageToken, encodePageToken, queryFingerprint } from '../../registry/search/page-token.ts';
import { createJobRun, experimentNamed } from '../../registry/tracking/job-runs.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { By, Jobs } from '../jobs/jobs.ts';
import { anyPoint } from './algorithms/space.ts';
import { SweepController } from './controller.ts';
import { readSweep } from './read.ts';
import { dimensionOf, type SweepDocument } from './spec.ts';
import { type SweepRow, SweepStore } from './store.ts';
import type { SweepQuery, Sweeps, SweepView } from './sweeps.ts';
import { trialJob } from './template.ts';
import { sweepView, trialView } from './view.ts';

const DEFAULT_PAGE = 100;
const MAX_PAGE = 1000;

export interface SweepParts {
  database: RegistryDatabase;
  /** For writes that webhooks hear of. */
  commits: CommitContext;
  jobs: Jobs;
  /** Whether this server moves the sweeps of the database. */
  leading(): boolean;
  now(): number;
  onError(error: unknown, sweep: string): void;
}

/** Opens the sweeps and goes on with those that are not over. */
export async function openSweeps(parts: SweepParts): Promise<Sweeps> {
  const store = new SweepStore(parts.database);
  const controller = new SweepController({ ...parts, store });
  const service = new SweepService(parts, store, controller);
  for (const { sweep_id } of await store.open()) await controller.follow(sweep_id);
  return service;
}

class SweepService implements Sweeps {
  private readonly parts: SweepParts;
  private readonly store: SweepStore;
  private readonly controller: SweepController;

  constructor(parts: SweepParts, store: SweepStore, controller: SweepController) {
    this.parts = parts;
    this.store = store;
    this.controller = controller;
  }

  async submit(value: unknown, { actor }: By): Promise<SweepView> {
    const given = readSweep(value);
    const key = given.spec.idempotencyKey ?? null;
    const known = key === null ? undefined : await this.store.byKey(key);
    if (known !== undefined) return this.view(known);
    const document = await this.checked(given, actor);
    const row = await this.keep(document, key, actor);
    // Somebody else was faster with the same key.
    if (row === undefined) return this.submit(value, { actor, reason: '' });
    await this.controller.follow(row.sweep_id);
    return this.view(row);
  }

  /** With the files of its sourceDir and its data as they are now, so that all trials get the same. A trial that no runner takes is refused here. */
  private async checked(document: SweepDocument, actor: string): Promise<SweepDocument> {
    const middle = anyPoint(document.spec.parameters.map(dimensionOf), () => 0.5);
    const trial = trialJob(document, { sweep_id: 'check', run_id: 'check' }, 0, middle);
    const { files, inputs: given } = (await this.parts.jobs.validate(trial, actor)).spec;
    const { inputs } = await this.parts.jobs.pinInputs(given, actor, (i) => `spec.trialTemplate.inputs.${i}`);
    const { sourceDir: _packed, ...template } = document.spec.trialTemplate;
    return { ...document, spec: { ...document.spec, trialTemplate: { ...template, files, inputs } } };
  }

  private async keep(document: SweepDocument, key: string | null, actor: string): Promise<SweepRow | undefined> {
    const { database, commits, now } = this.parts;
    const { metadata, spec } = document;
    const at = now();
    const id = randomBytes(10).toString('hex');
    const { settings } = spec.algorithm;
    const seed = ('seed' in settings ? settings.seed : undefined) ?? randomInt(2 ** 31 - 1);
    return commit(commits, async (db, _, note) => {
      const experiment = await experimentNamed(db, spec.trialTemplate.experiment ?? metadata.name, at);
      const run = {
        experiment_id: experiment,
        user_id: actor,
        start_time: at,
        name: metadata.name,
        tags: [{ key: 'switchyard.sweep', value: id }],
        params: [{ key: 'algorithm', value: spec.algorithm.name }],
      };
      const row: SweepRow = {
        sweep_id: id,
        name: metadata.name,
        document: JSON.stringify(document),
        status: 'running',
        outcome: '',
        reason: '',
        seed,
        run_id: '',
        experiment_id: experiment,
        idempotency_key: key,
        actor,
        created_at: at,
        ended_at: null,
      };
      if (!(await this.store.insert(db, row))) return undefined;
      row.run_id = await createJobRun(db, run, database.kind);
      await this.store.change(db, id, 'running', { run_id: row.run_id });
      note({ entity: 'sweep', action: 'created', data: { sweep_id: id, name: row.name, run_id: row.run_id } });
      return row;
    });
  }

  async get(id: string): Promise<SweepView | undefined> {
    const row = await this.store.get(id);
    return row === undefined ? undefined : this.view(row);
  }

  async list({ status, pageToken, maxResults }: SweepQuery): Promise<{ sweeps: SweepView[]; nextPageToken: string }> {
    const fingerprint = queryFingerprint(['sweeps', status ?? '']);
    const after = decodePageToken(pageToken, fingerprint, 2) as readonly [number, string] | undefined;
    const limit = pageSize(maxResults);
    const rows = await this.store.list(limit, status, after);
    const sweeps = await this.views(rows);
    const last = rows[limit - 1];
    const next = last === undefined ? '' : encodePageToken(fingerprint, [last.created_at, last.sweep_id]);
    return { sweeps, nextPageToken: next };
  }

  async trials(id: string, { pageToken, maxResults }: { pageToken?: string; maxResults?: number }) {
    if ((await this.store.get(id)) === undefined) return undefined;
    const fingerprint = queryFingerprint(['trials', id]);
    const [from] = (decodePageToken(pageToken, fingerprint, 1) as readonly [number] | undefined) ?? [0];
    const limit = pageSize(maxResults);
    const rows = await this.store.trials(id, from, limit);
    const next = rows.length < limit ? '' : encodePageToken(fingerprint, [from + limit]);
    return { trials: rows.map(trialView), nextPageToken: next };
  }

  async cancel(id: string, { actor, reason }: By): Promise<SweepView> {
    if ((await this.store.get(id)) === undefined)
      throw new SwitchyardError(
        'not_found',
        `no sweep ${JSON.stringify(id.slice(0, 100))}; list them at /api/v1/sweeps`,
      );
    const why = `cancelled by ${actor}${reason === '' ? '' : `: ${reason}`}`;
    await this.controller.end(id, { outcome: 'cancelled', reason: why });
    return (await this.get(id)) as SweepView;
  }

  close(): Promise<void> {
    return this.controller.close();
  }

  private async view(row: SweepRow): Promise<SweepView> {
    return (await this.views([row]))[0];
  }

  private async views(rows: readonly SweepRow[]): Promise<SweepView[]> {
    const counts = await this.store.counts(rows.map(({ sweep_id }) => sweep_id));
    return Promise.all(
      rows.map(async (row) => {
        const { objective } = (JSON.parse(row.document) as SweepDocument).spec;
        const best = await this.store.best(row.sweep_id, objective.type === 'minimize' ? 'asc' : 'desc');
        return sweepView(row, counts, best);
      }),
    );
  }
}

function pageSize(asked = DEFAULT_PAGE): number {
  return Math.max(1, Math.min(MAX_PAGE, asked));
}
