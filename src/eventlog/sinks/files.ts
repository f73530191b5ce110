import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { FilesSinkConfig } from '../../config/event-log-schema.ts';
import type { RecordKind } from '../encode/container.ts';
import { sagemakerLine } from '../encode/json.ts';
import type { CursorState } from '../spool/cursor.ts';
import { syncFolder } from '../spool/folder.ts';
import type { SpoolRun } from '../spool/format.ts';
import { decodeSpooled } from './decode.ts';
import { deleteOldest, fileName, parseFileName } from './file-names.ts';
import { RecordLines } from './record-lines.ts';
import { type Batch, NOTHING, type Sink, type Taken } from './sink.ts';

interface OpenFile {
  name: string;
  fd: number;
  size: number;
  openedAt: number;
  /** Something was written that the disk may not have yet. */
  dirty: boolean;
  /** A batch failed: there may be bytes behind `size`. */
  torn: boolean;
}

const ENDING = 'jsonl';
const KINDS: readonly RecordKind[] = ['inference', 'feedback'];

/**
 * JSON lines in files that are closed when they are large or old enough: inference-N.jsonl, feedback-N.jsonl, where N
 * numbers the first record, and behind it the log's own digits if files of another log were there when it began. The cursor
 * knows how long the open files were: after a crash they are cut to it, so that no line is there twice. Lines are on the
 * disk before the cursor says so: the spool deletes what it has passed.
 */
export class JsonLinesSink implements Sink {
  readonly maxRecords = 1000;
  private readonly config: FilesSinkConfig;
  private readonly dir: string;
  private readonly open = new Map<RecordKind, OpenFile>();
  /** Of the batch that is being written. */
  private readonly lines = { inference: new RecordLines(), feedback: new RecordLines() };
  private digits = '';

  constructor(config: FilesSinkConfig, dir: string) {
    this.config = config;
    this.dir = dir;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }

  /** Tells its files from another log's. */
  get log(): string {
    return this.digits;
  }

  restore(note: CursorState['note'], from: number): void {
    const firstOf = (kind: RecordKind): number => parseFileName(String(note?.[`${kind}File`] ?? ''))?.first ?? -1;
    // Without a cursor, or where numbers begin anew, what is there is another log's.
    if (note === undefined || KINDS.some((kind) => firstOf(kind) > from)) {
      const others = readdirSync(this.dir).some((name) => parseFileName(name)?.ending === ENDING);
      this.digits = others ? randomBytes(4).toString('hex') : '';
      return;
    }
    this.digits = String(note.log ?? '');
    for (const kind of KINDS) {
      const name = note[`${kind}File`];
      const size = note[`${kind}Size`];
      // Files begun after the cursor was saved hold what comes again.
      for (const { own, first } of this.filesOf(kind))
        if (first > firstOf(kind)) rmSync(join(this.dir, own), { force: true });
      if (typeof name !== 'string' || typeof size !== 'number' || name === '') continue;
      try {
        const fd = openSync(join(this.dir, name), 'r+');
        const there = fstatSync(fd).size;
        // A file that lost its end ends with its last whole line, not with zeros.
        const kept = there < size ? lastLineEnd(fd, there) : size;
        ftruncateSync(fd, kept);
        this.open.set(kind, { name, fd, size: kept, openedAt: Date.now(), dirty: true, torn: false });
      } catch {
        // Taken away by someone who has it: a new file is begun.
      }
    }
  }

  async send({ runs, from }: Batch): Promise<Taken> {
    let refused = 0;
    const parts: { file: OpenFile; bytes: Buffer }[] = [];
    for (const kind of KINDS) {
      const lines = this.lines[kind];
      lines.clear();
      for (const run of runs)
        run.eachRange(kind === 'feedback', (first, end) => {
          refused +=
            this.config.format === 'sagemaker' ? addCaptures(run, first, end, lines) : lines.add(run, first, end);
        });
      if (lines.bytes.length === 0) continue;
      const file = this.open.get(kind) ?? this.begin(kind, from.record);
      parts.push({ file, bytes: lines.bytes });
    }
    // All of it or nothing: a batch that failed comes again, with the kind that was written.
    try {
      for (const { file, bytes } of parts) append(file, bytes);
    } catch (error) {
      for (const { file } of parts) cut(file);
      throw error;
    }
    for (const { file, bytes } of parts) {
      file.size += bytes.length;
      file.torn = false;
      file.dirty = true;
    }
    return { settled: true, refused };
  }

