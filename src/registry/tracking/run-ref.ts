import type { DatabaseKind, Db } from '../database/database.ts';
import { run } from '../database/statements.ts';
import type { LifecycleStage } from '../database/tables/tracking.ts';
import { doesNotExist, invalidParameter, shown } from '../errors.ts';

/** What writes need to know of a run. */
export interface RunRef {
  run_id: string;
  run_key: number;
  experiment_id: number;
  lifecycle_stage: LifecycleStage;
}

const SELECT = 'SELECT run_id, run_key, experiment_id, lifecycle_stage FROM runs WHERE run_id = $1';

/** Throws RESOURCE_DOES_NOT_EXIST. */
export async function findRun(db: Db, runId: string, locked = ''): Promise<RunRef> {
  const [ref] = await run<RunRef>(db, SELECT + locked, [runId]);
  if (ref === undefined) throw doesNotExist(`Run with id=${runId.slice(0, 300)} not found`);
  return ref;
}

/**
 * The run, for a write to it. Throws also when it is deleted. On PostgreSQL writes to one run queue up here, so that
 * none of them can block another half-way.
 */
export async function runToWrite(db: Db, kind: DatabaseKind, runId: string): Promise<RunRef> {
  const ref = await findRun(db, runId, kind === 'postgres' ? ' FOR UPDATE' : '');
  if (ref.lifecycle_stage === 'active') return ref;
  throw invalidParameter(
    `The run ${runId} must be in the 'active' state; it is ${ref.lifecycle_stage}. Restore it first`,
  );
}

/** run_id, or its old name run_uuid. Throws when both are missing. */
export function givenRunId(request: { run_id?: string | null; run_uuid?: string | null }): string {
  const id = request.run_id || request.run_uuid;
  if (id === undefined || id === null || id === '')
    throw invalidParameter("Missing value for required parameter 'run_id'");
  if (!/^[a-zA-Z0-9][\w-]{0,255}$/.test(id))
    throw invalidParameter(
      `Invalid value ${shown(id)} for parameter 'run_id' supplied: a run id is letters and digits`,
    );
  return id;
}
