import type { CommitContext } from '../commit.ts';
import type { SigningKey } from '../manifest/signature.ts';
import type { AliasPolicy } from './aliases.ts';

/** What the model half works with. */
export interface ModelsContext extends CommitContext {
  policy: AliasPolicy;
  /** Signs what a version consists of when that is fixed; undefined: nobody does. */
  signingKey: SigningKey | undefined;
}
