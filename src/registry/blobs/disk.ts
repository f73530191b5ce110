import { open } from 'node:fs/promises';
import { SwitchyardError } from '../../shared/errors.ts';

/**
 * A file-system error as the answer to a client: a disk that is full or fails is 507, which clients do not try again by
 * themselves, anything else stays what it is.
 */
export function diskError(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
    return new SwitchyardError(
      'insufficient_storage',
      'the registry has no room left for this upload; free space on its disk or collect garbage, then send it again',
      { cause: error },
    );
  }
  if (code === 'EIO' || code === 'EROFS') {
    return new SwitchyardError(
      'insufficient_storage',
      `the registry's disk fails (${code}) and keeps nothing; let its operator look at the disk, then send the upload again`,
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
