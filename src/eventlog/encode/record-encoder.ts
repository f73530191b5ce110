import { DECISION_WORDS, decisionWords, FIXED_BYTES, HAS_DECISION, HAS_TIMINGS } from '../handover/memory.ts';
import type { DefinedOrigin, DefinedText, RingRequest } from '../handover/ring-reader.ts';
import { STATUSES } from '../handover/statuses.ts';
import { PAYLOAD_NOT_KEPT } from '../record.ts';
import { AvroWriter } from './avro-writer.ts';
import { copiedAt, datatypeAfter, elementTexts, type RawColumn, writeNoValues, writeValues } from './column-writer.ts';
import { actionOf, type OriginPlan, planOf } from './origin-plan.ts';
import { type Hash, redactText } from './redact.ts';
import { BUCKET, decisionKeys, firstTensor, layoutOf, nextTensor, TIMING_WORDS, tensorKeys } from './ring-layout.ts';
import { fitsTemplate, RecordTemplate, type Templates, type Varying } from './template.ts';

/** Where what is too large for a record goes. Undefined: it could not be kept. */
export type KeepPayload = (container: Uint8Array) => { ref: string; sha256: string } | undefined;

const STATUS_BYTES = STATUSES.map(encodedText);
const DATATYPE_BYTES = new Map<string, Uint8Array>();

/**
 * Turns a request in the ring into an encoded record, redacted: nothing that a rule takes out gets past this place.
 * The order of the fields is that of INFERENCE_SCHEMA.
 */
export class RecordEncoder {
  private readonly hash: Hash;
  private readonly keep: KeepPayload;
  private readonly wrap: (record: Uint8Array) => Uint8Array;
  private readonly plans = new WeakMap<DefinedOrigin, OriginPlan>();
  private readonly names = new WeakMap<DefinedText, Uint8Array>();
  private readonly scratch = new AvroWriter();
  /** While a template is made: what is not the same in each record. Undefined then: something else went into it. */
  private varying: Varying | undefined;
  /** Pointed at each column in turn. */
  private readonly column: RawColumn = { type: 0, u8: this.scratch.u8, start: 0, bytes: 0 };

  /** `wrap` makes a file of one record. */
  constructor(hash: Hash, keep: KeepPayload, wrap: (record: Uint8Array) => Uint8Array) {
    this.hash = hash;
    this.keep = keep;
    this.wrap = wrap;
  }

  encode(request: RingRequest, out: AvroWriter): void {
    const plan = this.planOf(request.origin);
    const { views, base } = request;
    const bytes = views.u32[base >> 2];
    // The whole record is an upper bound of its tensors.
    if (bytes > plan.limit && this.tensorBytes(request, plan) > plan.limit) {
      this.encodeByReference(request, plan, out);
      return;
    }
    const { templates } = plan;
    const layout = templates === undefined ? 0 : layoutOf(views, base);
    if (templates?.of(layout)?.write(views, base, out)) templates.used();
    else if (templates?.worthMaking && bytes <= plan.limit) this.makeTemplate(request, plan, templates, layout, out);
    else this.write(request, plan, out, true, undefined);
  }

  /** Encodes the request, and keeps how that was done where all that went into it can be put into a copy. */
  private makeTemplate(
    request: RingRequest,
    plan: OriginPlan,
    templates: Templates,
    layout: number,
    out: AvroWriter,
  ): void {
    const { views, base } = request;
    const { u32, f64 } = views;
    const start = out.at;
    const varying: Varying = { copies: [], longs: [] };
    this.varying = varying;
    let whole = false;
    try {
      this.write(request, plan, out, true, undefined);
      whole = this.varying !== undefined;
    } finally {
      this.varying = undefined;
    }
    if (!whole || !fitsTemplate(f64[(base >> 3) + 2])) return;
    const { copies, longs } = varying;
    for (let i = 0; i < copies.length; i += 3) {
      copies[i] -= base;
      copies[i + 1] -= start;
    }
    for (let i = 0; i < longs.length; i += 2) {
      longs[i] -= base >> 3;
      longs[i + 1] -= start;
    }
    const keys = [0, 1, 3, 8, 9, 10, 11, ...decisionKeys(views, base), ...tensorKeys(views, base)];
    const encoded = out.u8.slice(start, out.at);
    templates.made(layout, new RecordTemplate(u32, base >> 2, keys, encoded, varying));
  }

