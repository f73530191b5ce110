import { open } from 'node:fs/promises';
import { SwitchyardError } from '../../shared/errors.ts';

/** A file-system error as the answer to a client: a full disk is 507, anything else stays what it is. */
export function diskError(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
    return new SwitchyardError(
      'insufficient_storage',
      'the registry has no room left for this upload; free space on its disk or collect garbage, then send it again',
      { cause: error },
    );
  }
  return error;
}

/** A rename or a new name is durable once its folder is. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
