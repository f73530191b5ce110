import type { CommitContext } from '../commit.ts';
import type { AliasPolicy } from './aliases.ts';

/** What the model half works with. */
export interface ModelsContext extends CommitContext {
  policy: AliasPolicy;
}
