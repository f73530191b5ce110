import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { Cron } from 'croner';
import { nameMatcher } from '../../config/document-files.ts';
import { queryPrometheus } from '../../shared/prometheus-query.ts';
import { crosses } from './decide.ts';
import type { TriggerSpec } from './document.ts';

/** What looking at a cause found: what to remember, and why to fire if there is a reason. */
export interface Finding {
  memory: Record<string, unknown>;
  cause?: string;
}

type Memory = Readonly<Record<string, unknown>>;
type When = TriggerSpec['when'];

/** When a schedule is due next, after a time. Null: never again. */
export function nextDue({ cron, timezone }: NonNullable<When['schedule']>, after: number): number | null {
  return new Cron(cron, { timezone, paused: true }).nextRun(new Date(after))?.getTime() ?? null;
}

/** A schedule fires once for all times that passed while nobody was there. */
export function lookAtSchedule(schedule: NonNullable<When['schedule']>, memory: Memory, now: number): Finding {
  const due = typeof memory.due === 'number' ? memory.due : nextDue(schedule, now);
  if (due === null || due > now) return { memory: { due } };
  return {
    memory: { due: nextDue(schedule, now) },
    cause: `schedule ${schedule.cron}, due ${new Date(due).toISOString()}`,
  };
}

interface FoundFile {
  path: string;
  size: number;
  mtimeMs: number;
}

async function filesAt(path: string, match: string | undefined): Promise<FoundFile[]> {
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined) return [];
  const fits = match === undefined ? () => true : nameMatcher(match);
  if (!facts.isDirectory()) return fits(basename(path)) ? [{ path, size: facts.size, mtimeMs: facts.mtimeMs }] : [];
  const found: FoundFile[] = [];
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (!entry.isFile() || entry.name.startsWith('.') || !fits(entry.name)) continue;
    const file = join(path, entry.name);
    const own = await stat(file).catch(() => undefined);
    if (own !== undefined) found.push({ path: file, size: own.size, mtimeMs: own.mtimeMs });
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Files that are new or changed, and have settled. What is there at the first look is taken for known. */
export async function lookAtData(
  { path, match, settle }: NonNullable<When['data']>,
  memory: Memory,
  baseDir: string,
  now: number,
): Promise<Finding> {
  const files = await filesAt(resolve(baseDir, path), match);
  const known = memory.seen as Record<string, string> | undefined;
  const seen: Record<string, string> = {};
  const news: string[] = [];
  for (const { path: file, size, mtimeMs } of files) {
    const mark = `${size} ${mtimeMs}`;
    if (known !== undefined && known[file] !== mark) {
      // Still being written: it stays unknown until the next look.
      if (now - mtimeMs < settle) {
        if (known[file] !== undefined) seen[file] = known[file];
        continue;
      }
      news.push(basename(file));
    }
    seen[file] = mark;
  }
  if (news.length === 0) return { memory: { seen } };
  const shown = news.length > 5 ? `${news.slice(0, 5).join(', ')} and ${news.length - 5} more` : news.join(', ');
  return { memory: { seen }, cause: `data arrived: ${shown}` };
}

async function countLines(path: string, from: number): Promise<number> {
  let lines = 0;
  for await (const chunk of createReadStream(path, { start: from }) as AsyncIterable<Buffer>)
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) lines++;
  return lines;
}

/** Lines that came since the last firing. Files only grow: each is read on from where it was; a shrunk one is counted anew. */
export async function lookAtCount(
  { path, match, rows }: NonNullable<When['count']>,
  memory: Memory,
  baseDir: string,
): Promise<Finding> {
  const known = (memory.files ?? {}) as Record<string, { size: number; lines: number }>;
  const files: Record<string, { size: number; lines: number }> = {};
  let total = 0;
  for (const { path: file, size } of await filesAt(resolve(baseDir, path), match)) {
    const before = known[file] !== undefined && known[file].size <= size ? known[file] : { size: 0, lines: 0 };
    const lines = before.size === size ? before.lines : before.lines + (await countLines(file, before.size));
    files[file] = { size, lines };
    total += lines;
  }
  const base = typeof memory.base === 'number' ? Math.min(memory.base, total) : total;
  const fresh = total - base;
  if (fresh < rows) return { memory: { files, base } };
  return { memory: { files, base: total }, cause: `${fresh} new rows, ${rows} were wanted` };
}

interface Threshold {
  op: '>' | '>=' | '<' | '<=';
  value: number;
}

/** A figure arrived, from wherever. */
export function lookAtFigure({ op, value }: Threshold, name: string, figure: number, memory: Memory): Finding {
  const before = typeof memory.last === 'number' ? memory.last : undefined;
  const found = { memory: { ...memory, last: figure } };
  if (!crosses(op, value, before, figure)) return found;
  const was = before === undefined ? '' : `, ${before} before`;
  return { ...found, cause: `${name} is ${figure}${was}: ${op} ${value}` };
}

/** Undefined: the query failed or gave no number. */
export async function lookAtPrometheus(
  business: NonNullable<When['business']>,
  memory: Memory,
  onError: (message: string) => void,
): Promise<Finding | undefined> {
  const values = await queryPrometheus(business.prometheus!, onError);
  const figure = values?.find(Number.isFinite);
  return figure === undefined ? undefined : lookAtFigure(business, business.prometheus!.query, figure, memory);
}