  private encodeByReference(request: RingRequest, plan: OriginPlan, out: AvroWriter): void {
    this.scratch.at = 0;
    this.write(request, plan, this.scratch, true, undefined);
    const kept = this.keep(this.wrap(this.scratch.u8.subarray(0, this.scratch.at)));
    this.write(request, plan, out, false, kept);
  }

  private write(
    { views, base, origin, texts }: RingRequest,
    plan: OriginPlan,
    out: AvroWriter,
    values: boolean,
    payload: { ref: string; sha256: string } | undefined,
  ): void {
    const { u8, u32, f64 } = views;
    const word = base >> 2;
    const flags = u32[word + 1] >>> 16;
    const counts = u32[word + 3];
    let at = (base + FIXED_BYTES) >> 3;
    const timings = at;
    if ((flags & HAS_TIMINGS) !== 0) at += TIMING_WORDS;
    const decision = at;
    if ((flags & HAS_DECISION) !== 0) at += decisionWords(f64, decision);
    const idBytes = u32[word + 8];
    const requestIdBytes = u32[word + 9];
    const traceBytes = u32[word + 10];
    const entityBytes = u32[word + 11];
    const id = at << 3;
    const requestId = id + idBytes;
    const trace = requestId + requestIdBytes;
    const entity = trace + traceBytes;
    const tensors = (entity + entityBytes + 7) & ~7;

    out.bytes(u8, id, idBytes);
    this.varying?.copies.push(id, out.at - idBytes, idBytes);
    this.varying?.longs.push((base >> 3) + 2, out.at);
    out.long(f64[(base >> 3) + 2]);
    const requestIdAction = plan.redactions.text('requestId');
    const { entity: source } = origin.rule;
    const redactions: string[] = [];
    if (source === undefined) out.byte(0);
    else {
      const own = (start: number, bytes: number): string =>
        Buffer.from(u8.slice(start, start + bytes)).toString('utf8');
      let text = '';
      if (source.parameter !== undefined) text = own(entity, entityBytes);
      else if (source.tenant === true) text = plan.tenant;
      else if (source.requestId === true) text = redactText(requestIdAction, own(requestId, requestIdBytes), this.hash);
      else if (source.input !== undefined)
        text = this.firstOf(source.input, views.u8, u32, tensors, counts & 0xffff, texts, plan);
      out.string(redactText(plan.redactions.text('entity'), text, this.hash));
    }
    if (requestIdAction === undefined) {
      out.bytes(u8, requestId, requestIdBytes);
      this.varying?.copies.push(requestId, out.at - requestIdBytes, requestIdBytes);
    } else {
      const text = Buffer.from(u8.slice(requestId, requestId + requestIdBytes)).toString('utf8');
      out.string(redactText(requestIdAction, text, this.hash));
    }
    out.bytes(u8, trace, traceBytes);
    this.varying?.copies.push(trace, out.at - traceBytes, traceBytes);
    out.raw(plan.shared, 0, plan.shared.length);
    const status = STATUS_BYTES[(u32[word + 1] >>> 8) & 0xff];
    out.raw(status, 0, status.length);
    out.double(f64[(base >> 3) + 3]);
    this.varying?.copies.push(base + 24, out.at - 8, 8);
    if ((flags & HAS_TIMINGS) === 0) out.byte(0);
    else {
      out.byte(2);
      // Five floats, as Avro writes them.
      this.doubles(out, u8, timings, TIMING_WORDS);
    }
    if ((flags & HAS_DECISION) === 0) {
      out.double(1);
      out.long(0);
      out.long(-1);
      out.byte(0);
      out.byte(0);
    } else {
      this.writeDecision(out, u8, f64, decision, texts);
    }
    for (const text of [payload?.ref, payload?.sha256]) {
      if (text === undefined) out.byte(0);
      else {
        out.byte(2);
        out.string(text);
      }
    }
    const inputs = counts & 0xffff;
    let byte = this.writeColumns(out, views.u8, u32, f64, tensors, inputs, texts, plan, 'inputs', values, redactions);
    byte = this.writeColumns(out, views.u8, u32, f64, byte, counts >>> 16, texts, plan, 'outputs', values, redactions);
    if (!values && payload === undefined) redactions.push(PAYLOAD_NOT_KEPT);
    const decided = (flags & HAS_DECISION) !== 0;
    if (decided && plan.hidesContext && f64[decision + 10] > 0) redactions.push('context: drop');
    const lines = plan.lines.length + redactions.length;
    if (lines > 0) {
      out.long(lines);
      for (const line of plan.lines) out.string(line);
      for (const line of redactions) out.string(line);
    }
    out.byte(0);
    if (decided) this.writeReasons(out, u8, f64, decision, texts, plan.hidesContext);
    else {
      out.long(-1);
      out.long(-1);
      for (let i = 0; i < 3; i++) out.byte(0);
    }
  }

