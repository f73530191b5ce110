import { createRequire } from 'node:module';
import { constants, gzipSync } from 'node:zlib';
import { crc32c } from '../shared/crc32c.ts';

const load = createRequire(import.meta.url);

/** The version whose parts are replaced: another one is left as it is. */
const VERSION = '2.2.4';
const RECORD = 'kafkajs/src/protocol/recordBatch/record/v0';
const CHECKSUM = 'kafkajs/src/protocol/recordBatch/crc32C';
const COMPRESSION = 'kafkajs/src/protocol/message/compression';
/** kafkajs's number. */
const GZIP = 1;

export interface PlainRecord {
  offsetDelta?: number;
  timestampDelta?: number;
  key?: string | Buffer | null;
  value?: string | Buffer | null;
  headers?: Record<string, unknown>;
}

/** What kafkajs asks of an encoder that it copies from. */
export class EncodedRecord {
  readonly buf: Buffer;

  constructor(buf: Buffer) {
    this.buf = buf;
  }

  get buffer(): Buffer {
    return this.buf;
  }

  size(): number {
    return this.buf.length;
  }
}

let installed = false;

/**
 * kafkajs makes an encoder of half a kilobyte for each header of each record, and takes its checksums byte by byte: most
 * of what a record costs. These give the same bytes for a tenth of it. Call it before kafkajs is first loaded.
 */
export function speedUpEncoding(): void {
  if (installed) return;
  installed = true;
  const { version } = load('kafkajs/package.json') as { version: string };
  if (version !== VERSION) return;
  const original = originalRecord();
  replace(RECORD, (record: PlainRecord) => encodeRecord(record) ?? original(record));
  replace(CHECKSUM, (bytes: Buffer) => crc32c(bytes, 0, bytes.length));
  const { Codecs } = load(COMPRESSION) as { Codecs: Record<number, () => object> };
  const codec = { ...Codecs[GZIP](), compress };
  Codecs[GZIP] = () => codec;
}

/** kafkajs's own. */
export function originalRecord(): (record: PlainRecord) => { buffer: Buffer } {
  return load(RECORD) as (record: PlainRecord) => { buffer: Buffer };
}

function replace(name: string, by: unknown): void {
  load(name);
  const module = load.cache[load.resolve(name)];
  if (module !== undefined) module.exports = by;
}

/** A record of a batch in Kafka's format 2. Undefined: it has parts that are left to kafkajs. */
export function encodeRecord(record: PlainRecord): EncodedRecord | undefined {
  const { offsetDelta = 0, timestampDelta = 0, key = null, value = null, headers = {} } = record;
  if (!isPlain(key) || !isPlain(value) || !Number.isSafeInteger(timestampDelta * 2)) return undefined;
  const names = Object.keys(headers);
  let size = 1 + varintBytes(timestampDelta) + varintBytes(offsetDelta) + partBytes(key) + partBytes(value);
  size += varintBytes(names.length);
  for (const name of names) {
    const header = headers[name];
    if (header === null || !isPlain(header)) return undefined;
    size += partBytes(name) + partBytes(header);
  }
  const buf = Buffer.allocUnsafe(varintBytes(size) + size);
  let at = writeVarint(buf, 0, size);
  // No attribute of a record is in use.
  buf[at++] = 0;
  at = writeVarint(buf, at, timestampDelta);
  at = writeVarint(buf, at, offsetDelta);
  at = writePart(buf, at, key);
  at = writePart(buf, at, value);
  at = writeVarint(buf, at, names.length);
  for (const name of names) at = writePart(buf, writePart(buf, at, name), headers[name] as string | Buffer);
  return new EncodedRecord(buf);
}

function isPlain(part: unknown): part is string | Buffer | null {
  return part === null || typeof part === 'string' || Buffer.isBuffer(part);
}

/** Of a signed number, as zigzag. */
function varintBytes(value: number): number {
  let rest = value < 0 ? -2 * value - 1 : 2 * value;
  let bytes = 1;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

function writeVarint(buf: Buffer, start: number, value: number): number {
  let at = start;
  let rest = value < 0 ? -2 * value - 1 : 2 * value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) buf[at++] = (rest % 128) | 128;
  buf[at++] = rest;
  return at;
}

function partBytes(part: string | Buffer | null): number {
  if (part === null) return 1;
  const bytes = typeof part === 'string' ? Buffer.byteLength(part) : part.length;
  return varintBytes(bytes) + bytes;
}

/** Its length and its bytes. */
function writePart(buf: Buffer, start: number, part: string | Buffer | null): number {
  if (part === null) return writeVarint(buf, start, -1);
  if (typeof part !== 'string') {
    const at = writeVarint(buf, start, part.length);
    buf.set(part, at);
    return at + part.length;
  }
  const { length } = part;
  const at = writeVarint(buf, start, length);
  for (let i = 0; i < length; i++) {
    const code = part.charCodeAt(i);
    if (code > 127) return writeLongText(buf, start, part);
    buf[at + i] = code;
  }
  return at + length;
}

function writeLongText(buf: Buffer, start: number, text: string): number {
  const at = writeVarint(buf, start, Buffer.byteLength(text));
  return at + buf.write(text, at, 'utf8');
}

/** On the thread that sends, which may have been told to give way: a pool of threads that all may use has not. */
function compress({ buffer }: { buffer: Buffer }): Promise<Buffer> {
  return Promise.resolve(gzipSync(buffer, { level: constants.Z_BEST_SPEED }));
}
