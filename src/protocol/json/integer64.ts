import type { JsonCursor } from './cursor.ts';
import { unexpectedElement } from './element-errors.ts';
import type { ElementSink } from './element-sink.ts';
import { parseNumber } from './number.ts';
import { latin1 } from './text.ts';

const TWO_32 = 4294967296;

/**
 * Reads one INT64 or UINT64 from its digits, exactly, into the sink. A fraction or exponent is accepted where the value
 * is an integer below 2^53 all the same. `quoted`: the integer may stand in quotes.
 */
export function scanInteger64(cursor: JsonCursor, sink: ElementSink, quoted: boolean): void {
  const buf = cursor.buf;
  const start = cursor.pos;
  const inQuotes = quoted && buf[start] === 0x22;
  const from = inQuotes ? start + 1 : start;
  const negative = buf[from] === 0x2d;
  const first = negative ? from + 1 : from;
  let pos = first;
  let high = 0;
  let low = 0;
  let c = buf[pos] - 0x30;
  while (c >= 0 && c <= 9) {
    // Both halves stay below 2^36, so every step is exact; past 20 digits `high` tells the overflow.
    low = low * 10 + c;
    high = high * 10;
    if (low >= TWO_32) {
      const carry = Math.floor(low / TWO_32);
      high += carry;
      low -= carry * TWO_32;
    }
    if (high >= TWO_32 * 16) high = TWO_32 * 16;
    c = buf[++pos] - 0x30;
  }
  if (pos === first) throw unexpectedElement(cursor, sink);
  if (buf[first] === 0x30 && pos > first + 1) {
    cursor.pos = first;
    throw cursor.fail('a number with a leading zero');
  }
  if (c === -2 || c === 0x35 || c === 0x15) {
    cursor.pos = from;
    const value = parseNumber(cursor);
    if (!Number.isSafeInteger(value)) throw outside(cursor, sink, from, cursor.pos);
    pos = cursor.pos;
    const magnitude = Math.abs(value);
    high = Math.floor(magnitude / TWO_32);
    low = magnitude - high * TWO_32;
  }
  if (inQuotes) {
    if (buf[pos] !== 0x22) throw unexpectedElement(cursor, sink);
    cursor.pos = pos + 1;
  } else {
    cursor.pos = pos;
  }
  const signed = sink.datatype === 'INT64';
  const limit = signed ? TWO_32 / 2 : TWO_32;
  if (negative && (high > 0 || low > 0)) {
    if (!signed || high > limit || (high === limit && low > 0)) throw outside(cursor, sink, from, pos);
    // Two's complement of the pair; the typed array keeps the low 32 bits of each half.
    sink.store64(low === 0 ? -high : -high - 1, -low);
    return;
  }
  if (high >= limit) throw outside(cursor, sink, from, pos);
  sink.store64(high, low);
}

function outside(cursor: JsonCursor, sink: ElementSink, from: number, to: number): Error {
  const range = sink.datatype === 'INT64' ? 'from -2^63 to 2^63-1' : 'from 0 to 2^64-1';
  const text = latin1(cursor.buf, from, Math.min(to, from + 40));
  return sink.refuse(sink.count, text, `${sink.datatype}, an integer ${range}`);
}
