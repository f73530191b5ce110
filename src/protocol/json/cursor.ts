import { isUtf8 } from 'node:buffer';
import type { ParameterValue } from '../../pipeline/types.ts';
import { invalidArgument, type SwitchyardError } from '../../shared/errors.ts';
import { internName } from './names.ts';
import { parseNumber } from './number.ts';
import { latin1, utf8 } from './text.ts';

/** Nesting allowed anywhere in a body. */
export const MAX_DEPTH = 100;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * A position in a JSON text held as bytes. The text is read once, front to back, and never turned into a string as a
 * whole. The constructor makes sure that its last byte is a closing bracket: so a loop that stops at any byte outside
 * its own set (digits, white space) needs no bound check as long as no closing bracket was consumed before it.
 */
export class JsonCursor {
  readonly buf: Uint8Array;
  /** One past the last byte that is not white space. */
  readonly end: number;
  pos = 0;
  private utf8Checked = false;

  /** The text is the first `length` bytes of `buf`. Throws invalid_argument unless it ends in `}` or `]`. */
  constructor(buf: Uint8Array, length: number) {
    let end = length;
    while (end > 0 && isSpace(buf[end - 1])) end--;
    this.buf = buf;
    this.end = end;
    if (end === 0) throw invalidArgument('the request body is empty; a JSON object is expected');
    const last = buf[end - 1];
    if (last !== 0x7d && last !== 0x5d) {
      throw invalidArgument(`malformed JSON: the text of ${length} bytes does not end in '}'`);
    }
  }

  /** Skips white space and returns the byte at the new position, 0 at the end. */
  peek(): number {
    const buf = this.buf;
    let pos = this.pos;
    if (pos >= this.end) return 0;
    let c = buf[pos];
    while (c <= 0x20 && isSpace(c)) {
      if (++pos >= this.end) {
        c = 0;
        break;
      }
      c = buf[pos];
    }
    this.pos = pos;
    return c;
  }

  /** Consumes `byte` after white space, or fails. */
  expect(byte: number): void {
    if (this.peek() !== byte) throw this.fail(`expected '${String.fromCharCode(byte)}'`);
    this.pos++;
  }

  /** After a member or element: true when a comma was consumed, false when `close` was. */
  more(close: number): boolean {
    const c = this.peek();
    if (c === 0x2c) {
      this.pos++;
      return true;
    }
    if (c !== close) throw this.fail(`expected ',' or '${String.fromCharCode(close)}'`);
    this.pos++;
    return false;
  }

  /** After an opening bracket: true (and consumed) when the container is empty. */
  empty(close: number): boolean {
    if (this.peek() !== close) return false;
    this.pos++;
    return true;
  }

  /** Consumes `null` when it is next. */
  skipNull(): boolean {
    if (this.peek() !== 0x6e) return false;
    this.literal('null');
    return true;
  }

  /** Consumes a member's name and its colon; returns the name. */
  key(): string {
    if (this.peek() !== QUOTE) throw this.fail('expected a member name in double quotes');
    const name = this.name();
    this.expect(0x3a);
    return name;
  }

  /** A string that is likely to come again in other requests (names, types): kept in a small table. */
  name(): string {
    if (this.peek() === QUOTE) {
      const name = internName(this.buf, this.pos + 1, this.end);
      if (name !== undefined) {
        this.pos += name.length + 2;
        return name;
      }
    }
    return this.string();
  }

  /** Any other string. */
  string(): string {
    if (this.peek() !== QUOTE) throw this.fail('expected a string');
    const start = this.pos + 1;
    const stop = this.stringEnd(start);
    this.pos = stop + 1;
    if (this.plain) return latin1(this.buf, start, stop);
    this.requireUtf8();
    let text: string;
    try {
      text = JSON.parse(utf8(this.buf, start - 1, stop + 1));
    } catch {
      this.pos = start - 1;
      throw this.fail('a string with an invalid escape');
    }
    if (/\p{Surrogate}/u.test(text)) {
      this.pos = start - 1;
      throw this.fail('a string with half of a surrogate pair');
    }
    return text;
  }

  /** Whether the string last measured by stringEnd was ASCII without escapes. */
  plain = true;

  /** Offset of the closing quote of the string whose first byte is at `start`. Refuses raw control characters. */
  stringEnd(start: number): number {
    const buf = this.buf;
    const end = this.end;
    let plain = true;
    let pos = start;
    for (;;) {
      if (pos >= end) {
        this.pos = start - 1;
        throw this.fail('a string without an end');
      }
      const c = buf[pos];
      if (c === QUOTE) break;
      if (c === BACKSLASH) {
        plain = false;
        pos += 2;
      } else if (c < 0x20) {
        this.pos = pos;
        throw this.fail('a raw control character in a string; escape it as \\u00XX');
      } else {
        if (c >= 0x80) plain = false;
        pos++;
      }
    }
    this.plain = plain;
    return pos;
  }

  /** Throws unless the whole text is UTF-8. Looks at most once, and only when something beyond ASCII was met. */
  requireUtf8(): void {
    if (this.utf8Checked) return;
    if (!isUtf8(new Uint8Array(this.buf.buffer, this.buf.byteOffset, this.end))) {
      throw invalidArgument('malformed JSON: the text is not UTF-8; send such bytes as a binary tensor');
    }
    this.utf8Checked = true;
  }

  /** Consumes a finite number. Integers beyond 2^53 come as bigint. */
  number(): number | bigint {
    const c = this.peek();
    if (c !== 0x2d && (c < 0x30 || c > 0x39)) throw this.fail('expected a number');
    const start = this.pos;
    const value = parseNumber(this);
    if (Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
    const text = latin1(this.buf, start, this.pos);
    return /^-?\d+$/.test(text) ? BigInt(text) : value;
  }

  boolean(): boolean {
    const c = this.peek();
    if (c === 0x74) {
      this.literal('true');
      return true;
    }
    if (c !== 0x66) throw this.fail('expected true or false');
    this.literal('false');
    return false;
  }

  /** A string, number or boolean. */
  scalar(): ParameterValue {
    const c = this.peek();
    if (c === QUOTE) return this.string();
    if (c === 0x74 || c === 0x66) return this.boolean();
    return this.number();
  }

  /** Consumes exactly the characters of `text`. */
  literal(text: string): void {
    for (let i = 0; i < text.length; i++) {
      if (this.buf[this.pos + i] !== text.charCodeAt(i) || this.pos + i >= this.end) {
        throw this.fail(`expected ${text}`);
      }
    }
    this.pos += text.length;
  }

  /** Fails unless nothing but white space is left. */
  finish(): void {
    if (this.peek() !== 0 || this.pos < this.end) throw this.fail('something follows the end of the JSON value');
  }

  fail(what: string): SwitchyardError {
    const at = Math.min(this.pos, this.end);
    return invalidArgument(`malformed JSON at byte ${at}: ${what}`);
  }
}

function isSpace(c: number): boolean {
  return c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09;
}