  async tick(now: number): Promise<Taken> {
    for (const [kind, file] of this.open) {
      if (file.size < this.config.rotateBytes && now - file.openedAt < this.config.rotateAfter) continue;
      sync(file);
      closeSync(file.fd);
      this.open.delete(kind);
    }
    return NOTHING;
  }

  /** Throws when the disk does not take what was written: the cursor must not pass it. */
  note(): CursorState['note'] {
    const note: Record<string, string | number> = {};
    for (const kind of KINDS) {
      const file = this.open.get(kind);
      if (file !== undefined) sync(file);
      // A closed file is kept as it is: only its name is needed, to tell which came later.
      note[`${kind}File`] = file?.name ?? this.filesOf(kind).at(-1)?.own ?? '';
      if (file !== undefined) note[`${kind}Size`] = file.size;
    }
    return this.digits === '' ? note : { ...note, log: this.digits };
  }

  async close(): Promise<void> {
    for (const { fd } of this.open.values()) closeSync(fd);
    this.open.clear();
  }

  private begin(kind: RecordKind, record: number): OpenFile {
    const name = fileName({ kind, first: record, log: this.digits, ending: ENDING });
    const path = join(this.dir, name);
    closeSync(openSync(path, 'a', 0o600));
    syncFolder(this.dir);
    const fd = openSync(path, 'r+');
    const { size } = fstatSync(fd);
    const file: OpenFile = { name, fd, size, openedAt: Date.now(), dirty: true, torn: false };
    this.open.set(kind, file);
    deleteOldest(this.dir, { kind, ending: ENDING }, this.config.keepFiles);
    return file;
  }

  /** Those of this log, from the oldest on. */
  private filesOf(kind: RecordKind): { own: string; first: number }[] {
    return readdirSync(this.dir)
      .flatMap((own) => {
        const name = parseFileName(own);
        const isOwn = name?.kind === kind && name.ending === ENDING && name.log === this.digits;
        return isOwn ? { own, first: name.first } : [];
      })
      .sort((a, b) => a.first - b.first);
  }
}

/** SageMaker's lines; it has none for feedback. Returns how many records cannot be read. */
function addCaptures(run: SpoolRun, from: number, to: number, lines: RecordLines): number {
  let refused = 0;
  for (let i = from; i < to; i++) {
    const record = decodeSpooled(run.record(i));
    if (record === undefined) refused++;
    else if ('features' in record) lines.line(sagemakerLine(record));
  }
  return refused;
}

function append(file: OpenFile, bytes: Buffer): void {
  if (file.torn) ftruncateSync(file.fd, file.size);
  file.torn = true;
  for (let written = 0; written < bytes.length; )
    written += writeSync(file.fd, bytes, written, bytes.length - written, file.size + written);
}

/** Takes away what a failed batch has written; where the disk refuses that, too, the next batch does it. */
function cut(file: OpenFile): void {
  if (!file.torn) return;
  try {
    ftruncateSync(file.fd, file.size);
    file.torn = false;
  } catch {
    // The error that is told is the first one.
  }
}

function sync(file: OpenFile): void {
  if (!file.dirty) return;
  fdatasyncSync(file.fd);
  file.dirty = false;
}

/** Behind the last line feed among the first `size` bytes of a file. */
function lastLineEnd(fd: number, size: number): number {
  const piece = Buffer.alloc(64 * 1024);
  for (let end = size; end > 0; end -= piece.length) {
    const start = Math.max(0, end - piece.length);
    const read = readSync(fd, piece, 0, end - start, start);
    const at = piece.lastIndexOf(10, read - 1);
    if (read > 0 && at >= 0) return start + at + 1;
  }
  return 0;
}
