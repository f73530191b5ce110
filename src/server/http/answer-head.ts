import type { Served, Timings } from '../../pipeline/types.ts';
import { MAX_NUMBER_BYTES, printAscii, printInteger } from '../../protocol/json/number-print.ts';
import { printIdNumber } from '../../shared/ids.ts';
import { JSON_HEADERS, statusLine } from './status.ts';

const FIRST_BYTES = 1024;
const ZERO = 0x30;
const ID = 'X-Switchyard-Id: ';
/** Places for the lines of variants and versions: a power of two, above those that share the traffic at a time. */
const KNOWN = 64;

/** What a head says of a decision, up to its id's number. */
interface DecidedLines {
  variant: string;
  version: string;
  prefix: string;
  bytes: Uint8Array;
}

/**
 * Status line and headers of one answer, as bytes. A head with durations in it differs in every answer: printing it
 * costs a third of joining it as a string, which the socket library would have to flatten and encode.
 */
export class AnswerHead {
  private buf = new Uint8Array(FIRST_BYTES);
  private pos = 0;
  private shown = this.buf;

  begin(status: number): this {
    this.pos = 0;
    this.ascii(statusLine(status));
    return this;
  }

  /** `line`: "Name: value" in ASCII, the server's own; client text may hold line breaks. */
  line(line: string): this {
    this.ascii('\r\n');
    this.ascii(line);
    return this;
  }

  integerLine(name: string, value: number): this {
    this.ascii('\r\n');
    this.ascii(name);
    this.ascii(': ');
    this.reserve(MAX_NUMBER_BYTES);
    this.pos = printInteger(this.buf, this.pos, value);
    return this;
  }

  served({ id, variant, version, anomalies }: Served): this {
    if (anomalies !== undefined) this.line('X-Switchyard-Anomalies: ').ascii(anomalies);
    if (id === '') return this.decided(variant, version);
    return this.decided(variant, version).line(ID).text(id);
  }

  /** Names of variants and versions are checked where they enter: none holds a line break. */
  decided(variant: string, version: string): this {
    if (variant !== '') this.line('X-Switchyard-Variant: ').ascii(variant);
    if (version !== '') this.line('X-Switchyard-Version: ').ascii(version);
    return this;
  }

  text(text: string): this {
    this.ascii(text);
    return this;
  }

  /** A natural number, to base 36. */
  base36(number: number): this {
    this.reserve(MAX_NUMBER_BYTES);
    this.pos = printIdNumber(this.buf, this.pos, number);
    return this;
  }

  /** A copy of what was printed from byte `start` on. */
  copyFrom(start: number): Uint8Array {
    return this.buf.slice(start, this.pos);
  }

  /** What was printed before: a quarter of what printing it again costs. */
  bytes(bytes: Uint8Array): this {
    this.reserve(bytes.length);
    this.buf.set(bytes, this.pos);
    this.pos += bytes.length;
    return this;
  }

  serverTiming(timings: Timings): this {
    this.ascii('\r\nServer-Timing: queue;dur=');
    this.milliseconds(timings.queue);
    this.ascii(', compute_input;dur=');
    this.milliseconds(timings.computeInput);
    this.ascii(', compute_infer;dur=');
    this.milliseconds(timings.computeInfer);
    this.ascii(', compute_output;dur=');
    this.milliseconds(timings.computeOutput);
    this.ascii(', batch;desc="');
    this.reserve(MAX_NUMBER_BYTES);
    this.pos = printInteger(this.buf, this.pos, timings.batchSize);
    this.ascii('"');
    return this;
  }

  get length(): number {
    return this.pos;
  }

  /** Goes back to where it had `length` bytes. */
  cutTo(length: number): this {
    this.pos = length;
    return this;
  }

  /** Valid until the next `begin`. */
  view(): Uint8Array {
    if (this.shown.length !== this.pos || this.shown.buffer !== this.buf.buffer)
      this.shown = new Uint8Array(this.buf.buffer, 0, this.pos);
    return this.shown;
  }

  /** With microsecond resolution, e.g. 1.5 → 1.500. Negative ones and NaN are 0. */
  private milliseconds(ms: number): void {
    this.reserve(MAX_NUMBER_BYTES);
    const { buf } = this;
    if (!(ms > 0)) {
      buf[this.pos++] = ZERO;
      return;
    }
    const micros = Math.round(ms * 1000);
    const whole = Math.floor(micros / 1000);
    const rest = micros - whole * 1000;
    let at = printInteger(buf, this.pos, whole);
    const tens = (rest / 10) | 0;
    const hundreds = (tens / 10) | 0;
    buf[at++] = 0x2e;
    buf[at++] = ZERO + hundreds;
    buf[at++] = ZERO + tens - hundreds * 10;
    buf[at++] = ZERO + rest - tens * 10;
    this.pos = at;
  }

  private ascii(text: string): void {
    this.reserve(text.length);
    this.pos = printAscii(this.buf, this.pos, text);
  }

  private reserve(bytes: number): void {
    if (this.pos + bytes <= this.buf.length) return;
    const bigger = new Uint8Array(Math.max(this.pos + bytes, this.buf.length * 2));
    bigger.set(this.buf);
    this.buf = bigger;
  }
}

/** One for all answers of this thread: the socket takes the bytes before the next answer begins. */
export const threadHead = new AnswerHead();

/**
 * Heads of successful inferences, kept from answer to answer: those of one batch differ in little but which arrived
 * with which, so most are the one before.
 */
