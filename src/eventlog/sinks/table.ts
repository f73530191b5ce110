import type { FilesSinkConfig } from '../../config/event-log-schema.ts';
import type { RecordKind } from '../encode/container.ts';
import type { SpoolRecord } from '../spool/format.ts';
import type { Cuts } from './cuts.ts';
import { kindOf } from './decode.ts';
import { fileName } from './file-names.ts';
import { partitionOf, placeOf } from './partitions.ts';
import { type Batch, NOTHING, type Sink, type Taken } from './sink.ts';
import type { ObjectStore } from './store.ts';
import { ENDINGS, MEDIA_TYPES, rowsOf, type TableRows } from './table-rows.ts';

const READ_RECORDS = 1000;
/** What is larger only takes memory while it waits. */
const MAX_ROWS = 50_000;
/** Keys are what clients say, models of labels among them: they must not make files without end. */
const MAX_FILES = 200;

export interface TableParts {
  config: FilesSinkConfig;
  store: ObjectStore;
  cuts: Cuts;
  /** Names the replay that the records are of; '': they come for the first time. */
  replayed: string;
}

/** What waits for its files to be whole: the records from number `from` on. */
interface Gathered {
  from: number;
  /** Where the files must end, as they were begun before; undefined: when they are large or old enough. */
  end: number | undefined;
  begunAt: number;
  records: number;
  bytes: number;
  refused: number;
  /** By the folder, which begins with the kind. */
  rows: Map<string, { kind: RecordKind; rows: TableRows }>;
}

/** Files of the records `from` up to `to` that are on their way. */
interface Leaving {
  from: number;
  to: number;
  refused: number;
  files: { folder: string; kind: RecordKind; bytes: Uint8Array }[];
}

/**
 * JSON lines or Parquet as tables: <kind>/<partitions>/<kind>-N-LOG.<ending>, where N numbers the first of the records that
 * the files of one round hold, and LOG tells logs of several servers apart. Without partitions in a folder they are
 * <kind>-N.<ending>, if no other log's were there when the log began. Records wait in the spool until the files are whole, and leave memory when all of them have arrived.
 * An attempt that failed sends what has not arrived again; the same records make the same files, also after a crash (see
 * CutFile).
 */
export class TableSink implements Sink {
  private readonly parts: TableParts;
  private readonly flat: boolean;
  /** Number of the record that comes next. */
  private at = 0;
  private gathered: Gathered | undefined;
  private leaving: Leaving | undefined;

  constructor(parts: TableParts) {
    this.parts = parts;
    this.flat = isFlat(parts.config);
  }

  /** No more than up to where files must end. */
  get maxRecords(): number {
    const end = this.leaving?.to ?? this.gathered?.end ?? this.parts.cuts.endOf(this.at);
    return end === undefined || end <= this.at ? READ_RECORDS : Math.min(READ_RECORDS, end - this.at);
  }

  restore(_: unknown, from: number): void {
    this.at = from;
    this.parts.cuts.resume(from);
  }

  async send({ records, from, next }: Batch): Promise<Taken> {
    if (from.record !== this.at) this.goBack(from.record);
    if (this.leaving !== undefined) return this.goOn(this.leaving, records, next.record);
    const gathered = this.gathered ?? this.begin(from.record);
    const refused = this.add(records, next.record, gathered);
    const { end } = gathered;
    if (end === undefined ? !this.isFull(gathered) : this.at < end) return { settled: false, refused };
    await this.leave(gathered);
    return { settled: true, refused };
  }

  async tick(now: number, force: boolean): Promise<Taken> {
    const { gathered } = this;
    if (gathered === undefined || this.leaving !== undefined) return NOTHING;
    // Files that were begun before end where they did: the rest of their records is in the spool.
    if (gathered.end !== undefined) return NOTHING;
    if (!force && now - gathered.begunAt < this.parts.config.rotateAfter) return NOTHING;
    await this.leave(gathered);
    return { settled: true, refused: 0 };
  }

  note(): undefined {
    return undefined;
  }

  async close(): Promise<void> {
    await this.parts.store.close();
  }

