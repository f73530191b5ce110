import type { Generated } from 'kysely';

interface Keyed {
  key: string;
  value: string;
}

export type Stage = 'None' | 'Staging' | 'Production' | 'Archived';
export type ApprovalState = 'Pending' | 'Approved' | 'Rejected';

/** See migrations/0003-models.ts. */
export interface ModelTables {
  registered_models: {
    model_key: Generated<number>;
    name: string;
    description: string;
    creation_time: number;
    last_updated_time: number;
    /** Of the next version: numbers are never given twice, also after deletions. */
    next_version: number;
  };
  /** See migrations/0018-left-model-names.ts. */
  left_model_names: {
    name: string;
    /** Of a model that gets the name. */
    next_version: number;
  };
  registered_model_tags: Keyed & { model_key: number };
  model_versions: {
    model_key: number;
    version: number;
    creation_time: number;
    last_updated_time: number;
    description: string;
    user_id: string;
    stage: Stage;
    source: string;
    /** Where the files are: mlflow-artifacts:/…; '' for prompts. */
    storage_location: string;
    run_id: string;
    run_link: string;
    model_id: string;
    /** '' = nobody has asked. */
    approval: ApprovalState | '';
  };
  model_version_tags: Keyed & { model_key: number; version: number };
  /** See migrations/0004-version-files.ts. */
  model_version_files: {
    model_key: number;
    version: number;
    /** Relative to the version's root. */
    path: string;
    digest: string;
    size: number;
    media_type: string;
  };
  /** See migrations/0019-version-signatures.ts. */
  model_version_signatures: {
    model_key: number;
    version: number;
    key_id: string;
    /** Base64, over the canonical manifest as it was then. */
    signature: string;
  };
  model_aliases: { model_key: number; alias: string; version: number };
  alias_moves: {
    move_key: Generated<number>;
    model_key: number;
    /** Of the model when it happened. */
    name: string;
    alias: string;
    /** Null: the alias was removed. */
    version: number | null;
    previous: number | null;
    at: number;
    actor: string;
    reason: string;
  };
  /** See migrations/0024-stage-moves.ts. */
  stage_moves: {
    move_key: Generated<number>;
    model_key: number;
    version: number;
    stage: Stage;
    previous: Stage;
    at: number;
    actor: string;
  };
  version_approvals: {
    approval_key: Generated<number>;
    model_key: number;
    version: number;
    state: ApprovalState;
    at: number;
    actor: string;
    reason: string;
  };
  version_evidence: {
    evidence_key: Generated<number>;
    model_key: number;
    version: number;
    kind: string;
    outcome: 'pass' | 'hold' | 'fail';
    /** JSON. */
    detail: string;
    at: number;
    actor: string;
  };
}

export interface WebhookTables {
  webhooks: {
    webhook_id: string;
    name: string;
    description: string;
    url: string;
    /** '' = deliveries are not signed. */
    secret: string;
    status: 'ACTIVE' | 'DISABLED';
    creation_time: number;
    last_updated_time: number;
  };
  webhook_events: { webhook_id: string; event: string };
  webhook_deliveries: {
    delivery_key: Generated<number>;
    delivery_id: string;
    webhook_id: string;
    event: string;
    body: string;
    at: number;
    tries: number;
    /** Not tried, nor taken by another process, before. */
    due: number;
    state: 'pending' | 'delivered' | 'failed';
    status: number;
    error: string;
  };
}

export interface GatewayTables {
  /** See migrations/0013-version-traffic.ts. */
  version_routes: {
    model_key: number;
    version: number;
    gateway_id: string;
    route: string;
    variant: string;
    first_at: number;
    last_at: number;
  };
  version_decisions: {
    model_key: number;
    version: number;
    gateway_id: string;
    /** When the gateway's process began: its counts start anew with it. */
    started_at: number;
    route: string;
    variant: string;
    role: string;
    requests: number;
    errors: number;
    first_at: number;
    last_at: number;
  };
  gateways: {
    gateway_id: string;
    host: string;
    program_version: string;
    started_at: number;
    first_seen: number;
    last_seen: number;
  };
  gateway_models: {
    row_key: Generated<number>;
    gateway_id: string;
    /** Name it is served under. */
    served: string;
    model_key: number;
    version: number;
    alias: string;
    digest: string;
    state: string;
    problem: string;
    since: number;
    /** Null: now. */
    until: number | null;
  };
}
