import type { Note } from '../commit.ts';
import type { Db } from '../database/database.ts';
import type { Stage } from '../database/tables/models.ts';
import { invalidParameter } from '../errors.ts';
import { findVersion, lockModel } from './find.ts';
import { ACTIVE_STAGES, stageOf } from './names.ts';
import type { VersionRow } from './view.ts';

export interface StageWish {
  name: string;
  version: string;
  stage: string;
  /** Versions that are in the stage go to Archived. */
  archive: boolean;
  actor: string;
}

/** Moves a version to a stage, keeps who did it and when, and tells of it. Throws INVALID_PARAMETER_VALUE. */
export async function transitionStage(db: Db, now: number, wish: StageWish, note: Note): Promise<VersionRow> {
  const stage = stageOf(wish.stage);
  if (wish.archive && !ACTIVE_STAGES.includes(stage)) {
    throw invalidParameter(
      `Model version transition cannot archive existing model versions because '${stage}' is not an Active stage. Valid stages are ${ACTIVE_STAGES.join(', ')}`,
    );
  }
  const model = await lockModel(db, wish.name, now);
  const row = await findVersion(db, wish.name, wish.version);
  const moves: Move[] = row.stage === stage ? [] : [{ version: row.version, stage, previous: row.stage }];
  if (wish.archive) {
    const archived = await db
      .updateTable('model_versions')
      .set({ stage: 'Archived', last_updated_time: now })
      .where('model_key', '=', model.model_key)
      .where('stage', '=', stage)
      .where('version', '!=', row.version)
      .returning('version')
      .execute();
    moves.unshift(...archived.map(({ version }) => ({ version, stage: 'Archived' as const, previous: stage })));
  }
  await db
    .updateTable('model_versions')
    .set({ stage, last_updated_time: now })
    .where('model_key', '=', row.model_key)
    .where('version', '=', row.version)
    .execute();
  await keepMoves(db, { model_key: row.model_key, at: now, actor: wish.actor }, row.name, moves, note);
  return { ...row, stage, last_updated_time: now };
}

interface Move {
  version: number;
  stage: Stage;
  previous: Stage;
}

async function keepMoves(
  db: Db,
  by: { model_key: number; at: number; actor: string },
  name: string,
  moves: readonly Move[],
  note: Note,
): Promise<void> {
  for (const { version, stage, previous } of moves) {
    await db
      .insertInto('stage_moves')
      .values({ ...by, version, stage, previous })
      .execute();
    const data = { name, version: String(version), stage, previous, actor: by.actor };
    note({ entity: 'model_version_stage', action: 'set', data });
  }
}

/** Oldest first. */
export function stageMovesOf(
  db: Db,
  { model_key, version }: { model_key: number; version: number },
): Promise<{ stage: Stage; previous: Stage; at: number; actor: string }[]> {
  return db
    .selectFrom('stage_moves')
    .select(['stage', 'previous', 'at', 'actor'])
    .where('model_key', '=', model_key)
    .where('version', '=', version)
    .orderBy('move_key')
    .limit(1000)
    .execute();
}
