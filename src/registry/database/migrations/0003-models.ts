import type { MigrationStatements } from '../migrations.ts';

/**
 * Registered models, their versions and aliases, what was decided about them, webhooks, and what gateways serve. Rows
 * point at a model by a number, so that renaming is one row; moves of aliases and what gateways served outlive it.
 */
export const models: MigrationStatements = ({ int64, text, serial, clustered }) => [
  `CREATE TABLE registered_models (
    model_key ${serial},
    name ${text} NOT NULL UNIQUE,
    description ${text} NOT NULL,
    creation_time ${int64} NOT NULL,
    last_updated_time ${int64} NOT NULL,
    next_version ${int64} NOT NULL
  )`,
  'CREATE INDEX registered_models_by_update ON registered_models (last_updated_time, name)',
  `CREATE TABLE registered_model_tags (
    model_key ${int64} NOT NULL, key ${text} NOT NULL, value ${text} NOT NULL,
    PRIMARY KEY (model_key, key)
  ) ${clustered}`,
  'CREATE INDEX registered_model_tags_by_key ON registered_model_tags (key, substr(value, 1, 100), model_key)',

  `CREATE TABLE model_versions (
    model_key ${int64} NOT NULL, version ${int64} NOT NULL,
    creation_time ${int64} NOT NULL, last_updated_time ${int64} NOT NULL,
    description ${text} NOT NULL, user_id ${text} NOT NULL, stage ${text} NOT NULL,
    source ${text} NOT NULL, storage_location ${text} NOT NULL,
    run_id ${text} NOT NULL, run_link ${text} NOT NULL, model_id ${text} NOT NULL,
    approval ${text} NOT NULL,
    PRIMARY KEY (model_key, version)
  ) ${clustered}`,
  'CREATE INDEX model_versions_by_update ON model_versions (last_updated_time, model_key, version)',
  'CREATE INDEX model_versions_by_run ON model_versions (run_id)',
  'CREATE INDEX model_versions_by_logged_model ON model_versions (model_id)',
  `CREATE TABLE model_version_tags (
    model_key ${int64} NOT NULL, version ${int64} NOT NULL, key ${text} NOT NULL, value ${text} NOT NULL,
    PRIMARY KEY (model_key, version, key)
  ) ${clustered}`,
  'CREATE INDEX model_version_tags_by_key ON model_version_tags (key, substr(value, 1, 100), model_key, version)',

  `CREATE TABLE model_aliases (
    model_key ${int64} NOT NULL, alias ${text} NOT NULL, version ${int64} NOT NULL,
    PRIMARY KEY (model_key, alias)
  ) ${clustered}`,
  'CREATE INDEX model_aliases_by_alias ON model_aliases (alias, model_key)',
  `CREATE TABLE alias_moves (
    move_key ${serial},
    model_key ${int64} NOT NULL, name ${text} NOT NULL, alias ${text} NOT NULL,
    version ${int64}, previous ${int64},
    at ${int64} NOT NULL, actor ${text} NOT NULL, reason ${text} NOT NULL
  )`,
  'CREATE INDEX alias_moves_by_time ON alias_moves (model_key, alias, at, move_key)',
  'CREATE INDEX alias_moves_by_name ON alias_moves (name)',

  `CREATE TABLE version_approvals (
    approval_key ${serial},
    model_key ${int64} NOT NULL, version ${int64} NOT NULL,
    state ${text} NOT NULL, at ${int64} NOT NULL, actor ${text} NOT NULL, reason ${text} NOT NULL
  )`,
  'CREATE INDEX version_approvals_by_version ON version_approvals (model_key, version, at)',
  `CREATE TABLE version_evidence (
    evidence_key ${serial},
    model_key ${int64} NOT NULL, version ${int64} NOT NULL,
    kind ${text} NOT NULL, outcome ${text} NOT NULL, detail ${text} NOT NULL,
    at ${int64} NOT NULL, actor ${text} NOT NULL
  )`,
  'CREATE INDEX version_evidence_by_version ON version_evidence (model_key, version, at)',

  `CREATE TABLE webhooks (
    webhook_id ${text} NOT NULL PRIMARY KEY,
    name ${text} NOT NULL, description ${text} NOT NULL, url ${text} NOT NULL, secret ${text} NOT NULL,
    status ${text} NOT NULL, creation_time ${int64} NOT NULL, last_updated_time ${int64} NOT NULL
  )`,
  `CREATE TABLE webhook_events (
    webhook_id ${text} NOT NULL, event ${text} NOT NULL,
    PRIMARY KEY (webhook_id, event)
  ) ${clustered}`,
  `CREATE TABLE webhook_deliveries (
    delivery_key ${serial},
    delivery_id ${text} NOT NULL, webhook_id ${text} NOT NULL, event ${text} NOT NULL, body ${text} NOT NULL,
    at ${int64} NOT NULL, tries ${int64} NOT NULL, due ${int64} NOT NULL,
    state ${text} NOT NULL, status ${int64} NOT NULL, error ${text} NOT NULL
  )`,
  'CREATE INDEX webhook_deliveries_by_due ON webhook_deliveries (state, due)',
  'CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id, delivery_key)',

  `CREATE TABLE gateways (
    gateway_id ${text} NOT NULL PRIMARY KEY,
    host ${text} NOT NULL, program_version ${text} NOT NULL,
    started_at ${int64} NOT NULL, first_seen ${int64} NOT NULL, last_seen ${int64} NOT NULL
  )`,
  `CREATE TABLE gateway_models (
    row_key ${serial},
    gateway_id ${text} NOT NULL, served ${text} NOT NULL, model_key ${int64} NOT NULL, version ${int64} NOT NULL,
    alias ${text} NOT NULL, digest ${text} NOT NULL, state ${text} NOT NULL, problem ${text} NOT NULL,
    since ${int64} NOT NULL, until ${int64}
  )`,
  'CREATE INDEX gateway_models_by_gateway ON gateway_models (gateway_id, until)',
  'CREATE INDEX gateway_models_by_model ON gateway_models (model_key, since)',
];
