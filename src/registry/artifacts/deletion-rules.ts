import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { IMPORTS } from './path.ts';

/** In milliseconds since 1970. */
export interface Bounds {
  /** What came at it or later stays. */
  before: number;
  /** What was deleted at it or later stays, with all that belongs to it: it can be restored. */
  deletedBefore: number;
}

/**
 * What garbage collection removes for good: conditions on rows of `artifacts`, `logged_models`, `runs` and `experiments`.
 * What something that stays names, stays.
 */
type Rule = (bounds: Bounds) => RawBuilder<SqlBool>;

const IMPORTED_VERSION = `mlflow-artifacts:/${IMPORTS}`;
const IMPORT_ID_LENGTH = 36;
/** Where runs without an experiment go. */
const DEFAULT_EXPERIMENT = 0;

/**
 * Artifacts whose run or logged model is deleted, unless a registered version comes from there, and those of unused
 * imports. Versions of a bare artifact path name no owner; there are few, so their text is searched.
 */
export const artifactIsDoomed: Rule = (bounds) => sql`(((root_kind = 'run' AND root_id IN (
      SELECT r.run_id FROM runs r WHERE r.lifecycle_stage = 'deleted' AND r.deleted_time < ${bounds.deletedBefore}
    )) OR (root_kind = 'model' AND root_id IN (
      SELECT m.model_id FROM logged_models m WHERE ${modelIsDeleted('m', bounds)}
    )))
    AND root_id NOT IN (SELECT v.run_id FROM model_versions v)
    AND root_id NOT IN (SELECT v.model_id FROM model_versions v)
    AND NOT EXISTS (
      SELECT 1 FROM model_versions v
      WHERE v.run_id = '' AND v.model_id = '' AND v.storage_location LIKE '%/' || root_id || '/%'
    )
  OR ${isUnusedImport(bounds)})`;

/** An import lives as long as a version comes from it, and while its files are coming: the version is made after them. */
const isUnusedImport: Rule = ({ before }) => sql`(root_kind = 'import' AND created_time < ${before}
    AND root_id NOT IN (SELECT root_id FROM artifacts WHERE root_kind = 'import' AND created_time >= ${before})
    AND root_id NOT IN (
      SELECT substr(path, ${sql.lit(IMPORTS.length + 1)}, ${sql.lit(IMPORT_ID_LENGTH)}) FROM uploads
      WHERE path LIKE ${sql.lit(`${IMPORTS}%`)} AND touched_time >= ${before}
    )
    AND root_id NOT IN (
      SELECT substr(storage_location, ${sql.lit(IMPORTED_VERSION.length + 1)}, ${sql.lit(IMPORT_ID_LENGTH)})
      FROM model_versions WHERE storage_location LIKE ${sql.lit(`${IMPORTED_VERSION}%`)}
    ))`;

/** With its experiment a logged model is deleted without being marked. */
const modelIsDeleted = (table: string, { deletedBefore }: Bounds): RawBuilder<SqlBool> => sql`(
    (${sql.ref(`${table}.lifecycle_stage`)} = 'deleted' AND ${sql.ref(`${table}.last_update_time`)} < ${deletedBefore})
    OR ${sql.ref(`${table}.experiment_id`)} IN (
      SELECT e.experiment_id FROM experiments e WHERE e.lifecycle_stage = 'deleted' AND e.last_update_time < ${deletedBefore}
    ))`;

/** Its row stays as long as its artifacts do. */
export const loggedModelIsDoomed: Rule = (bounds) => sql`(${modelIsDeleted('logged_models', bounds)}
    AND logged_models.model_id NOT IN (SELECT model_id FROM model_versions)
    AND NOT EXISTS (
      SELECT 1 FROM artifacts
      WHERE root_kind = 'model' AND root_id = logged_models.model_id AND NOT ${artifactIsDoomed(bounds)}
    ))`;

/** Whoever made a run, and what came from it, hold it. */
export const runIsDoomed: Rule = (bounds) => sql`(runs.lifecycle_stage = 'deleted'
    AND runs.deleted_time IS NOT NULL AND runs.deleted_time < ${bounds.deletedBefore}
    AND runs.run_id NOT IN (SELECT run_id FROM model_versions)
    AND runs.run_id NOT IN (SELECT run_id FROM jobs)
    AND runs.run_id NOT IN (SELECT run_id FROM sweeps)
    AND runs.run_id NOT IN (SELECT run_id FROM sweep_trials WHERE run_id IS NOT NULL)
    AND runs.run_id NOT IN (SELECT tracking_run FROM pipeline_runs)
    AND runs.run_id NOT IN (SELECT tracking_run FROM pipeline_steps)
    AND runs.run_id NOT IN (SELECT tracking_run FROM evaluations)
    AND runs.run_id NOT IN (SELECT run_id FROM dataset_versions)
    AND NOT EXISTS (
      SELECT 1 FROM logged_models
      WHERE logged_models.source_run_id = runs.run_id AND NOT ${loggedModelIsDoomed(bounds)}
    )
    AND NOT EXISTS (
      SELECT 1 FROM artifacts WHERE root_kind = 'run' AND root_id = runs.run_id AND NOT ${artifactIsDoomed(bounds)}
    ))`;

/** Its runs and logged models hold an experiment, and so do jobs, sweeps and pipelines that ran in it. */
export const experimentIsDoomed: Rule = (bounds) => sql`(experiments.lifecycle_stage = 'deleted'
    AND experiments.last_update_time < ${bounds.deletedBefore}
    AND experiments.experiment_id <> ${sql.lit(DEFAULT_EXPERIMENT)}
    AND CAST(experiments.experiment_id AS TEXT) NOT IN (SELECT experiment_id FROM jobs)
    AND CAST(experiments.experiment_id AS TEXT) NOT IN (SELECT experiment_id FROM sweeps)
    AND CAST(experiments.experiment_id AS TEXT) NOT IN (SELECT experiment_id FROM pipeline_runs)
    AND NOT EXISTS (
      SELECT 1 FROM runs WHERE runs.experiment_id = experiments.experiment_id AND NOT ${runIsDoomed(bounds)}
    )
    AND NOT EXISTS (
      SELECT 1 FROM logged_models
      WHERE logged_models.experiment_id = experiments.experiment_id AND NOT ${loggedModelIsDoomed(bounds)}
    ))`;
