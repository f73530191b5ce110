import { closeSync, ftruncateSync, mkdirSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { FilesSinkConfig } from '../../config/event-log-schema.ts';
import type { RecordKind } from '../encode/container.ts';
import { recordJson, sagemakerLine } from '../encode/json.ts';
import type { CursorState } from '../spool/cursor.ts';
import { FEEDBACK, type SpoolRecord } from '../spool/format.ts';
import { decodeSpooled } from './decode.ts';
import { type Batch, NOTHING, type Sink, type Taken } from './sink.ts';

interface OpenFile {
  name: string;
  fd: number;
  size: number;
  openedAt: number;
}

const KINDS: readonly RecordKind[] = ['inference', 'feedback'];

/**
 * JSON lines in files that are closed when they are large or old enough: inference-N.jsonl, feedback-N.jsonl, where N
 * numbers the first record. The cursor knows how long the open files were: after a crash they are cut to it, so that no
 * line is there twice.
 */
export class JsonLinesSink implements Sink {
  readonly maxRecords = 1000;
  private readonly config: FilesSinkConfig;
  private readonly dir: string;
  private readonly open = new Map<RecordKind, OpenFile>();

  constructor(config: FilesSinkConfig, dir: string) {
    this.config = config;
    this.dir = dir;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }

  restore(note: CursorState['note']): void {
    for (const kind of KINDS) {
      const name = note?.[`${kind}File`];
      const size = note?.[`${kind}Size`];
      // Files begun after the cursor was saved hold what comes again.
      for (const other of this.filesOf(kind))
        if (note !== undefined && other > String(name ?? '')) rmSync(join(this.dir, other), { force: true });
      if (typeof name !== 'string' || typeof size !== 'number' || name === '') continue;
      try {
        const fd = openSync(join(this.dir, name), 'r+');
        ftruncateSync(fd, size);
        this.open.set(kind, { name, fd, size, openedAt: Date.now() });
      } catch {
        // Taken away by someone who has it: a new file is begun.
      }
    }
  }

  async send({ records, from }: Batch): Promise<Taken> {
    let refused = 0;
    for (const kind of KINDS) {
      const mine = records.filter((record) => (record.kind === FEEDBACK) === (kind === 'feedback'));
      if (mine.length === 0) continue;
      const all = mine.map((record) => this.lineOf(record));
      refused += all.filter((line) => line === undefined).length;
      const lines = all.filter((line) => line !== undefined && line !== '');
      if (lines.length === 0) continue;
      const file = this.open.get(kind) ?? this.begin(kind, from.record);
      const bytes = Buffer.from(`${lines.join('\n')}\n`);
      try {
        for (let written = 0; written < bytes.length; )
          written += writeSync(file.fd, bytes, written, bytes.length - written, file.size + written);
      } catch (error) {
        ftruncateSync(file.fd, file.size);
        throw error;
      }
      file.size += bytes.length;
    }
    return { settled: true, refused };
  }

  async tick(now: number): Promise<Taken> {
    for (const [kind, file] of this.open) {
      if (file.size < this.config.rotateBytes && now - file.openedAt < this.config.rotateAfter) continue;
      closeSync(file.fd);
      this.open.delete(kind);
    }
    return NOTHING;
  }

  note(): CursorState['note'] {
    const note: Record<string, string | number> = {};
    for (const kind of KINDS) {
      const file = this.open.get(kind);
      // A closed file is kept as it is: only its name is needed, to tell which came later.
      note[`${kind}File`] = file?.name ?? this.filesOf(kind).at(-1) ?? '';
      if (file !== undefined) note[`${kind}Size`] = file.size;
    }
    return note;
  }

  async close(): Promise<void> {
    for (const { fd } of this.open.values()) closeSync(fd);
    this.open.clear();
  }

  /** '' where the format has no line for it; undefined: it cannot be read. */
  private lineOf(spooled: SpoolRecord): string | undefined {
    const record = decodeSpooled(spooled);
    if (record === undefined) return undefined;
    if (this.config.format !== 'sagemaker') return recordJson(record);
    return 'features' in record ? sagemakerLine(record) : '';
  }

  private begin(kind: RecordKind, record: number): OpenFile {
    const name = `${kind}-${String(record).padStart(15, '0')}.jsonl`;
    const path = join(this.dir, name);
    const file: OpenFile = { name, fd: openSync(path, 'a+', 0o600), size: 0, openedAt: Date.now() };
    file.size = statSync(path).size;
    closeSync(file.fd);
    file.fd = openSync(path, 'r+');
    this.open.set(kind, file);
    const files = this.filesOf(kind);
    for (const old of files.slice(0, Math.max(0, files.length - this.config.keepFiles))) rmSync(join(this.dir, old));
    return file;
  }

  private filesOf(kind: RecordKind): string[] {
    return readdirSync(this.dir)
      .filter((name) => name.startsWith(`${kind}-`) && name.endsWith('.jsonl'))
      .sort();
  }
}
