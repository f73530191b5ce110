import { lstat, mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CHECKPOINT_FOLDER, fetchBlob, type WorkParts } from './work-folder.ts';

/**
 * The checkpoint of an attempt that is being prepared lies beside its work folder, `kept`, until all else is in place:
 * preparing may be cut off anywhere, with the server or by a failure, and begin anew, or be left to the next attempt.
 * Every step is one rename.
 */

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

/** Takes the first of `places` that is there into `kept`, where one may be already. Resolves with false when there is none. */
export async function keepCheckpoint(kept: string, places: readonly string[]): Promise<boolean> {
  if (await exists(kept)) return true;
  await mkdir(dirname(kept), { recursive: true, mode: 0o700 });
  for (const place of places) {
    if (!(await exists(place))) continue;
    await rename(place, kept);
    return true;
  }
  return false;
}

/** As keepCheckpoint, from the artifacts below `root` of a run. */
export async function bringCheckpoint(kept: string, root: string, parts: WorkParts): Promise<boolean> {
  const folder = `${root}/${CHECKPOINT_FOLDER}`;
  const files = await parts.storage.artifacts.filesBelow(folder);
  if (files.length === 0) return false;
  const draft = `${kept}.part`;
  await rm(draft, { recursive: true, force: true });
  for (const file of files)
    await fetchBlob(join(draft, file.path.slice(folder.length + 1)), file.digest, 'the checkpoint', parts);
  await rename(draft, kept);
  return true;
}

/** Puts it where the job looks for it. */
export async function placeCheckpoint(kept: string, target: string): Promise<void> {
  await rm(target, { recursive: true, force: true });
  await mkdir(dirname(target), { recursive: true });
  await rename(kept, target);
}