  private writeReasons(
    out: AvroWriter,
    u8: Uint8Array,
    f64: Float64Array,
    at: number,
    texts: readonly DefinedText[],
    hidesContext: boolean,
  ): void {
    const fallbacks = f64[at + 8];
    const proposed = f64[at + 5];
    const proposedPmf = f64[at + 9];
    const context = f64[at + 10];
    out.long(f64[at + 3]);
    this.varying?.longs.push(at + BUCKET, out.at);
    out.long(f64[at + BUCKET]);
    let list = at + DECISION_WORDS + f64[at + 6] + f64[at + 7];
    if (fallbacks > 0) out.long(fallbacks);
    for (const end = list + 2 * fallbacks; list < end; list++) {
      const name = this.nameBytes(texts[f64[list]]);
      out.raw(name, 0, name.length);
    }
    out.byte(0);
    if (proposed < 0) out.byte(0);
    else {
      out.byte(2);
      const name = this.nameBytes(texts[proposed]);
      out.raw(name, 0, name.length);
      if (proposedPmf > 0) out.long(proposedPmf);
      this.doubles(out, u8, list, proposedPmf);
      out.byte(0);
    }
    list += proposedPmf;
    if (context > 0 && !hidesContext) {
      out.long(context);
      this.doubles(out, u8, list, context);
    }
    out.byte(0);
  }

  private writeDecision(
    out: AvroWriter,
    u8: Uint8Array,
    f64: Float64Array,
    at: number,
    texts: readonly DefinedText[],
  ): void {
    const pmf = f64[at + 6];
    const eligible = f64[at + 7];
    const list = at + DECISION_WORDS;
    this.doubles(out, u8, at + 2, 1);
    out.long(f64[at]);
    out.long(f64[at + 1]);
    if (pmf > 0) out.long(pmf);
    this.doubles(out, u8, list, pmf);
    out.byte(0);
    if (eligible > 0) out.long(eligible);
    for (let i = 0; i < eligible; i++) {
      const name = this.nameBytes(texts[f64[list + pmf + i]]);
      out.raw(name, 0, name.length);
    }
    out.byte(0);
  }

  /** Floats as they lie in the ring: Avro writes them alike. */
  private doubles(out: AvroWriter, u8: Uint8Array, at: number, count: number): void {
    out.raw(u8, at << 3, count * 8);
    if (count > 0) this.varying?.copies.push(at << 3, out.at - count * 8, count * 8);
  }

