import { type JsonCursor, MAX_DEPTH } from './cursor.ts';
import { parseNumber } from './number.ts';
import { latin1 } from './text.ts';

const SIMPLE_ESCAPES = Buffer.from('"\\/bfnrt');

// Closing byte of each open container. Used by one call at a time.
const closers = new Uint8Array(MAX_DEPTH + 1);

/** Moves past one JSON value of any kind, checking its syntax (NaN and Infinity included) but building nothing. */
export function skipValue(cursor: JsonCursor): void {
  let depth = 0;
  for (;;) {
    const c = cursor.peek();
    if (c === 0x5b || c === 0x7b) {
      if (depth === MAX_DEPTH) throw cursor.fail(`nested deeper than ${MAX_DEPTH}`);
      const close = c + 2;
      cursor.pos++;
      if (!cursor.empty(close)) {
        closers[++depth] = close;
        if (close === 0x7d) skipKey(cursor);
        continue;
      }
    } else {
      skipScalar(cursor, c);
    }
    while (depth > 0 && !cursor.more(closers[depth])) depth--;
    if (depth === 0) return;
    if (closers[depth] === 0x7d) skipKey(cursor);
  }
}

function skipKey(cursor: JsonCursor): void {
  if (cursor.peek() !== 0x22) throw cursor.fail('expected a member name in double quotes');
  skipString(cursor);
  cursor.expect(0x3a);
}

function skipString(cursor: JsonCursor): void {
  const start = cursor.pos + 1;
  const stop = cursor.stringEnd(start);
  if (!cursor.plain) {
    cursor.requireUtf8();
    checkEscapes(cursor, start, stop);
  }
  cursor.pos = stop + 1;
}

/** What follows each backslash between `start` and `stop`; half surrogate pairs are syntax enough for a value nobody reads. */
function checkEscapes(cursor: JsonCursor, start: number, stop: number): void {
  const buf = cursor.buf;
  for (let pos = start; pos < stop; pos++) {
    if (buf[pos] !== 0x5c) continue;
    const at = pos++;
    const digits = buf[pos] === 0x75 ? 4 : 0;
    const known = digits > 0 || SIMPLE_ESCAPES.includes(buf[pos]);
    if (!known || pos + digits >= stop || !/^[0-9a-fA-F]*$/.test(latin1(buf, pos + 1, pos + 1 + digits))) {
      cursor.pos = at;
      throw cursor.fail('a string with an invalid escape');
    }
    pos += digits;
  }
}

function skipScalar(cursor: JsonCursor, c: number): void {
  switch (c) {
    case 0x22:
      skipString(cursor);
      return;
    case 0x74:
      cursor.literal('true');
      return;
    case 0x66:
      cursor.literal('false');
      return;
    case 0x6e:
      cursor.literal('null');
      return;
    case 0x4e:
      cursor.literal('NaN');
      return;
    case 0x49:
      cursor.literal('Infinity');
      return;
    default:
      if (c === 0x2d && cursor.buf[cursor.pos + 1] === 0x49) {
        cursor.literal('-Infinity');
        return;
      }
      if (c !== 0x2d && (c < 0x30 || c > 0x39)) throw cursor.fail('expected a JSON value');
      parseNumber(cursor);
  }
}
