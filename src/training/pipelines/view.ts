import type { Artifact } from './artifacts.ts';
import { artifactDigest } from './artifacts.ts';
import type { PipelineDocument } from './document.ts';
import { neededBy } from './graph.ts';
import type { RunRow, RunSummary, StepOutputs, StepRow } from './store.ts';

export interface StepView {
  name: string;
  kind: string;
  status: string;
  reason: string;
  needs: string[];
  job_id: string | null;
  /** The run of the registry that has its params, metrics and files. */
  run_id: string | null;
  skipped_from: string | null;
  started_at: number | null;
  ended_at: number | null;
  /** Of a job under way that tells: 0 to 1. */
  progress?: number;
  outputs: Record<string, { digest: string; files: number; bytes: number; rows?: number }>;
  values: Record<string, unknown>;
}

export interface RunView {
  id: string;
  pipeline: string;
  environment: string;
  status: string;
  reason: string;
  parameters: Record<string, unknown>;
  actor: string;
  cause: string;
  trigger: string | null;
  run_id: string;
  experiment_id: string;
  created_at: number;
  ended_at: number | null;
}

export interface FullRunView extends RunView {
  steps: StepView[];
  /** What to do when it is not well; absent: nothing. */
  next_step?: string;
}

export function runView(row: RunSummary): RunView {
  return {
    id: row.id,
    pipeline: row.pipeline,
    environment: row.environment,
    status: row.status === 'running' && row.cancelled_by !== '' ? 'cancelling' : row.status,
    reason: row.reason,
    parameters: JSON.parse(row.parameters),
    actor: row.actor,
    cause: row.cause,
    trigger: row.trigger_name || null,
    run_id: row.tracking_run,
    experiment_id: row.experiment_id,
    created_at: row.created_at,
    ended_at: row.ended_at,
  };
}

export function fullView(row: RunRow, steps: readonly StepRow[]): FullRunView {
  const document = JSON.parse(row.document) as PipelineDocument;
  const byName = new Map(steps.map((step) => [step.step, step]));
  const view: FullRunView = {
    ...runView(row),
    steps: document.spec.steps.flatMap((step) => {
      const found = byName.get(step.name);
      return found === undefined ? [] : [stepView(found, neededBy(step))];
    }),
  };
  if (row.status === 'failed' || row.status === 'held' || row.status === 'cancelled')
    view.next_step = `mend what the reason names and go on with "switchyard pipelines resume ${row.id}"; steps that are done are not done again`;
  return view;
}

function stepView(row: StepRow, needs: string[]): StepView {
  const { artifacts, values } = JSON.parse(row.outputs) as StepOutputs;
  return {
    name: row.step,
    kind: row.kind,
    status: row.status,
    reason: row.reason,
    needs,
    job_id: row.job_id || null,
    run_id: row.tracking_run || null,
    skipped_from: row.skipped_from || null,
    started_at: row.started_at,
    ended_at: row.ended_at,
    outputs: Object.fromEntries(Object.entries(artifacts).map(([name, artifact]) => [name, shownArtifact(artifact)])),
    values,
  };
}

function shownArtifact(artifact: Artifact): StepView['outputs'][string] {
  const bytes = artifact.files.reduce((sum, { size }) => sum + size, 0);
  return {
    digest: artifactDigest(artifact),
    files: artifact.files.length,
    bytes,
    ...(artifact.rows === undefined ? {} : { rows: artifact.rows }),
  };
}
