import { type JsonCursor, MAX_DEPTH } from './cursor.ts';
import { unexpectedElement } from './element-errors.ts';
import { type ElementSink, INTEGERS_64, NUMBERS, PENDING } from './element-sink.ts';
import { scanInteger64 } from './integer64.ts';
import { parseNumber } from './number.ts';
import { runAfterValue, runFill, scanNumberRun } from './number-run.ts';
import { parseSingle } from './single.ts';
import { scanBytesElement } from './string-bytes.ts';

// Per open array: elements seen before it, and arrays closed directly inside it. Used by one call at a time.
const starts = new Float64Array(MAX_DEPTH + 1);
const children = new Float64Array(MAX_DEPTH + 1);
// Per depth: length of the first array closed there.
const lengths = new Float64Array(MAX_DEPTH + 1);

const MINUS = 0x2d;
const OPEN = 0x5b;
const CLOSE = 0x5d;
const COMMA = 0x2c;

/** What besides plain JSON elements is accepted: TF Serving's {"b64": "…"} and integers in quotes. */
export interface ElementForms {
  base64: boolean;
  quotedIntegers: boolean;
}

export const V2_FORMS: ElementForms = { base64: false, quotedIntegers: false };

/**
 * Reads one value of nested arrays, or a single element, straight into the sink; flattens in row-major order and notes
 * the nesting in `sink.shape` and `sink.regular` where the sink wants to know. Throws invalid_argument for malformed JSON, elements that are not of
 * the sink's type, and nesting deeper than MAX_DEPTH.
 */
export function scanElements(cursor: JsonCursor, sink: ElementSink, forms: ElementForms): void {
  const buf = cursor.buf;
  const numeric = sink.reads === NUMBERS;
  let rank = 0;
  let regular = true;
  let leafDepth = -1;
  const before = sink.count;
  let depth = 0;
  let pending = 0;
  let c = cursor.peek();
  let pos = cursor.pos;
  for (;;) {
    if (c === OPEN) {
      if (depth === MAX_DEPTH) {
        cursor.pos = pos;
        throw cursor.fail(`arrays nested deeper than ${MAX_DEPTH}`);
      }
      depth++;
      starts[depth] = sink.count + pending;
      children[depth] = 0;
      c = buf[++pos];
      while (c <= 0x20) c = nextByte(cursor, ++pos, c);
      if (c !== CLOSE) continue;
    } else if (numeric) {
      if (depth > 0) {
        pos = scanNumberRun(buf, pos, pending);
        pending = runFill;
      }
      if (depth === 0 || !runAfterValue) {
        if (pending === PENDING.length) {
          sink.store(pending);
          pending = 0;
        }
        c = buf[pos];
        while (c <= 0x20) c = nextByte(cursor, ++pos, c);
        // A run may also have stopped before a nested array, after a comma.
        if (c === OPEN) continue;
        cursor.pos = pos;
        PENDING[pending++] = scanOther(cursor, sink);
        pos = cursor.pos;
        if (depth === 0) break;
      }
      c = buf[pos];
    } else {
      cursor.pos = pos;
      if (sink.reads === INTEGERS_64) scanInteger64(cursor, sink, forms.quotedIntegers);
      else scanBytesElement(cursor, sink, forms.base64);
      pos = cursor.pos;
      if (depth === 0) break;
      c = pos < cursor.end ? buf[pos] : 0;
    }
    while (c !== COMMA) {
      if (c === CLOSE) {
        let length = children[depth];
        if (length === 0) {
          length = sink.count + pending - starts[depth];
          if (leafDepth < 0) leafDepth = depth;
          else if (leafDepth !== depth) regular = false;
        }
        if (depth > rank) {
          // Depths close from the inside out: those between get their length when they close themselves.
          for (let i = rank + 1; i < depth; i++) lengths[i] = -1;
          rank = depth;
          lengths[depth] = length;
        } else if (lengths[depth] < 0) lengths[depth] = length;
        else if (lengths[depth] !== length) regular = false;
        depth--;
        pos++;
        if (depth === 0) break;
        children[depth]++;
        c = pos < cursor.end ? buf[pos] : 0;
      } else if (c <= 0x20) {
        c = nextByte(cursor, ++pos, c);
      } else {
        cursor.pos = pos;
        throw cursor.fail("expected ',' or ']'");
      }
    }
    if (depth === 0) break;
    c = buf[++pos];
    while (c <= 0x20) c = nextByte(cursor, ++pos, c);
  }
  if (pending > 0) sink.store(pending);
  cursor.pos = pos;
  if (!sink.wantsShape) return;
  let product = 1;
  sink.shape = [];
  for (let i = 1; i <= rank; i++) {
    product *= lengths[i];
    sink.shape.push(lengths[i]);
  }
  sink.regular = regular && product === sink.count - before;
}

/** The byte at `pos`, which must exist; `skipped` was the one before it and must be white space. */
function nextByte(cursor: JsonCursor, pos: number, skipped: number): number {
  const space = skipped === 0x20 || skipped === 0x0a || skipped === 0x0d || skipped === 0x09;
  if (space && pos < cursor.end) return cursor.buf[pos];
  cursor.pos = pos - 1;
  throw cursor.fail('unexpected character or end');
}

/** Numbers outside the inlined case, the bare tokens NaN, Infinity and -Infinity, and booleans for BOOL. */
function scanOther(cursor: JsonCursor, sink: ElementSink): number {
  const c = cursor.buf[cursor.pos];
  const floating = sink.datatype === 'FP32' || sink.datatype === 'FP64';
  if ((c >= 0x30 && c <= 0x39) || (c === MINUS && cursor.buf[cursor.pos + 1] !== 0x49)) {
    return sink.datatype === 'FP32' ? parseSingle(cursor) : parseNumber(cursor);
  }
  if (sink.datatype === 'BOOL' && (c === 0x74 || c === 0x66)) return cursor.boolean() ? 1 : 0;
  if (floating && c === 0x4e) {
    cursor.literal('NaN');
    return NaN;
  }
  if (floating && c === 0x49) {
    cursor.literal('Infinity');
    return Infinity;
  }
  if (floating && c === MINUS) {
    cursor.literal('-Infinity');
    return -Infinity;
  }
  throw unexpectedElement(cursor, sink);
}
