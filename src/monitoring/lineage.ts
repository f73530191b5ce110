import type { RegistryCalls } from '../training/pipelines/tracking.ts';
import type { FullRunView } from '../training/pipelines/view.ts';
import type { JudgedWindowStore } from './judged-window-store.ts';
import type { RolloutFacts } from './retrainer.ts';
import type { RetrainingRow } from './retraining-store.ts';
import type { DatasetPlace } from './types.ts';

/** One retraining as one line of descent: requests → windows → rows → run and jobs → version → promotion. */
export interface Lineage {
  key: number;
  id: string;
  monitor: string;
  model: string;
  cause: string;
  reason: string;
  status: string;
  outcome: string;
  created_at: number;
  ended_at: number | null;
  /** The windows that were the reason, of the version that was left. */
  from_version: string;
  windows: {
    window: number;
    kind: string;
    state: string;
    reason: string;
    from: number;
    to: number;
    first_request: string;
    last_request: string;
  }[];
  /** What was learnt from. `dataset` null: of a time before it was kept as one. */
  data: {
    rows: number;
    sha256: string;
    file: string;
    first_request: string;
    last_request: string;
    dataset: DatasetPlace | null;
  } | null;
  pipeline_run: string;
  steps: { name: string; kind: string; status: string; reason: string; job: string | null; run: string | null }[];
  version: string;
  rollout: RolloutFacts | null;
  /** What gates found out about the version, newest first. */
  evidence: { kind: string; outcome: string; at: number; actor: string; detail: unknown }[];
  promotion: { alias: string; at: number; actor: string; reason: string; previous: string | null } | null;
}

export interface LineageSources {
  pipelines: { getRun(id: string): Promise<FullRunView> };
  rollout(model: string, version: string): RolloutFacts | undefined;
}

/**
 * Puts together what is kept in several places. What is gone from one of them is left out.
 * @param alias with which its version counts as promoted
 */
export async function lineageOf(
  row: RetrainingRow,
  alias: string,
  judged: JudgedWindowStore,
  calls: RegistryCalls,
  { pipelines, rollout }: LineageSources,
): Promise<Lineage> {
  const from = row.changedAt === 0 ? row.createdAt : row.changedAt;
  const [windows, run, promotion, evidence] = await Promise.all([
    judged.between(row.monitor, row.fromVersion, from, row.createdAt),
    pipelines.getRun(row.pipelineRun).catch(() => undefined),
    promotionOf(calls, row, alias),
    evidenceOf(calls, row),
  ]);
  const { dataset } = row;
  return {
    key: row.key,
    id: row.id,
    monitor: row.monitor,
    model: row.model,
    cause: row.cause,
    reason: row.reason,
    status: row.status,
    outcome: row.outcome,
    created_at: row.createdAt,
    ended_at: row.endedAt,
    from_version: row.fromVersion,
    windows: windows
      .filter(({ state }) => state === 'drifted' || state === 'bad')
      .map((window) => ({
        window: window.key,
        kind: window.kind,
        state: window.state,
        reason: window.reason,
        from: window.from,
        to: window.to,
        first_request: window.firstId,
        last_request: window.lastId,
      })),
    data:
      dataset === null
        ? null
        : {
            rows: dataset.rows,
            sha256: dataset.sha256,
            file: dataset.file,
            first_request: dataset.firstId,
            last_request: dataset.lastId,
            dataset: placeOf(dataset),
          },
    pipeline_run: row.pipelineRun,
    steps: (run?.steps ?? []).map(({ name, kind, status, reason, job_id, run_id }) => ({
      name,
      kind,
      status,
      reason,
      job: job_id,
      run: run_id,
    })),
    version: row.version,
    rollout: row.version === '' ? null : (rollout(row.model, row.version) ?? null),
    evidence,
    promotion,
  };
}

function placeOf({ name, version }: Partial<DatasetPlace>): DatasetPlace | null {
  return name === undefined || version === undefined ? null : { name, version };
}

async function promotionOf(
  calls: RegistryCalls,
  { model, version, createdAt }: RetrainingRow,
  alias: string,
): Promise<Lineage['promotion']> {
  if (version === '') return null;
  const history = await calls.find('registryAliasHistory', { name: model, alias, limit: 100 });
  const moves = (history?.moves ?? []) as {
    version: string | null;
    previous: string | null;
    at: number;
    actor: string;
    reason: string;
  }[];
  const move = moves.findLast((one) => one.version === version && one.at >= createdAt);
  return move === undefined
    ? null
    : { alias, at: move.at, actor: move.actor, reason: move.reason, previous: move.previous };
}

async function evidenceOf(calls: RegistryCalls, { model, version }: RetrainingRow): Promise<Lineage['evidence']> {
  if (version === '') return [];
  const found = await calls.find('registryListEvidence', { name: model, version, limit: 100 });
  return found?.evidence ?? [];
}
