import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { RecordSearch, RecordSource, RequestFacts, TimeRange } from '../monitoring/record-search.ts';
import { firstLine, lineStarting } from '../shared/file-search.ts';
import type { EventLog } from './event-log.ts';
import { parseFileName } from './sinks/file-names.ts';
import { recordText } from './sinks/parquet-rows.ts';

/** Of the spool's end: what is further behind waits for a sink that is away. */
const SPOOL_RECORDS = 100_000;
const SPOOL_STEP = 500;
const MOST_MS = 60_000;

export interface FinderParts {
  /** Where sinks of kind `files` write, by their names. */
  folders: Readonly<Record<string, string>>;
  log: Pick<EventLog, 'status' | 'tail'> | undefined;
  /** Further places: the topic of the Kafka sink. */
  others: readonly RecordSource[];
}

/**
 * Finds one record by its id where the log keeps records: at the end of the spool, then in the files of the sinks, newest
 * first, then in further places. Ids tell no time, so that files are read through; `range` leaves out those of other times.
 */
export class RecordFinder implements RecordSource {
  private readonly parts: FinderParts;

  constructor(parts: FinderParts) {
    this.parts = parts;
  }

  async find(id: string, range: TimeRange): Promise<RecordSearch> {
    const answer: RecordSearch = { found: undefined, json: '', place: '', searched: [], oldest: null, problems: [] };
    const take = (json: string, place: string): RecordSearch => ({ ...answer, json, place, found: factsOf(json) });
    const start = `{"id":${JSON.stringify(id)},`;
    if (this.parts.log !== undefined) {
      answer.searched.push('spool');
      const json = await this.inSpool(start, answer.problems);
      if (json !== undefined) return take(json, 'spool');
    }
    const signal = AbortSignal.timeout(MOST_MS);
    for (const [sink, folder] of Object.entries(this.parts.folders)) {
      const files = filesOf(folder, answer.problems);
      answer.searched.push(`files of sink ${sink} (${files.length})`);
      const oldest = await oldestOf(files).catch(() => null);
      if (oldest !== null) answer.oldest = Math.min(answer.oldest ?? oldest, oldest);
      for (const file of files) {
        try {
          const json = await inFile(file, start, id, range, signal);
          if (json !== undefined) return take(json, file.path);
        } catch (error) {
          if (signal.aborted) {
            answer.problems.push(
              `files before ${file.path} were not read: the search ended after ${MOST_MS / 1000} s; say about when the request was`,
            );
            break;
          }
          // Taken away meanwhile, as the oldest ones are.
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
            answer.problems.push(`${file.path} cannot be read: ${(error as Error).message}`);
        }
      }
    }
    for (const other of this.parts.others) {
      const more = await other.find(id, range);
      if (more.found !== undefined) return { ...more, searched: [...answer.searched, ...more.searched] };
      answer.searched.push(...more.searched);
      answer.problems.push(...more.problems);
      if (more.oldest !== null) answer.oldest = Math.min(answer.oldest ?? more.oldest, more.oldest);
    }
    return answer;
  }

  /** In steps: between two of them the log thread does its work. */
  private async inSpool(start: string, problems: string[]): Promise<string | undefined> {
    const { log } = this.parts;
    if (log === undefined) return undefined;
    try {
      const { first, next } = (await log.status()).spool;
      const last = Math.max(first, next - SPOOL_RECORDS);
      for (let to = next; to > last; to -= SPOOL_STEP) {
        const from = Math.max(last, to - SPOOL_STEP);
        const { records } = await log.tail(to - from, from);
        const found = records.find((json) => json.startsWith(start) && isInference(json));
        if (found !== undefined) return found;
      }
      if (last > first) problems.push(`of the spool, the newest ${SPOOL_RECORDS} records were looked at`);
    } catch (error) {
      problems.push(`the spool cannot be read: ${(error as Error).message}`);
    }
    return undefined;
  }
}

interface LogFile {
  path: string;
  /** Of the last record in it, or a little later. */
  writtenAt: number;
}

/** Newest first; those of partitions lie in folders of their own. */
function filesOf(folder: string, problems: string[]): LogFile[] {
  try {
    const partitions = join(folder, 'inference');
    return [
      ...readdirSync(folder, { withFileTypes: true }),
      ...(existsSync(partitions) ? readdirSync(partitions, { recursive: true, withFileTypes: true }) : []),
    ]
      .filter(({ name }) => parseFileName(name)?.kind === 'inference')
      .map(({ parentPath, name }) => join(parentPath, name))
      .map((path) => ({ path, writtenAt: statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
      .sort((a, b) => b.writtenAt - a.writtenAt || (a.path < b.path ? 1 : -1));
  } catch (error) {
    problems.push(`${folder} cannot be read: ${(error as Error).message}`);
    return [];
  }
}

async function inFile(
  { path, writtenAt }: LogFile,
  start: string,
  id: string,
  { from, to }: TimeRange,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (writtenAt < from) return undefined;
  if (path.endsWith('.parquet')) return inParquet(path, id);
  const first = timeOf(await firstLine(path));
  if (first !== null && first > to) return undefined;
  return (await lineStarting(path, start, signal))?.line;
}

const COLUMNS = ['id', 'time', 'model', 'version', 'digest', 'route', 'variant', 'status', 'tenant', 'entity'];

async function inParquet(path: string, id: string): Promise<string | undefined> {
  const { asyncBufferFromFile, parquetReadObjects } = await import('hyparquet');
  const file = await asyncBufferFromFile(path);
  const ids = await parquetReadObjects({ file, columns: ['id'] });
  const at = ids.findIndex((row) => row.id === id);
  if (at < 0) return undefined;
  const [row] = await parquetReadObjects({ file, rowStart: at, rowEnd: at + 1 });
  return recordText(row);
}

async function oldestOf(files: readonly LogFile[]): Promise<number | null> {
  const last = files.at(-1);
  if (last === undefined) return null;
  if (!last.path.endsWith('.parquet')) return timeOf(await firstLine(last.path));
  const { asyncBufferFromFile, parquetReadObjects } = await import('hyparquet');
  const [row] = await parquetReadObjects({
    file: await asyncBufferFromFile(last.path),
    columns: ['time'],
    rowStart: 0,
    rowEnd: 1,
  });
  return row === undefined ? null : (row.time as Date).getTime();
}

function timeOf(line: string): number | null {
  const found = /^\{"id":"(?:[^"\\]|\\.)*","time":(\d+),/.exec(line)?.[1];
  return found === undefined ? null : Number(found);
}

/** Labels and rewards carry the id of their request. */
function isInference(json: string): boolean {
  return json.includes('"latencyMs":');
}

/** Of a record as JSON, however it was kept. */
export function factsOf(json: string): RequestFacts {
  const record = JSON.parse(json) as Record<string, unknown>;
  const text = (name: string): string => String(record[name] ?? '');
  const facts = Object.fromEntries(COLUMNS.map((name) => [name, text(name)])) as unknown as RequestFacts;
  return { ...facts, time: Number(record.time), shadow: record.shadow === true };
}
