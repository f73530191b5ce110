import type { GatewayClaims } from '../../shared/gateway-claims.ts';
import type { RunClaims } from '../../shared/run-token.ts';
import { checkArtifactPath, pathOfUri, rootOf } from '../artifacts/path.ts';
import type { Db, RegistryDatabase } from '../database/database.ts';
import { RegistryError, shown } from '../errors.ts';
import { checkGatewayCall } from './gateway-scope.ts';
import type { RestRoute } from './route.ts';

/** Of a token that opens a part of the registry: a job's, or a gateway's. */
export type Claims = RunClaims | GatewayClaims;

/** Rejects with PERMISSION_DENIED when the bearer of a token may not make a call with these values. */
export type ScopeCheck = (claims: Claims, route: RestRoute, values: Record<string, unknown>) => Promise<void>;

type Rule = (db: Db, claims: RunClaims, values: Record<string, unknown>) => Promise<boolean>;

const PARENT = 'mlflow.parentRunId';
/** Runs below the job's: a trial, its folds, and some more. */
const MAX_DEPTH = 8;

const ownRun: Rule = (db, claims, { run_id, run_uuid }) => isOwn(db, claims, run_id ?? run_uuid);
const ownModel: Rule = (db, claims, { model_id }) => isOwnModel(db, claims, model_id);
/** Only below the job's run, and no deeper than isOwn climbs. */
const childRun: Rule = async (db, claims, { experiment_id, tags }) => {
  const parents = (tags as { key: string; value: string }[]).filter(({ key }) => key === PARENT);
  if (experiment_id !== claims.experimentId || parents.length === 0) return false;
  for (const { value } of parents) if (!(await isOwn(db, claims, value, MAX_DEPTH - 1))) return false;
  return true;
};
const ownArtifact: Rule = async (db, claims, { path }) => {
  const root = rootOf(checkArtifactPath(String(path)));
  if (root.kind === 'run') return isOwn(db, claims, root.id);
  return root.kind === 'model' && isOwnModel(db, claims, root.id);
};
/** A version is made of what is the job's: clients name the run, the logged model, or neither beside the source. */
const ownVersion: Rule = async (db, claims, { source, run_id, model_id }) => {
  if (run_id && !(await isOwn(db, claims, run_id))) return false;
  if (model_id && !(await isOwnModel(db, claims, model_id))) return false;
  const text = String(source);
  const [, model, run] = /^models:\/(m-[0-9a-f]{32})$|^runs:\/([^/]+)\//.exec(text) ?? [];
  if (model !== undefined) return isOwnModel(db, claims, model);
  if (run !== undefined) return isOwn(db, claims, run);
  const path = pathOfUri(text);
  return path !== undefined && ownArtifact(db, claims, { path });
};
const always: Rule = async () => true;

/** What a job may do besides reading, by operation. */
const RULES: Readonly<Record<string, Rule>> = {
  mlflowSearchRuns: always,
  mlflowSearchExperiments: always,
  mlflowSearchLoggedModels: always,
  mlflowGetLatestVersions: always,
  mlflowCreateRun: childRun,
  mlflowUpdateRun: ownRun,
  mlflowLogBatch: ownRun,
  mlflowLogMetric: ownRun,
  mlflowLogParam: ownRun,
  mlflowSetTag: ownRun,
  mlflowDeleteTag: ownRun,
  mlflowLogModel: ownRun,
  mlflowLogInputs: ownRun,
  mlflowLogOutputs: ownRun,
  mlflowCreateLoggedModel: (db, claims, { source_run_id }) => isOwn(db, claims, source_run_id),
  mlflowFinalizeLoggedModel: ownModel,
  mlflowSetLoggedModelTags: ownModel,
  mlflowLogLoggedModelParams: ownModel,
  uploadArtifact: ownArtifact,
  createMultipartUpload: always,
  mlflowCreateRegisteredModel: always,
  mlflowCreateModelVersion: ownVersion,
};

/**
 * Jobs read all of the registry, and write only what is theirs: their run and those below it, the models of these, and new
 * versions made of them. A token ends with its job. Gateways do what checkGatewayCall says.
 */
export function tokenScope(database: RegistryDatabase): ScopeCheck {
  return async (claims, route, values) => {
    if ('gatewayId' in claims) {
      checkGatewayCall(claims, route, values);
      return;
    }
    const allowed = await database.read(async (db) => {
      if (!(await isRunning(db, claims))) return false;
      const rule = Object.hasOwn(RULES, route.operationId) ? RULES[route.operationId] : undefined;
      return rule === undefined ? route.method === 'GET' : rule(db, claims, values);
    });
    if (allowed) return;
    throw new RegistryError(
      'PERMISSION_DENIED',
      `job ${claims.jobId} may not make this call (${route.operationId}): while it runs it reads everything, and writes to its run ${shown(claims.runId)}, runs below it and their models only`,
    );
  };
}

async function isRunning(db: Db, { jobId, runId }: RunClaims): Promise<boolean> {
  const job = await db.selectFrom('jobs').select(['status', 'run_id']).where('job_id', '=', jobId).executeTakeFirst();
  return job?.run_id === runId && (job.status === 'starting' || job.status === 'running');
}

/** Whether a run is the job's, or below it. Only runs that are the job's already take tags from it, so none is drawn in. */
async function isOwn(db: Db, { runId }: RunClaims, id: unknown, most = MAX_DEPTH): Promise<boolean> {
  let run = id;
  for (let depth = 0; typeof run === 'string' && depth <= most; depth++) {
    if (run === runId) return true;
    run = await parentOf(db, run);
  }
  return false;
}

async function parentOf(db: Db, id: string): Promise<string | undefined> {
  const tag = await db
    .selectFrom('tags as t')
    .innerJoin('runs as r', 'r.run_key', 't.run_key')
    .select('t.value')
    .where('r.run_id', '=', id)
    .where('t.key', '=', PARENT)
    .executeTakeFirst();
  return tag?.value;
}

async function isOwnModel(db: Db, claims: RunClaims, id: unknown): Promise<boolean> {
  const model = await db
    .selectFrom('logged_models')
    .select('source_run_id')
    .where('model_id', '=', String(id))
    .executeTakeFirst();
  return model !== undefined && isOwn(db, claims, model.source_run_id);
}
