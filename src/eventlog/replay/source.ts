import { createReadStream, existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { firstLine } from '../../shared/file-search.ts';
import { AvroWriter } from '../encode/avro-writer.ts';
import type { RecordKind } from '../encode/container.ts';
import { writeFeedback } from '../encode/feedback-encoder.ts';
import { readFeedbackJson, readRecordJson } from '../encode/json-reader.ts';
import { writeRecord } from '../encode/record-writer.ts';
import { placeOf } from '../sinks/partitions.ts';
import { FEEDBACK, INFERENCE, SpoolRecord } from '../spool/format.ts';
import type { Position, Spool } from '../spool/spool.ts';

const KINDS: readonly RecordKind[] = ['inference', 'feedback'];
const PAGE = 500;
const TIME = /^\{"id":"(?:[^"\\]|\\.)*","time":(\d+),/;

/** Which records are meant; `from` is in it, `to` is not. Absent: all. */
export interface ReplayRange {
  from: number | undefined;
  to: number;
  model: string | undefined;
  route: string | undefined;
}

interface LineFile {
  kind: RecordKind;
  path: string;
  /** What it held when the replay began: what is written later is in the spool, too. */
  size: number;
  /** Number of the first record of the round that it was begun with. */
  first: number;
}

/** Files of JSON lines that a sink wrote, and up to which record of the log. */
export interface LinesOf {
  folder: string;
  arrived: number;
}

/** What the log still keeps, from the oldest on: the files of a sink, and behind them the spool. */
export class ReplaySource {
  /** Where it stands in the spool; undefined: nothing of it is needed any more. */
  position: Position | undefined;
  /** Lines that are no records. */
  unreadable = 0;
  /** Records that the spool's limit took before they were read. */
  lost = 0;
  private readonly spool: Spool;
  private readonly files: LineFile[];
  private readonly begin: number;
  private readonly end: number;

  /** @param lines undefined: there is only the spool */
  constructor(spool: Spool, lines: LinesOf | undefined) {
    this.spool = spool;
    this.files = lines === undefined ? [] : filesOf(lines.folder);
    this.begin = lines === undefined || this.files.length === 0 ? spool.oldest.record : lines.arrived;
    this.end = spool.end.record;
    this.position = spool.find(this.begin);
  }

  /** The time of the oldest record that is kept; undefined: everything since the log began is. */
  async keptSince(): Promise<number | undefined> {
    const [oldest] = this.files.filter(({ kind }) => kind === 'inference');
    if (oldest !== undefined) return oldest.first === 0 ? undefined : timeOf(await firstLine(oldest.path));
    if (this.begin === 0) return undefined;
    const [record] = this.spool.read(this.spool.find(this.begin), 1).records;
    return record === undefined ? undefined : placeOf(record)?.time;
  }

  /** Pages of the records that are meant. What is returned may be empty: time has passed. */
  async *pages(range: ReplayRange): AsyncGenerator<SpoolRecord[]> {
    for (const file of this.files) yield* this.ofFile(file, range);
    yield* this.ofSpool(range);
    this.position = undefined;
  }

  private async *ofFile({ kind, path, size }: LineFile, range: ReplayRange): AsyncGenerator<SpoolRecord[]> {
    const writtenAt = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    if (writtenAt === undefined || size === 0 || (range.from !== undefined && writtenAt < range.from)) return;
    const input = createReadStream(path, { end: size - 1 });
    let page: SpoolRecord[] = [];
    let lines = 0;
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      const time = timeOf(line);
      if (time !== undefined && isWithin(time, range)) {
        const record = this.read(line, kind);
        if (record !== undefined && isMeant(record, range)) page.push(record);
      } else if (time === undefined && line !== '') this.unreadable++;
      if (page.length < PAGE && ++lines % PAGE > 0) continue;
      yield page;
      page = [];
    }
    yield page;
  }

  private read(line: string, kind: RecordKind): SpoolRecord | undefined {
    const out = new AvroWriter(4096);
    try {
      if (kind === 'inference') writeRecord(readRecordJson(line), out);
      else writeFeedback(readFeedbackJson(line), out);
    } catch {
      this.unreadable++;
      return undefined;
    }
    return new SpoolRecord(kind === 'inference' ? INFERENCE : FEEDBACK, out.u8, 0, out.at);
  }

  private *ofSpool(range: ReplayRange): Generator<SpoolRecord[]> {
    for (let at = this.position as Position; at.record < this.end; this.position = at) {
      const before = at.record < this.begin;
      const { records, next, lost } = this.spool.read(at, Math.min(PAGE, (before ? this.begin : this.end) - at.record));
      if (next.record === at.record) return;
      at = next;
      if (before) continue;
      this.lost += lost;
      yield records.filter((record) => isMeant(record, range));
    }
  }
}

function filesOf(folder: string): LineFile[] {
  const files: LineFile[] = [];
  for (const kind of KINDS) {
    const name = new RegExp(`^${kind}-(\\d+)(-\\w+)?\\.jsonl$`);
    const below = join(folder, kind);
    const entries = [
      ...(existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : []),
      ...(existsSync(below) ? readdirSync(below, { withFileTypes: true, recursive: true }) : []),
    ];
    const own: LineFile[] = [];
    for (const entry of entries) {
      const number = name.exec(entry.name)?.[1];
      if (number === undefined) continue;
      const path = join(entry.parentPath, entry.name);
      own.push({ kind, path, size: statSync(path, { throwIfNoEntry: false })?.size ?? 0, first: Number(number) });
    }
    files.push(...own.sort((a, b) => a.first - b.first || (a.path < b.path ? -1 : 1)));
  }
  return files;
}

function timeOf(line: string): number | undefined {
  const found = TIME.exec(line)?.[1];
  return found === undefined ? undefined : Number(found);
}

function isWithin(time: number, { from, to }: ReplayRange): boolean {
  return time < to && (from === undefined || time >= from);
}

function isMeant(record: SpoolRecord, range: ReplayRange): boolean {
  const place = placeOf(record);
  if (place === undefined || !isWithin(place.time, range)) return false;
  const { model, route } = range;
  return (model === undefined || place.model === model) && (route === undefined || place.route === route);
}
