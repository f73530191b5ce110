import type { Db } from '../database/database.ts';

/** MLflow keeps prompts beside models and tells them by a tag. */
export const PROMPT_TAG = 'mlflow.prompt.is_prompt';

export function isPrompt(tags: readonly { key: string; value: string }[]): boolean {
  const last = tags.filter(({ key }) => key === PROMPT_TAG).at(-1);
  return last?.value.toLowerCase() === 'true';
}

export async function isPromptModel(db: Db, modelKey: number): Promise<boolean> {
  const tags = await db
    .selectFrom('registered_model_tags')
    .select(['key', 'value'])
    .where('model_key', '=', modelKey)
    .where('key', '=', PROMPT_TAG)
    .execute();
  return isPrompt(tags);
}
