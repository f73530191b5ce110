/** A record of a batch in Kafka's format 2, as kafkajs hands it over. */
export interface PlainRecord {
  key?: string | Buffer | null;
  value?: string | Buffer | null;
  headers?: Record<string, unknown>;
}

const NO_HEADERS: Record<string, unknown> = {};

/** Bytes of a record behind its length; -1: it has parts that are left to kafkajs. */
export function recordBytes(record: PlainRecord, offsetDelta: number, timestampDelta: number): number {
  const { key = null, value = null, headers = NO_HEADERS } = record;
  if (!isPlain(key) || !isPlain(value) || !Number.isSafeInteger(timestampDelta * 2)) return -1;
  let size = 1 + varintBytes(timestampDelta) + varintBytes(offsetDelta) + partBytes(key) + partBytes(value);
  let count = 0;
  for (const name in headers) {
    if (!Object.hasOwn(headers, name)) continue;
    const header = headers[name];
    if (header === null || !isPlain(header)) return -1;
    size += partBytes(name) + partBytes(header);
    count++;
  }
  return size + varintBytes(count);
}

/** Writes a record of `size` = `recordBytes` with its length; returns where it ends. */
export function writeRecord(
  buf: Buffer,
  start: number,
  record: PlainRecord,
  offsetDelta: number,
  timestampDelta: number,
  size: number,
): number {
  const { key = null, value = null, headers = NO_HEADERS } = record;
  let at = writeVarint(buf, start, size);
  // No attribute of a record is in use.
  buf[at++] = 0;
  at = writeVarint(buf, at, timestampDelta);
  at = writeVarint(buf, at, offsetDelta);
  at = writePart(buf, at, key);
  at = writePart(buf, at, value);
  const names = Object.keys(headers);
  at = writeVarint(buf, at, names.length);
  for (const name of names) at = writePart(buf, writePart(buf, at, name), headers[name] as string | Buffer);
  return at;
}

function isPlain(part: unknown): part is string | Buffer | null {
  return part === null || typeof part === 'string' || Buffer.isBuffer(part);
}

/** Of a signed number, as zigzag. */
export function varintBytes(value: number): number {
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
