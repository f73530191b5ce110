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

const SELECT = 'SELECT run_id, run_key, experiment_id, lifecycle_stage FROM runs WHERE run_id ';

function unknownRun(runId: string): Error {
  return doesNotExist(`Run with id=${runId.slice(0, 300)} not found`);
}

/** Throws RESOURCE_DOES_NOT_EXIST. */
export async function findRun(db: Db, runId: string): Promise<RunRef> {
  const [ref] = await run<RunRef>(db, `${SELECT}= $1`, [runId]);
  if (ref === undefined) throw unknownRun(runId);
  return ref;
}

/** The run, for a write to it; see runsToWrite. */
export async function runToWrite(db: Db, kind: DatabaseKind, runId: string): Promise<RunRef> {
  return (await runsToWrite(db, kind, [runId])).get(runId) as RunRef;
}

/**
 * Runs by their ids, for a write to them. Throws when one is missing or deleted. On PostgreSQL writes to one run queue up
 * here, so that none of them can block another half-way.
 */
export async function runsToWrite(db: Db, kind: DatabaseKind, runIds: readonly string[]): Promise<Map<string, RunRef>> {
  const ids = [...new Set(runIds)];
  // In one order, so that two such writes never wait for one another.
  const lock = kind === 'postgres' ? ' ORDER BY run_key FOR UPDATE' : '';
  const found = await run<RunRef>(db, `${SELECT}IN (${ids.map((_, i) => `$${i + 1}`).join(', ')})${lock}`, ids);
  const refs = new Map(found.map((ref) => [ref.run_id, ref]));
  for (const id of ids) {
    const ref = refs.get(id);
    if (ref === undefined) throw unknownRun(id);
    if (ref.lifecycle_stage === 'active') continue;
    throw invalidParameter(
      `The run ${id} must be in the 'active' state; it is ${ref.lifecycle_stage}. Restore it first`,
    );
  }
  return refs;
}

/** run_id, or its old name run_uuid. Throws when both are missing. */
export function givenRunId(request: { run_id?: string | null; run_uuid?: string | null }): string {
  const id = request.run_id || request.run_uuid;
  if (id === undefined || id === null || id === '')
    throw invalidParameter("Missing value for required parameter 'run_id'");
  return checkRunId(id);
}

/** Throws INVALID_PARAMETER_VALUE for what can be no run's id, here or on another server. */
export function checkRunId(id: string): string {
  if (/^[a-zA-Z0-9][\w-]{0,255}$/.test(id)) return id;
  throw invalidParameter(`Invalid value ${shown(id)} for parameter 'run_id' supplied: a run id is letters and digits`);
}
