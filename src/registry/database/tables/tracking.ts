import type { Generated } from 'kysely';

export type LifecycleStage = 'active' | 'deleted';
export type RunStatus = 'RUNNING' | 'SCHEDULED' | 'FINISHED' | 'FAILED' | 'KILLED';

interface Keyed {
  key: string;
  value: string;
}

interface RunValue extends Keyed {
  run_key: number;
  experiment_id: number;
  /** As an answer shows it. */
  json: string;
}

interface MetricPoint {
  key: string;
  /** 0 where `is_nan` is 1: SQLite has no NaN. */
  value: number;
  is_nan: number;
  timestamp: number;
  step: number;
}

/** See migrations/0001-tracking.ts. */
export interface TrackingTables {
  experiments: {
    experiment_id: Generated<number>;
    name: string;
    artifact_location: string;
    lifecycle_stage: LifecycleStage;
    creation_time: number;
    last_update_time: number;
  };
  experiment_tags: Keyed & { experiment_id: number };
  runs: {
    run_key: Generated<number>;
    run_id: string;
    experiment_id: number;
    run_name: string;
    user_id: string;
    status: RunStatus;
    lifecycle_stage: LifecycleStage;
    start_time: number;
    end_time: number | null;
    deleted_time: number | null;
    artifact_uri: string;
  };
  /** See migrations/0023-collected-runs.ts. */
  collected_runs: { run_key: number };
  /** See migrations/0025-names-by-tag.ts. */
  runs_without_name_tag: { run_key: number; experiment_id: number };
  params: RunValue;
  tags: RunValue;
  metrics: MetricPoint & { run_key: number };
  /** See migrations/0020-metric-backlog.ts. */
  metric_backlog: { batch_key: Generated<number>; run_key: number; experiment_id: number; points: string };
  latest_metrics: MetricPoint & { run_key: number; experiment_id: number; json: string };
  datasets: {
    dataset_key: Generated<number>;
    experiment_id: number;
    name: string;
    digest: string;
    source_type: string;
    source: string;
    schema: string | null;
    profile: string | null;
  };
  run_datasets: {
    run_key: number;
    dataset_key: number;
    /** JSON, a list of key and value. */
    tags: string;
    /** Of the tag mlflow.data.context; '' = none. */
    context: string;
  };
  run_models: { run_key: number; direction: 'input' | 'output'; model_id: string; step: number };
  logged_models: {
    model_key: Generated<number>;
    model_id: string;
    experiment_id: number;
    name: string;
    artifact_uri: string;
    model_type: string;
    source_run_id: string;
    status: string;
    status_message: string;
    lifecycle_stage: LifecycleStage;
    creation_time: number;
    last_update_time: number;
  };
  logged_model_params: Keyed & { model_key: number };
  logged_model_tags: Keyed & { model_key: number };
  logged_model_metrics: MetricPoint & {
    model_key: number;
    run_id: string;
    dataset_name: string;
    dataset_digest: string;
  };
}
