import { invalidArgument } from '../../shared/errors.ts';
import type { JsonCursor } from './cursor.ts';
import { unexpectedElement } from './element-errors.ts';
import type { ElementSink } from './element-sink.ts';
import { latin1 } from './text.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Reads one JSON string, as UTF-8, or {"b64": "…"} where allowed, into the sink as a BYTES element. */
export function scanBytesElement(cursor: JsonCursor, sink: ElementSink, base64: boolean): void {
  const buf = cursor.buf;
  if (base64 && buf[cursor.pos] === 0x7b) {
    scanBase64(cursor, sink);
    return;
  }
  if (buf[cursor.pos] !== QUOTE) throw unexpectedElement(cursor, sink);
  const start = cursor.pos + 1;
  const stop = cursor.stringEnd(start);
  cursor.pos = stop + 1;
  let out = sink.openBytes(stop - start);
  const target = sink.target();
  if (cursor.plain) {
    for (let i = start; i < stop; i++) target[out++] = buf[i];
    sink.closeBytes(out);
    return;
  }
  cursor.requireUtf8();
  let pos = start;
  while (pos < stop) {
    const c = buf[pos++];
    if (c !== BACKSLASH) {
      target[out++] = c;
      continue;
    }
    const kind = buf[pos++];
    if (kind === 0x75) {
      let point = hex4(cursor, pos, stop);
      pos += 4;
      if (point >= 0xd800 && point <= 0xdfff) {
        const pairs = point < 0xdc00 && buf[pos] === BACKSLASH && buf[pos + 1] === 0x75;
        const second = pairs ? hex4(cursor, pos + 2, stop) : 0;
        if (second < 0xdc00 || second > 0xdfff) {
          cursor.pos = pos - 6;
          throw cursor.fail(`input '${sink.name}' holds half of a surrogate pair; send such bytes as a binary tensor`);
        }
        pos += 6;
        point = 0x10000 + ((point - 0xd800) << 10) + (second - 0xdc00);
      }
      out = putUtf8(target, out, point);
    } else {
      target[out++] = simpleEscape(cursor, kind, pos);
    }
  }
  sink.closeBytes(out);
}

function simpleEscape(cursor: JsonCursor, c: number, pos: number): number {
  switch (c) {
    case QUOTE:
    case BACKSLASH:
    case 0x2f:
      return c;
    case 0x62:
      return 8;
    case 0x66:
      return 12;
    case 0x6e:
      return 10;
    case 0x72:
      return 13;
    case 0x74:
      return 9;
    default:
      cursor.pos = pos - 2;
      throw cursor.fail('an unknown escape in a string');
  }
}

function hex4(cursor: JsonCursor, pos: number, stop: number): number {
  let value = 0;
  for (let i = pos; i < pos + 4; i++) {
    const c = cursor.buf[i];
    const lower = c | 0x20;
    let digit = -1;
    if (c >= 0x30 && c <= 0x39) digit = c - 0x30;
    else if (lower >= 0x61 && lower <= 0x66) digit = lower - 0x57;
    if (i >= stop || digit < 0) {
      cursor.pos = i;
      throw cursor.fail('expected four hexadecimal digits after \\u');
    }
    value = value * 16 + digit;
  }
  return value;
}

function putUtf8(target: Uint8Array, at: number, code: number): number {
  let out = at;
  if (code < 0x80) {
    target[out++] = code;
  } else if (code < 0x800) {
    target[out++] = 0xc0 | (code >> 6);
    target[out++] = 0x80 | (code & 63);
  } else if (code < 0x10000) {
    target[out++] = 0xe0 | (code >> 12);
    target[out++] = 0x80 | ((code >> 6) & 63);
    target[out++] = 0x80 | (code & 63);
  } else {
    target[out++] = 0xf0 | (code >> 18);
    target[out++] = 0x80 | ((code >> 12) & 63);
    target[out++] = 0x80 | ((code >> 6) & 63);
    target[out++] = 0x80 | (code & 63);
  }
  return out;
}

function scanBase64(cursor: JsonCursor, sink: ElementSink): void {
  cursor.expect(0x7b);
  if (cursor.key() !== 'b64') throw cursor.fail(`input '${sink.name}': an object here must be {"b64": "…"} alone`);
  cursor.peek();
  const start = cursor.pos + 1;
  if (cursor.buf[cursor.pos] !== QUOTE) throw cursor.fail('expected a base64 string');
  const stop = cursor.stringEnd(start);
  const text = latin1(cursor.buf, start, stop);
  // JSON writers may escape the slash; both base64 alphabets are accepted.
  const clean = text.replaceAll('\\/', '/');
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(clean)) {
    throw invalidArgument(`input '${sink.name}': element ${sink.count} is not valid base64`);
  }
  cursor.pos = stop + 1;
  cursor.expect(0x7d);
  const bytes = Buffer.from(clean, 'base64');
  const out = sink.openBytes(bytes.length);
  sink.target().set(bytes, out);
  sink.closeBytes(out + bytes.length);
}
