import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';

export interface CsvRecord {
  /** Where it begins, from 1. */
  line: number;
  /** null: nothing at all stood there, or a text that stands for nothing; `""` is an empty text. */
  values: (string | null)[];
  /** Why it is no record; then `values` is empty and `raw` its line as it came. */
  problem?: string;
  raw?: string;
}

export interface CsvOptions {
  /** One character; default: a comma. */
  delimiter?: string | undefined;
  /** Unquoted texts that stand for a missing value. */
  missing?: ReadonlySet<string> | undefined;
}

const QUOTE = 34;
const LF = 10;
const CR = 13;
const MAX_RECORD_CHARS = 16 * 1024 * 1024;

/**
 * Records of CSV (RFC 4180) as chunks come. Lines end with LF, CRLF or CR; empty ones are left out, as is a byte order mark.
 * What is no record is told with its problem, and reading goes on behind the end of its line.
 */
export class CsvReader {
  private readonly delimiter: number;
  private readonly missing: ReadonlySet<string>;
  private readonly decoder = new StringDecoder('utf8');
  private text = '';
  private at = 0;
  private line = 1;
  private begun = false;
  /** Less than this holds no whole record. */
  private enough = 0;

  constructor({ delimiter = ',', missing = new Set() }: CsvOptions = {}) {
    this.delimiter = delimiter.charCodeAt(0);
    this.missing = missing;
  }

  push(chunk: Uint8Array | string): CsvRecord[] {
    const text = typeof chunk === 'string' ? chunk : this.decoder.write(chunk as Buffer);
    return this.take(text, false);
  }

  /** The rest, when no more will come. */
  end(): CsvRecord[] {
    return this.take(this.decoder.end(), true);
  }

  private take(text: string, final: boolean): CsvRecord[] {
    this.text = this.at === 0 ? this.text + text : this.text.slice(this.at) + text;
    this.at = 0;
    if (!final && this.text.length < this.enough) return [];
    if (!this.begun && this.text !== '') {
      if (this.text.charCodeAt(0) === 0xfeff) this.at = 1;
      this.begun = true;
    }
    const records: CsvRecord[] = [];
    while (this.at < this.text.length) {
      const record = this.record(final);
      if (record === undefined) break;
      // An empty line has no values.
      if (record.values.length > 0 || record.problem !== undefined) records.push(record);
    }
    // A long record is looked at again only when twice as much of it is there.
    const waiting = this.text.length - this.at;
    this.enough = 2 * waiting;
    if (waiting > MAX_RECORD_CHARS) {
      records.push(this.broken(this.at, `a record is longer than ${MAX_RECORD_CHARS} characters`, this.text.length));
      this.enough = 0;
    }
    return records;
  }

  /** The record at `at`, and `at` behind it. Undefined: its end has not come yet. */
  private record(final: boolean): CsvRecord | undefined {
    const { text, delimiter, missing } = this;
    const begin = this.at;
    const values: (string | null)[] = [];
    let lines = 1;
    for (let at = begin; ; at++) {
      let code = 0;
      if (text.charCodeAt(at) === QUOTE) {
        let value = '';
        for (let from = at + 1; ; ) {
          const quote = text.indexOf('"', from);
          if (quote < 0) return final ? this.broken(begin, 'a quote is not closed', text.length) : undefined;
          if (quote + 1 === text.length && !final) return undefined;
          if (text.charCodeAt(quote + 1) !== QUOTE) {
            value += text.slice(from, quote);
            at = quote + 1;
            break;
          }
          value += text.slice(from, quote + 1);
          from = quote + 2;
        }
        if (value.includes('\n') || value.includes('\r')) lines += countLines(value);
        values.push(value);
        code = text.charCodeAt(at);
        if (at < text.length && code !== delimiter && code !== LF && code !== CR)
          return this.brokenLine(begin, at, final, `${JSON.stringify(text[at])} stands behind a closing quote`);
      } else {
        const from = at;
        for (; at < text.length; at++) {
          code = text.charCodeAt(at);
          if (code === delimiter || code === LF || code === CR) break;
          if (code === QUOTE)
            return this.brokenLine(begin, at, final, 'a quote stands within a value that does not begin with one');
        }
        const value = text.slice(from, at);
        values.push(value === '' || missing.has(value) ? null : value);
        code = text.charCodeAt(at);
      }
      if (code === delimiter && at < text.length) continue;
      if (at >= text.length && !final) return undefined;
      if (code === CR && at + 1 === text.length && !final) return undefined;
      const record = { line: this.line, values: at === begin ? [] : values };
      this.at = Math.min(text.length, at + (code === CR && text.charCodeAt(at + 1) === LF ? 2 : 1));
      this.line += lines;
      return record;
    }
  }

  /** Behind the end of the line; undefined: it has not come yet. */
  private endOfLine(from: number, final: boolean): number | undefined {
    const { text } = this;
    for (let at = from; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === LF) return at + 1;
      if (code === CR && (at + 1 < text.length || final)) return text.charCodeAt(at + 1) === LF ? at + 2 : at + 1;
    }
    return final ? text.length : undefined;
  }

  private brokenLine(begin: number, from: number, final: boolean, problem: string): CsvRecord | undefined {
    const end = this.endOfLine(from, final);
    return end === undefined ? undefined : this.broken(begin, problem, end);
  }

  private broken(begin: number, problem: string, end: number): CsvRecord {
    const raw = this.text.slice(begin, end);
    const record = { line: this.line, values: [], problem, raw };
    this.at = end;
    this.line += Math.max(1, countLines(raw));
    return record;
  }
}

/** The records of a stream, which is destroyed afterwards. Rejects when it fails. */
export async function* readCsvRecords(stream: Readable, options: CsvOptions): AsyncGenerator<CsvRecord> {
  const reader = new CsvReader(options);
  for await (const chunk of stream as AsyncIterable<Uint8Array | string>) yield* reader.push(chunk);
  yield* reader.end();
}

/** Makes rows of values by name. */
export function rowMaker(
  names: readonly string[],
): (values: readonly (string | null)[]) => Record<string, string | null> {
  if (names.includes('__proto__')) return (values) => Object.fromEntries(names.map((name, i) => [name, values[i]]));
  return (values) => {
    const row: Record<string, string | null> = {};
    for (let i = 0; i < names.length; i++) row[names[i]] = values[i];
    return row;
  };
}

function countLines(text: string): number {
  let lines = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === LF || (code === CR && text.charCodeAt(i + 1) !== LF)) lines++;
  }
  return lines;
}
