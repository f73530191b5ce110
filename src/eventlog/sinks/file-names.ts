import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { RecordKind } from '../encode/container.ts';

/** What the name of a file of records says. */
export interface FileName {
  kind: RecordKind;
  /** Number of the first record of the round that it was begun with. */
  first: number;
  /** Tells the files of several logs apart that share a place; '': there was no other's when the log began. */
  log: string;
  ending: 'jsonl' | 'parquet';
}

/** inference-N.jsonl, feedback-N-LOG.parquet: by the kind, then from the oldest on if there is one log. */
export function fileName({ kind, first, log, ending }: FileName): string {
  return `${kind}-${String(first).padStart(15, '0')}${log === '' ? '' : `-${log}`}.${ending}`;
}

/** Undefined: it is no file of a log, or one of a replay. */
export function parseFileName(name: string): FileName | undefined {
  const found = /^(inference|feedback)-(\d+)(?:-(\w+))?\.(jsonl|parquet)$/.exec(name);
  if (found === null) return undefined;
  const [, kind, first, log = '', ending] = found;
  return { kind: kind as RecordKind, first: Number(first), log, ending: ending as FileName['ending'] };
}

/** Deletes the files of a kind and an ending that were written first, of whichever log, down to so many. */
export function deleteOldest(folder: string, of: Pick<FileName, 'kind' | 'ending'>, keep: number): void {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => {
    const name = entry.isFile() ? parseFileName(entry.name) : undefined;
    return name?.kind === of.kind && name.ending === of.ending;
  });
  if (files.length <= keep) return;
  files
    .map(({ parentPath, name }) => ({ path: join(parentPath, name), name }))
    .map((file) => ({ ...file, written: statSync(file.path, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .sort((a, b) => a.written - b.written || (a.name < b.name ? -1 : 1))
    .slice(0, files.length - keep)
    .forEach(({ path }) => void rmSync(path, { force: true }));
}