  private writeColumns(
    out: AvroWriter,
    u8: Uint8Array,
    u32: Uint32Array,
    f64: Float64Array,
    start: number,
    count: number,
    texts: readonly DefinedText[],
    plan: OriginPlan,
    side: 'inputs' | 'outputs',
    values: boolean,
    redactions: string[],
  ): number {
    const actions = plan[side];
    let kept = count;
    let byte = start;
    for (let i = 0; i < count; i++) {
      const action = actionOf(plan, side, actions, u32[byte >> 2], texts);
      if (action !== null) {
        if (action.kind === 'drop') kept--;
        if (!redactions.includes(action.line)) redactions.push(action.line);
      }
      byte = nextTensor(u32, byte);
    }
    if (kept > 0) out.long(kept);
    byte = start;
    for (let i = 0; i < count; i++) {
      const at = byte >> 2;
      const action = actions[u32[at]] ?? undefined;
      const next = nextTensor(u32, byte);
      if (action?.kind !== 'drop') {
        const type = u32[at + 1] & 0xff;
        const rank = u32[at + 1] >>> 8;
        const name = this.nameBytes(texts[u32[at]]);
        out.raw(name, 0, name.length);
        const datatype = encodedDatatype(datatypeAfter(type, action));
        out.raw(datatype, 0, datatype.length);
        const dims = (byte >> 3) + 2;
        if (rank > 0) {
          out.long(rank);
          for (let d = 0; d < rank; d++) out.long(f64[dims + d]);
        }
        out.byte(0);
        if (!values) writeNoValues(out);
        else {
          const { column } = this;
          column.type = type;
          column.u8 = u8;
          column.start = (dims + rank) << 3;
          column.bytes = u32[at + 2];
          writeValues(out, column, action, this.hash);
          if (this.varying !== undefined) {
            const copied = copiedAt(column, out.at);
            if (copied < 0) this.varying = undefined;
            else this.varying.copies.push(column.start, copied, column.bytes);
          }
        }
      }
      byte = next;
    }
    out.byte(0);
    return byte;
  }

  /** The first element of an input, after its redaction; '' where it is taken out or absent. */
  private firstOf(
    name: string,
    u8: Uint8Array,
    u32: Uint32Array,
    start: number,
    count: number,
    texts: readonly DefinedText[],
    plan: OriginPlan,
  ): string {
    let byte = start;
    for (let i = 0; i < count; i++) {
      const at = byte >> 2;
      if (texts[u32[at]].text === name) {
        const action = actionOf(plan, 'inputs', plan.inputs, u32[at], texts);
        const rank = u32[at + 1] >>> 8;
        const column = { type: u32[at + 1] & 0xff, u8, start: byte + 16 + 8 * rank, bytes: u32[at + 2] };
        return redactText(action ?? undefined, elementTexts(column, 1)[0] ?? '', this.hash);
      }
      byte = nextTensor(u32, byte);
    }
    return '';
  }

  /** Bytes of the tensors that the record shows. */
  private tensorBytes(request: RingRequest, plan: OriginPlan): number {
    const { views, base, texts } = request;
    const { u32 } = views;
    const counts = u32[(base >> 2) + 3];
    const inputs = counts & 0xffff;
    const count = inputs + (counts >>> 16);
    let byte = firstTensor(views, base);
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      const side = i < inputs ? 'inputs' : 'outputs';
      const kind = actionOf(plan, side, plan[side], u32[byte >> 2], texts)?.kind;
      if (kind !== 'drop' && kind !== 'mask') bytes += u32[(byte >> 2) + 2];
      byte = nextTensor(u32, byte);
    }
    return bytes;
  }

  private planOf(origin: DefinedOrigin): OriginPlan {
    let plan = this.plans.get(origin);
    if (plan === undefined) {
      plan = planOf(origin, this.hash);
      this.plans.set(origin, plan);
    }
    return plan;
  }

  private nameBytes(text: DefinedText): Uint8Array {
    let bytes = this.names.get(text);
    if (bytes === undefined) {
      bytes = encodedText(text.text);
      this.names.set(text, bytes);
    }
    return bytes;
  }
}

function encodedText(text: string): Uint8Array {
  const writer = new AvroWriter();
  writer.string(text);
  return writer.u8.slice(0, writer.at);
}

function encodedDatatype(datatype: string): Uint8Array {
  let bytes = DATATYPE_BYTES.get(datatype);
  if (bytes === undefined) {
    bytes = encodedText(datatype);
    DATATYPE_BYTES.set(datatype, bytes);
  }
  return bytes;
}
