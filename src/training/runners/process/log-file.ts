import { closeSync, openSync, writeSync } from 'node:fs';
import { formatBytes } from '../../format-bytes.ts';

const TAIL_BYTES = 64 * 1024;

/** A log with an upper bound: its beginning and its end are kept, and a marker stands for what lies between. */
export class LogFile {
  /** Bytes that were left out. */
  dropped = 0;
  private readonly fd: number;
  private readonly maxBytes: number;
  private size = 0;
  private tail: Buffer[] = [];
  private tailBytes = 0;

  constructor(file: string, maxBytes: number) {
    this.fd = openSync(file, 'a', 0o600);
    this.maxBytes = maxBytes;
  }

  write(chunk: Buffer): void {
    const room = Math.max(0, this.maxBytes - this.size);
    if (room > 0) {
      const taken = chunk.subarray(0, room);
      this.append(taken);
      this.size += taken.length;
      if (taken.length === chunk.length) return;
      this.append(
        Buffer.from(`\n[switchyard] the log is full at ${formatBytes(this.maxBytes)}; only its end follows\n`),
      );
    }
    this.keep(chunk.subarray(room));
  }

  close(): void {
    if (this.tailBytes > 0) {
      const end = Buffer.concat(this.tail).subarray(-TAIL_BYTES);
      this.dropped -= end.length;
      if (this.dropped > 0) this.append(Buffer.from(`[switchyard] ${formatBytes(this.dropped)} were left out here\n`));
      this.append(end);
    }
    closeSync(this.fd);
  }

  private keep(chunk: Buffer): void {
    this.dropped += chunk.length;
    this.tail.push(chunk);
    this.tailBytes += chunk.length;
    while (this.tailBytes - this.tail[0].length >= TAIL_BYTES) this.tailBytes -= (this.tail.shift() as Buffer).length;
  }

  /** A full disk costs log lines, never the job's end. */
  private append(bytes: Buffer): void {
    try {
      let at = 0;
      while (at < bytes.length) at += writeSync(this.fd, bytes, at);
    } catch {
      this.dropped += bytes.length;
    }
  }
}

const MAX_LINE = 64 * 1024;

/**
 * Passes output on by whole lines, with a prefix and with secrets made unreadable. A secret that a line break or 64 KiB
 * without one cut in two is not found.
 */
export class LineFilter {
  private rest = '';
  private readonly prefix: string;
  private readonly secrets: readonly string[];
  private readonly write: (bytes: Buffer) => void;

  constructor(prefix: string, secrets: readonly string[], write: (bytes: Buffer) => void) {
    this.prefix = prefix;
    this.secrets = secrets.filter((secret) => secret.length >= 4);
    this.write = write;
  }

  add(chunk: Buffer): void {
    // Latin-1 keeps every byte as it is, also half a character at a chunk's end.
    this.rest += chunk.toString('latin1');
    const end = Math.max(this.rest.lastIndexOf('\n'), this.rest.lastIndexOf('\r')) + 1;
    if (end > 0) this.pass(this.rest.slice(0, end));
    this.rest = this.rest.slice(end);
    if (this.rest.length > MAX_LINE) this.end();
  }

  end(): void {
    if (this.rest !== '') this.pass(this.rest);
    this.rest = '';
  }

  private pass(lines: string): void {
    let text = lines;
    for (const secret of this.secrets) text = text.replaceAll(Buffer.from(secret).toString('latin1'), '***');
    if (this.prefix !== '') text = text.replace(/[^\r\n]+/g, (line) => this.prefix + line);
    this.write(Buffer.from(text, 'latin1'));
  }
}