  /** After an error the runner comes from the last settled place again; what is made already is kept for it. */
  private goBack(record: number): void {
    this.at = record;
    this.gathered = undefined;
    if (this.leaving?.from !== record) this.leaving = undefined;
  }

  /** Files of these records are made: what has not arrived is sent, and the records are passed over. */
  private async goOn(leaving: Leaving, records: readonly SpoolRecord[], next: number): Promise<Taken> {
    await this.upload(leaving);
    this.at = next;
    if (next < leaving.to) return { settled: false, refused: 0 };
    this.leaving = undefined;
    // Damaged records stand in for numbers: a batch may reach further than was asked for.
    const over = next - leaving.to;
    if (over === 0) return { settled: true, refused: leaving.refused };
    const refused = this.add(records.slice(-over), next, this.begin(leaving.to));
    return { settled: false, refused: leaving.refused + refused };
  }

  private begin(from: number): Gathered {
    const end = this.parts.cuts.endOf(from);
    this.gathered = { from, end, begunAt: Date.now(), records: 0, bytes: 0, refused: 0, rows: new Map() };
    return this.gathered;
  }

  /** Returns how many cannot be read. */
  private add(records: readonly SpoolRecord[], next: number, gathered: Gathered): number {
    this.at = next;
    let refused = 0;
    const folders = new Map<string, SpoolRecord[]>();
    for (const record of records) {
      const kind = kindOf(record);
      const folder = this.folderOf(record, kind);
      if (folder === undefined) refused++;
      else {
        const own = folders.get(folder);
        if (own === undefined) folders.set(folder, [record]);
        else own.push(record);
      }
    }
    const { replayed } = this.parts;
    const { format } = this.parts.config;
    for (const [folder, own] of folders) {
      const kind = kindOf(own[0]);
      let table = gathered.rows.get(folder);
      if (table === undefined) {
        table = { kind, rows: rowsOf(kind, format, this.flat && replayed === '' ? undefined : replayed) };
        gathered.rows.set(folder, table);
      }
      gathered.bytes -= table.rows.bytes;
      refused += table.rows.add(own);
      gathered.bytes += table.rows.bytes;
    }
    gathered.records += records.length;
    gathered.refused += refused;
    return refused;
  }

  /** Undefined: it cannot be read. */
  private folderOf(record: SpoolRecord, kind: RecordKind): string | undefined {
    const { partitionBy } = this.parts.config;
    if (partitionBy.length === 0) return `${kind}/`;
    const place = placeOf(record);
    return place === undefined ? undefined : `${kind}/${partitionOf(place, partitionBy)}`;
  }

  private isFull({ bytes, records, rows }: Gathered): boolean {
    return bytes >= this.parts.config.rotateBytes || records >= MAX_ROWS || rows.size >= MAX_FILES;
  }

  private async leave({ from, rows, refused }: Gathered): Promise<void> {
    const files: Leaving['files'] = [];
    for (const [folder, { kind, rows: own }] of rows) {
      const bytes = own.file();
      if (bytes !== undefined) files.push({ folder, kind, bytes });
    }
    this.gathered = undefined;
    this.leaving = { from, to: this.at, refused, files };
    await this.upload(this.leaving);
    this.leaving = undefined;
  }

  private async upload({ from, to, files }: Leaving): Promise<void> {
    if (files.length === 0) return;
    const { config, store, cuts, replayed } = this.parts;
    try {
      cuts.begin(from, to);
      while (files.length > 0) {
        const { folder, kind, bytes } = files[0];
        const name = fileName({ kind, first: from, log: cuts.log, ending: ENDINGS[config.format] });
        const key = `${this.flat ? '' : folder}${replayed === '' ? '' : `replay-${replayed}-`}${name}`;
        await store.put(key, bytes, MEDIA_TYPES[config.format]);
        files.shift();
      }
    } catch (error) {
      // From where the runner comes again.
      this.at = from;
      throw error;
    }
  }
}

/** Files lie beside each other in a folder. */
export function isFlat({ s3, partitionBy }: FilesSinkConfig): boolean {
  return s3 === undefined && partitionBy.length === 0;
}
