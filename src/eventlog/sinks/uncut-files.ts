import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { CursorState } from '../spool/cursor.ts';
import { parseFileName } from './file-names.ts';

/**
 * Earlier versions told the last Parquet files of a folder in the cursor's note, and not where they had cut the log. What
 * lies behind those files comes again, perhaps cut in other places: it is deleted, so that no row is there twice.
 */
export function deleteUncut(folder: string, { note, position }: CursorState): void {
  if (note === undefined || !existsSync(folder)) return;
  for (const name of readdirSync(folder)) {
    if (name.endsWith('.parquet.next')) rmSync(join(folder, name), { force: true });
    const file = parseFileName(name);
    if (file === undefined || file.ending !== 'parquet' || file.log !== '' || file.first < position.record) continue;
    if (name > String(note[`${file.kind}File`] ?? '')) rmSync(join(folder, name), { force: true });
  }
}