export class InferenceHeads {
  private readonly head = new AnswerHead();
  /** Bytes of the head without what says who answered, and without the decision's id. */
  private common = 0;
  private decided = 0;
  private variant = '';
  private version = '';
  private prefix = '';
  private readonly known: DecidedLines[] = Array.from({ length: KNOWN }, () => ({
    variant: '',
    version: '',
    prefix: '',
    bytes: new Uint8Array(0),
  }));
  private jsonLength = Number.NaN;
  private timed = false;
  private queue = 0;
  private computeInput = 0;
  private computeInfer = 0;
  private computeOutput = 0;
  private batchSize = 0;

  /**
   * @param jsonLength bytes of JSON before binary tensors, -1: the body is JSON
   * @returns valid until the next `of`
   */
  of(jsonLength: number, timings: Timings | undefined): Uint8Array {
    this.print(jsonLength, timings);
    return this.head.cutTo(this.common).view();
  }

  /** Leaves the first `common` bytes of the head as they are to be. */
  private print(jsonLength: number, timings: Timings | undefined): void {
    if (
      jsonLength === this.jsonLength &&
      this.timed === (timings !== undefined) &&
      (timings === undefined ||
        (timings.queue === this.queue &&
          timings.computeInput === this.computeInput &&
          timings.computeInfer === this.computeInfer &&
          timings.computeOutput === this.computeOutput &&
          timings.batchSize === this.batchSize))
    ) {
      return;
    }
    const head = inferenceHead(this.head, jsonLength);
    this.jsonLength = jsonLength;
    this.timed = timings !== undefined;
    if (timings !== undefined) {
      head.serverTiming(timings);
      this.queue = timings.queue;
      this.computeInput = timings.computeInput;
      this.computeInfer = timings.computeInfer;
      this.computeOutput = timings.computeOutput;
      this.batchSize = timings.batchSize;
    }
    this.common = head.length;
    this.decided = 0;
  }

  /** The same for an answer that a route decided: the answers of a batch differ in the id alone, which comes last. */
  ofRouted(jsonLength: number, timings: Timings | undefined, served: Served): Uint8Array {
    this.print(jsonLength, timings);
    const { variant, version, ids, number, anomalies } = served;
    const { head } = this;
    if (anomalies !== undefined || (ids === undefined && served.id === '')) {
      this.decided = 0;
      return head.cutTo(this.common).served(served).view();
    }
    const prefix = ids === undefined ? '' : ids.prefix;
    if (this.decided === 0 || variant !== this.variant || version !== this.version || prefix !== this.prefix) {
      this.printLines(variant, version, prefix);
      this.variant = variant;
      this.version = version;
      this.prefix = prefix;
    }
    head.cutTo(this.decided);
    return (number === undefined ? head.text(served.id) : head.base36(number)).view();
  }

  /** Prints the lines of a variant, or takes them as they were printed before: a newcomer takes its place over. */
  private printLines(variant: string, version: string, prefix: string): void {
    const head = this.head.cutTo(this.common);
    const lines = this.known[placeOf(variant, version)];
    const same = lines.variant === variant && lines.version === version && lines.prefix === prefix;
    if (same && lines.bytes.length > 0) {
      head.bytes(lines.bytes);
    } else {
      lines.bytes = head.decided(variant, version).line(ID).text(prefix).copyFrom(this.common);
      lines.variant = variant;
      lines.version = version;
      lines.prefix = prefix;
    }
    this.decided = head.length;
  }
}

/** By the last characters, in which variants and versions differ most. */
function placeOf(variant: string, version: string): number {
  const a = variant.length - 1;
  const b = version.length - 1;
  const last = (a < 0 ? 0 : variant.charCodeAt(a)) * 9 + (b < 0 ? 0 : version.charCodeAt(b));
  return (last + variant.length) & (KNOWN - 1);
}

/** Begins the head of a successful inference; see {@link InferenceHeads} for its parameter. */
export function inferenceHead(head: AnswerHead, jsonLength: number): AnswerHead {
  head.begin(200);
  if (jsonLength < 0) return head.line(JSON_HEADERS);
  return head.line('Content-Type: application/octet-stream').integerLine('Inference-Header-Content-Length', jsonLength);
}

/** The same lines for heads that are texts; '' where no route decided. */
export function servedLines(served: Served | undefined): string {
  if (served === undefined) return '';
  const variant = served.variant === '' ? '' : `\r\nX-Switchyard-Variant: ${served.variant}`;
  const version = served.version === '' ? '' : `\r\nX-Switchyard-Version: ${served.version}`;
  const id = served.id === '' ? '' : `\r\nX-Switchyard-Id: ${served.id}`;
  const anomalies = served.anomalies === undefined ? '' : `\r\nX-Switchyard-Anomalies: ${served.anomalies}`;
  return id + variant + version + anomalies;
}

/** The line of stage times for heads that are texts; '' for answers that ran no batch. */
export function timingLine(timings: Timings | undefined): string {
  if (timings === undefined) return '';
  const line = threadHead.cutTo(0).serverTiming(timings).view();
  return Buffer.from(line.buffer, line.byteOffset, line.byteLength).toString('latin1');
}

/** A head in bytes as `HttpExchange.respond` takes it. */
export function splitHead(head: Uint8Array): { status: number; headers: string } {
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString('latin1');
  const end = text.indexOf('\r\n');
  return { status: Number(text.slice(0, 3)), headers: end < 0 ? '' : text.slice(end + 2) };
}
