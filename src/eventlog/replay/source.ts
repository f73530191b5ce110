import { AvroWriter } from '../encode/avro-writer.ts';
import type { RecordKind } from '../encode/container.ts';
import { writeFeedback } from '../encode/feedback-encoder.ts';
import { readFeedbackJson, readRecordJson } from '../encode/json-reader.ts';
import { writeRecord } from '../encode/record-writer.ts';
import { mayHold, placeOf, type Sought } from '../sinks/partitions.ts';
import { FEEDBACK, INFERENCE, SpoolRecord } from '../spool/format.ts';
import type { Position, Spool } from '../spool/spool.ts';
import { inOrder, type KeptFile, type KeptFiles } from './kept-files.ts';
import { DamagedFile, PAGE, recordTexts } from './record-texts.ts';

const TIME = /^\{"id":"(?:[^"\\]|\\.)*","time":(\d+),/;
/** How far a place's clock may be behind ours. */
const CLOCK_MS = 300_000;
const ALL: Sought = { from: undefined, to: Number.POSITIVE_INFINITY, model: undefined, route: undefined };

/** Where a sink keeps what it was sent, and up to which record of the log. */
export interface ReplayOrigin {
  files: KeptFiles;
  arrived(): number;
  /** As the names of its own files say it, where others' lie beside them. */
  log: string;
}

/** What the log still keeps, from the oldest on: the files of a sink, and behind them the spool. */
export class ReplaySource {
  /** Where it stands in the spool; undefined: nothing of it is needed any more. */
  position: Position | undefined;
  /** Lines that are no records, and files that are none. */
  unreadable = 0;
  /** Records that the spool's limit took before they were read. */
  lost = 0;
  /** What the last file was that could not be read. */
  problem = '';
  private readonly spool: Spool;
  private readonly origin: ReplayOrigin | undefined;
  private files: KeptFile[] = [];
  private begin: number;
  private readonly end: number;

  /** @param origin undefined: there is only the spool */
  constructor(spool: Spool, origin: ReplayOrigin | undefined) {
    this.spool = spool;
    this.origin = origin;
    this.begin = origin?.arrived() ?? spool.oldest.record;
    this.end = spool.end.record;
    this.position = spool.find(this.begin);
  }

  /** Looks up the files that there are: to be called at once. Rejects naming the place. */
  async open(): Promise<void> {
    if (this.origin === undefined) return;
    const { files, log } = this.origin;
    const arrived = this.begin;
    // What arrived since is in the spool, too.
    this.files = inOrder(await files.list()).filter((file) => file.log !== log || file.first < arrived);
    if (this.files.length > 0) return;
    this.begin = this.spool.oldest.record;
    this.position = this.spool.find(this.begin);
  }

  /** The time since which all records are kept; undefined: since the log began. */
  async keptSince(): Promise<number | undefined> {
    const oldest = new Map<string, KeptFile>();
    for (const file of this.files) if (file.kind === 'inference' && !oldest.has(file.log)) oldest.set(file.log, file);
    let since: number | undefined;
    for (const file of oldest.values())
      if (file.first > 0) since = Math.max(since ?? 0, (await this.firstTime(file)) ?? file.writtenAt);
    if (oldest.size > 0) return since;
    if (this.begin === 0) return undefined;
    const [record] = this.spool.read(this.spool.find(this.begin), 1).records;
    return record === undefined ? undefined : placeOf(record)?.time;
  }

  /** Pages of the records that are meant. What is returned may be empty: time has passed. */
  async *pages(range: Sought): AsyncGenerator<SpoolRecord[]> {
    for (const file of this.files) yield* this.ofFile(file, range);
    yield* this.ofSpool(range);
    this.position = undefined;
  }

  close(): void {
    this.origin?.files.close();
  }

  private async firstTime(file: KeptFile): Promise<number | undefined> {
    const { files } = this.origin as ReplayOrigin;
    try {
      for await (const [text] of recordTexts(files, file, ALL)) if (text !== undefined) return timeOf(text);
    } catch (error) {
      if (!(error instanceof DamagedFile)) throw error;
    }
    return undefined;
  }

  private async *ofFile(file: KeptFile, range: Sought): AsyncGenerator<SpoolRecord[]> {
    const { files } = this.origin as ReplayOrigin;
    if (range.from !== undefined && file.writtenAt + CLOCK_MS < range.from) return;
    if (!mayHold(file.key, range)) return;
    try {
      for await (const texts of recordTexts(files, file, range)) {
        const page: SpoolRecord[] = [];
        for (const text of texts) {
          const time = timeOf(text);
          if (time !== undefined && isWithin(time, range)) {
            const record = this.read(text, file.kind);
            if (record !== undefined && isMeant(record, range)) page.push(record);
          } else if (time === undefined && text !== '') this.unreadable++;
        }
        yield page;
      }
    } catch (error) {
      if (!(error instanceof DamagedFile)) throw error;
      this.unreadable++;
      this.problem = error.message;
    }
  }

  private read(text: string, kind: RecordKind): SpoolRecord | undefined {
    const out = new AvroWriter(4096);
    try {
      if (kind === 'inference') writeRecord(readRecordJson(text), out);
      else writeFeedback(readFeedbackJson(text), out);
    } catch {
      this.unreadable++;
      return undefined;
    }
    return new SpoolRecord(kind === 'inference' ? INFERENCE : FEEDBACK, out.u8, 0, out.at);
  }

  private *ofSpool(range: Sought): Generator<SpoolRecord[]> {
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

function timeOf(text: string): number | undefined {
  const found = TIME.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

function isWithin(time: number, { from, to }: Sought): boolean {
  return time < to && (from === undefined || time >= from);
}

function isMeant(record: SpoolRecord, range: Sought): boolean {
  const place = placeOf(record);
  if (place === undefined || !isWithin(place.time, range)) return false;
  const { model, route } = range;
  return (model === undefined || place.model === model) && (route === undefined || place.route === route);
}
