import type { Parameters, ParameterValue } from '../../pipeline/types.ts';
import { MAX_NUMBER_BYTES, printAscii, printInteger } from './number-print.ts';

const FIRST_BYTES = 65536;
/** A buffer that grew beyond this is not kept for the next body. */
const KEPT_BYTES = 8 * 1024 * 1024;

/** Bodies shorter than this share views. */
const KEPT_VIEWS = 1024;

const encoder = new TextEncoder();

/** Bytes of a body in the making. `reserve` before writing to `buf` directly; `buf` changes identity when it grows. */
export class JsonOutput {
  buf = new Uint8Array(FIRST_BYTES);
  pos = 0;
  /** What `beginWith` put at the start of `buf`, as long as it stands there. */
  private lead: Uint8Array | undefined;
  /** Views of the shortest bodies in `viewed`, by length: answers of one model are about as long as each other. */
  private views: (Uint8Array | undefined)[] = [];
  private viewed: Uint8Array | undefined;

  /** Starts a new body; what `view` returned before is overwritten from now on. */
  begin(): void {
    if (this.buf.length > KEPT_BYTES) this.buf = new Uint8Array(FIRST_BYTES);
    this.pos = 0;
    this.lead = undefined;
  }

  /** Starts a new body with these bytes, which never change: nothing is copied when the last body began with them too. */
  beginWith(lead: Uint8Array): void {
    if (this.lead !== lead || this.buf.length > KEPT_BYTES) {
      this.begin();
      this.bytes(lead);
      this.lead = lead;
    }
    this.pos = lead.length;
  }

  /** The body so far, valid until the next `begin`. */
  view(): Uint8Array {
    const { buf, pos } = this;
    if (pos >= KEPT_VIEWS) return new Uint8Array(buf.buffer as ArrayBuffer, 0, pos);
    if (this.viewed !== buf) {
      this.viewed = buf;
      this.views = new Array(KEPT_VIEWS).fill(undefined);
    }
    let view = this.views[pos];
    if (view === undefined) {
      view = new Uint8Array(buf.buffer as ArrayBuffer, 0, pos);
      this.views[pos] = view;
    }
    return view;
  }

  /** Makes room for `bytes` more. */
  reserve(bytes: number): void {
    if (this.pos + bytes <= this.buf.length) return;
    const bigger = new Uint8Array(Math.max(this.pos + bytes, this.buf.length * 2));
    bigger.set(this.buf.subarray(0, this.pos));
    this.buf = bigger;
  }

  /** ASCII text as it stands. */
  raw(text: string): void {
    this.reserve(text.length);
    this.pos = printAscii(this.buf, this.pos, text);
  }

  byte(c: number): void {
    if (this.pos === this.buf.length) this.reserve(1);
    this.buf[this.pos++] = c;
  }

  /** Appends bytes as they stand. */
  bytes(data: Uint8Array): void {
    this.reserve(data.length);
    this.buf.set(data, this.pos);
    this.pos += data.length;
  }

  /** A string in quotes, escaped; half surrogate pairs become U+FFFD. */
  string(text: string): void {
    this.reserve(text.length + 2);
    const start = this.pos;
    const buf = this.buf;
    let pos = start;
    buf[pos++] = 0x22;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c < 0x20 || c === 0x22 || c === 0x5c || c >= 0x7f) {
        this.pos = start;
        this.bytes(encoder.encode(JSON.stringify(text)));
        return;
      }
      buf[pos++] = c;
    }
    buf[pos++] = 0x22;
    this.pos = pos;
  }

  integer(value: number): void {
    this.reserve(MAX_NUMBER_BYTES);
    this.pos = printInteger(this.buf, this.pos, value);
  }

  scalar(value: ParameterValue): void {
    if (typeof value === 'string') this.string(value);
    else if (typeof value === 'number' && Number.isSafeInteger(value)) this.integer(value);
    else this.raw(String(value));
  }

  /** `{"name":scalar,…}` */
  parameters(parameters: Parameters): void {
    let separator = 0x7b;
    for (const name in parameters) {
      this.byte(separator);
      this.string(name);
      this.byte(0x3a);
      this.scalar(parameters[name]);
      separator = 0x2c;
    }
    if (separator === 0x7b) this.byte(separator);
    this.byte(0x7d);
  }

  shape(shape: readonly number[]): void {
    this.byte(0x5b);
    for (let i = 0; i < shape.length; i++) {
      if (i > 0) this.byte(0x2c);
      this.integer(shape[i]);
    }
    this.byte(0x5d);
  }
}

/** One for all encoders of this thread: each of them starts over, and its view is written out before the next starts. */
export const threadOutput = new JsonOutput();
