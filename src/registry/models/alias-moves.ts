import type { Note } from '../commit.ts';
import type { Db } from '../database/database.ts';
import { isPromptModel } from './prompts.ts';

/** One step of an alias's history. */
export interface AliasMove {
  name: string;
  alias: string;
  /** Null: the alias was removed. */
  version: number | null;
  previous: number | null;
}

/** Keeps moves of a model's aliases in their history, and tells of them. Call it before the model itself goes. */
export async function keepMoves(
  db: Db,
  by: { model_key: number; at: number; actor: string; reason: string },
  moves: readonly AliasMove[],
  note: Note,
): Promise<void> {
  if (moves.length === 0) return;
  const entity = (await isPromptModel(db, by.model_key)) ? 'prompt_alias' : 'model_version_alias';
  for (const move of moves) {
    await db
      .insertInto('alias_moves')
      .values({ ...move, ...by })
      .execute();
    const data = { name: move.name, alias: move.alias };
    if (move.version === null) note({ entity, action: 'deleted', data });
    else note({ entity, action: 'created', data: { ...data, version: String(move.version) } });
  }
}
