import {
  closeSync,
  fdatasync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { syncFolder } from './folder.ts';
import { type Parsed, parseRecords, type SpoolRecord, type SpoolRun } from './format.ts';
import { RecentChunks } from './recent-chunks.ts';

/** A place in the spool: before the record with number `record`. */
export interface Position {
  segment: number;
  offset: number;
  /** Records ever appended before it. */
  record: number;
}

export interface SpoolOptions {
  dir: string;
  segmentBytes: number;
  maxBytes: number;
  whenFull: 'drop-oldest' | 'drop-new';
  /** Milliseconds between two flushes to the disk, 'always' = before a record is committed. */
  fsync: number | 'never' | 'always';
}

export class SpoolRead {
  readonly runs: readonly SpoolRun[];
  readonly next: Position;
  /** Records that were damaged, or deleted before they were read. */
  readonly lost: number;
  private made: readonly SpoolRecord[] | undefined;

  constructor(runs: readonly SpoolRun[], next: Position, lost: number) {
    this.runs = runs;
    this.next = next;
    this.lost = lost;
  }

  get count(): number {
    return this.runs.reduce((sum, { count }) => sum + count, 0);
  }

  /** One by one: made when they are asked for. */
  get records(): readonly SpoolRecord[] {
    this.made ??= this.runs.flatMap((run) => run.records);
    return this.made;
  }
}

interface Segment {
  number: number;
  /** Number of its first record. */
  first: number;
  bytes: number;
  records: number;
}

const NAME = /^(\d{12})-(\d{15})\.spool$/;
const READ_BYTES = 1024 * 1024;
/** Of the records that are read together. */
const BATCH_BYTES = 4 * 1024 * 1024;

/**
 * Records on the disk until every sink has them, in segments that are only ever appended to. Opening one cuts a torn
 * tail and sets damaged records aside. The caller appends whole records; a chunk that the disk refuses is gone without a
 * trace, and the caller counts it.
 */
export class Spool {
  /** Damaged records found, and put into files beside the segments. */
  setAside = 0;
  bytes = 0;
  /** Of a record that was being written when the process ended. */
  tornBytes = 0;
  errors = 0;
  lastError = '';
  /** Records that the size limit took before every sink had them. */
  evicted = 0;
  private readonly options: SpoolOptions;
  private readonly segments: Segment[] = [];
  private fd = -1;
  private readonly recent = new RecentChunks();
  private readonly aside = new Set<string>();
  private syncing = false;
  private dirty = false;
  private readonly timer: NodeJS.Timeout | undefined;

  constructor(options: SpoolOptions) {
    this.options = options;
    mkdirSync(options.dir, { recursive: true, mode: 0o700 });
    this.recover();
    if (typeof options.fsync === 'number') {
      this.timer = setInterval(() => this.sync(), options.fsync);
      this.timer.unref();
    }
  }

  /** Before the first record that is still here. */
  get oldest(): Position {
    const [segment] = this.segments;
    return { segment: segment.number, offset: 0, record: segment.first };
  }

  /** Behind the last record. */
  get end(): Position {
    const segment = this.segments[this.segments.length - 1];
    return { segment: segment.number, offset: segment.bytes, record: segment.first + segment.records };
  }

  /** Appends `count` sealed records. False: the disk or the limit refused them, and they are in no place. */
  append(chunk: Uint8Array, count: number): boolean {
    if (!this.makeRoom(chunk.length)) return false;
    try {
      this.write(chunk, count);
      return true;
    } catch (error) {
      this.failed(error);
      if (this.options.whenFull === 'drop-new' || this.segments.length < 2) return false;
    }
    this.evict();
    try {
      this.write(chunk, count);
      return true;
    } catch (error) {
      this.failed(error);
      return false;
    }
  }

  /** Up to `maxRecords` from `from` on. Fewer, or none, at the end. Throws where the next one cannot be read now. */
  read(from: Position, maxRecords: number): SpoolRead {
    let at = this.clamp(from);
    let lost = at.record - from.record;
    const runs: SpoolRun[] = [];
    let count = 0;
    let bytes = 0;
    while (count < maxRecords && bytes < BATCH_BYTES) {
      const index = this.segments.findIndex(({ number }) => number === at.segment);
      const segment = this.segments[index];
      let unreadable = 0;
      if (at.offset < segment.bytes) {
        let found: ReturnType<Spool['parse']>;
        try {
          found = this.parse(segment, at, maxRecords - count);
        } catch (error) {
          // What was read before goes on; the next call begins here.
          if (count > 0) break;
          throw error;
        }
        const { parsed, base } = found;
        if (parsed.count > 0) {
          runs.push(parsed.run);
          count += parsed.run.count;
          lost += parsed.bad.length;
          bytes += base + parsed.end - at.offset;
          at = { segment: at.segment, offset: base + parsed.end, record: at.record + parsed.count };
          continue;
        }
        // Nothing good up to the end of a segment that was whole when it was written: damaged since.
        unreadable = segment.first + segment.records - at.record;
      }
      const following = this.segments[index + 1];
      if (following === undefined) break;
      lost += unreadable;
      at = { segment: following.number, offset: 0, record: following.first };
    }
    return new SpoolRead(runs, at, lost);
  }

  /** A place at or before the record with a number, in its segment. */
  find(record: number): Position {
    const { end } = this;
    if (record >= end.record) return end;
    const segment = this.segments.findLast(({ first }) => first <= record);
    if (segment === undefined) return this.oldest;
    const kept = this.recent.before(record, segment.number);
    if (kept !== undefined) return { segment: kept.segment, offset: kept.offset, record: kept.record };
    return { segment: segment.number, offset: 0, record: segment.first };
  }

  /** Every segment read again from the disk, and every record checked. Throws where one cannot be read. */
  *check(): Iterable<{ segment: number; records: number; bytes: number; bad: Parsed['bad'] }> {
    for (const segment of [...this.segments]) {
      const bytes = this.readBytes(segment, 0, segment.bytes);
      const { run, bad, end } = parseRecords(bytes, 0, Number.POSITIVE_INFINITY);
      const rest = end < segment.bytes ? [{ start: end, end: segment.bytes }] : [];
      yield { segment: segment.number, records: run.count, bytes: segment.bytes, bad: [...bad, ...rest] };
    }
  }

  /** Deletes what every one of the positions has passed. The positions must be durable. */
  release(positions: readonly Position[]): void {
    while (this.segments.length > 1 && positions.every(({ segment }) => segment > this.segments[0].number))
      this.remove(this.segments[0]);
  }

  /** Everything appended so far is on the disk when it resolves. */
  flush(): void {
    if (this.fd >= 0 && this.dirty) {
      try {
        fsyncSync(this.fd);
        this.dirty = false;
      } catch (error) {
        this.failed(error);
      }
    }
  }

  close(): void {
    clearInterval(this.timer);
    this.flush();
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
  }

  private parse(segment: Segment, at: Position, maxRecords: number): { parsed: Parsed; base: number } {
    const kept = this.recent.with(at.record);
    if (kept !== undefined && kept.segment === at.segment)
      return { parsed: parseRecords(kept.chunk, at.offset - kept.offset, maxRecords, false), base: kept.offset };
    for (let size = READ_BYTES; ; size *= 4) {
      const bytes = this.readBytes(segment, at.offset, Math.min(size, segment.bytes - at.offset));
      const parsed = parseRecords(bytes, 0, maxRecords);
      if (parsed.count === 0 && at.offset + size < segment.bytes) continue;
      for (const { start, end } of parsed.bad) this.putAside(segment, at.offset + start, bytes.subarray(start, end));
      return { parsed, base: at.offset };
    }
  }

  /**
   * Fewer than `length` only where the file is shorter. Throws what the disk says: bytes that cannot be read now are not
   * damaged, and may be read later.
   */
  private readBytes(segment: Segment, offset: number, length: number): Uint8Array {
    const bytes = Buffer.allocUnsafeSlow(length);
    let read = 0;
    try {
      const fd = openSync(this.path(segment), 'r');
      try {
        while (read < length) {
          const count = readSync(fd, bytes, read, length - read, offset + read);
          if (count === 0) break;
          read += count;
        }
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      this.failed(error);
      throw new Error(`${this.path(segment)} cannot be read: ${this.lastError}`, { cause: error });
    }
    return bytes.subarray(0, read);
  }

  /** Where a position that was evicted, or is of another spool, goes on. */
  private clamp(position: Position): Position {
    const { oldest, end } = this;
    if (position.segment < oldest.segment) return oldest;
    const segment = this.segments.find(({ number }) => number === position.segment);
    if (segment === undefined || position.offset > segment.bytes) return position.segment > end.segment ? end : oldest;
    return position;
  }

  private makeRoom(bytes: number): boolean {
    const { maxBytes, segmentBytes, whenFull } = this.options;
    while (this.bytes + bytes > maxBytes) {
      if (whenFull === 'drop-new') return false;
      if (this.segments.length < 2) return false;
      this.evict();
    }
    const last = this.segments[this.segments.length - 1];
    if (last.records === 0 || last.bytes + bytes <= segmentBytes) return true;
    try {
      this.begin(last.number + 1, last.first + last.records);
      return true;
    } catch (error) {
      this.failed(error);
      return false;
    }
  }

  private evict(): void {
    const [oldest] = this.segments;
    this.evicted += oldest.records;
    this.remove(oldest);
  }

  private write(chunk: Uint8Array, count: number): void {
    const segment = this.segments[this.segments.length - 1];
    let written = 0;
    try {
      while (written < chunk.length)
        written += writeSync(this.fd, chunk, written, chunk.length - written, segment.bytes + written);
      if (this.options.fsync === 'always') fsyncSync(this.fd);
    } catch (error) {
      // What was written in part is no record: the next one goes to the same place.
      ftruncateSync(this.fd, segment.bytes);
      throw error;
    }
    const record = segment.first + segment.records;
    this.recent.add({ segment: segment.number, offset: segment.bytes, record, chunk, count });
    segment.bytes += chunk.length;
    segment.records += count;
    this.bytes += chunk.length;
    this.dirty = true;
  }

  private sync(): void {
    if (this.syncing || !this.dirty || this.fd < 0) return;
    this.syncing = true;
    this.dirty = false;
    fdatasync(this.fd, (error) => {
      this.syncing = false;
      // A segment that was closed meanwhile was flushed before.
      if (error !== null && (error as NodeJS.ErrnoException).code !== 'EBADF') this.failed(error);
    });
  }

  private begin(number: number, first: number): void {
    const segment: Segment = { number, first, bytes: 0, records: 0 };
    const fd = openSync(this.path(segment), 'w', 0o600);
    if (this.options.fsync !== 'never') syncFolder(this.options.dir);
    this.flush();
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = fd;
    this.segments.push(segment);
  }

  private remove(segment: Segment): void {
    this.segments.splice(this.segments.indexOf(segment), 1);
    this.bytes -= segment.bytes;
    this.recent.forget(segment.number);
    try {
      unlinkSync(this.path(segment));
    } catch (error) {
      this.failed(error);
    }
  }

  private recover(): void {
    const found = readdirSync(this.options.dir)
      .map((name) => NAME.exec(name))
      .filter((match) => match !== null)
      .map(([, number, first]) => ({ number: Number(number), first: Number(first), bytes: 0, records: 0 }))
      .sort((a, b) => a.number - b.number);
    found.forEach((segment, i) => {
      // Only the last one can be torn; how many records the others hold, the next one's name says.
      if (i === found.length - 1) this.mend(segment);
      else {
        segment.bytes = statSync(this.path(segment)).size;
        segment.records = found[i + 1].first - segment.first;
      }
      this.segments.push(segment);
      this.bytes += segment.bytes;
    });
    const last = this.segments[this.segments.length - 1];
    if (last === undefined) this.begin(1, 0);
    else this.begin(last.number + 1, last.first + last.records);
  }

  /** Counts the last segment's records and cuts its torn tail. Throws when it cannot be read, and cuts nothing. */
  private mend(segment: Segment): void {
    const size = statSync(this.path(segment)).size;
    const parsed = parseRecords(this.readBytes(segment, 0, size), 0, Number.POSITIVE_INFINITY);
    segment.bytes = parsed.end;
    segment.records = parsed.count;
    if (parsed.end === size) return;
    this.tornBytes += size - parsed.end;
    const fd = openSync(this.path(segment), 'r+');
    ftruncateSync(fd, parsed.end);
    fsyncSync(fd);
    closeSync(fd);
  }

  /** Puts damaged bytes into a file beside the segment, once however often they are met. */
  private putAside(segment: Segment, offset: number, bytes: Uint8Array): void {
    const path = `${this.path(segment)}@${offset}.bad`;
    if (this.aside.has(path)) return;
    this.aside.add(path);
    this.setAside++;
    try {
      writeFileSync(path, bytes, { mode: 0o600 });
    } catch (error) {
      this.failed(error);
    }
  }

  private failed(error: unknown): void {
    this.errors++;
    this.lastError = error instanceof Error ? error.message : String(error);
  }

  private path({ number, first }: Pick<Segment, 'number' | 'first'>): string {
    const name = `${String(number).padStart(12, '0')}-${String(first).padStart(15, '0')}.spool`;
    return join(this.options.dir, name);
  }
}
