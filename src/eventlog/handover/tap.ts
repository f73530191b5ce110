import type { EventLogConfig } from '../../config/event-log-schema.ts';
import type { LogRule } from '../../config/log-rule-schema.ts';
import type { DecisionRecord, FinishedRequest, RequestLog } from '../../pipeline/routed/record.ts';
import type { InferRequest, ServingTable } from '../../pipeline/types.ts';
import { printIdNumber } from '../../shared/ids.ts';
import { bytesOf } from '../../tensor/placed.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { Definitions } from './definitions.ts';
import {
  countersOf,
  DECISION_WORDS,
  DROPPED,
  FIXED_BYTES,
  HANDED,
  HAS_DECISION,
  HAS_TIMINGS,
  REQUEST,
  type RingMemory,
  SAMPLED_OUT,
  SERVED,
  wordsOf,
} from './memory.ts';
import { RingWriter } from './ring-writer.ts';
import { STATUSES } from './statuses.ts';
import { type Target, Targets, type TensorMemo } from './targets.ts';
import { TensorBytes } from './tensor-bytes.ts';
import { writeText } from './text.ts';

export interface TapDependencies {
  table(): ServingTable;
  /** Uniform in [0, 1). */
  random(): number;
  /** Takes a record that is too large for the ring. */
  sendLarge(record: ArrayBuffer): void;
}

const statusCode = new Map(STATUSES.map((status, code) => [status, code]));

/** Of the number of an id: 2 ** 53 to base 36. */
const MAX_ID_DIGITS = 11;
const NOTHING: readonly number[] = [];

/**
 * A gateway thread's end of the event log: writes each finished request into the ring as the bytes it has anyway. A
 * ring without room drops the record and counts it; nothing here ever waits.
 */
export class LogTap implements RequestLog {
  private readonly targets: Targets;
  private readonly writer: RingWriter;
  private readonly definitions: Definitions;
  private readonly counters: Float64Array;
  private readonly dependencies: TapDependencies;
  private prefix = '';
  private prefixBytes = new Uint8Array(0);
  private readonly inputBytes = new TensorBytes();
  private readonly outputBytes = new TensorBytes();

  constructor(memory: RingMemory, config: Pick<EventLogConfig, 'rule' | 'models'>, dependencies: TapDependencies) {
    this.targets = new Targets(config);
    this.writer = new RingWriter(memory, dependencies.sendLarge);
    this.definitions = new Definitions(this.writer, wordsOf(memory), this.targets, dependencies.table);
    this.counters = countersOf(memory);
    this.dependencies = dependencies;
  }

  setRoutes(rules: ReadonlyMap<string, LogRule | undefined>): void {
    this.targets.setRoutes(rules);
  }

  wants(route: string, model: string): boolean {
    return this.targets.of(route, model).rule.enabled;
  }

  finished(finished: FinishedRequest): void {
    const { counters } = this;
    const target = this.targets.of(finished.decision?.route ?? '', finished.request.model);
    const { enabled, sample } = target.rule;
    if (!enabled) return;
    counters[SERVED]++;
    if (sample < 1 && this.dependencies.random() >= sample) counters[SAMPLED_OUT]++;
    else if (this.write(finished, target)) counters[HANDED]++;
    else counters[DROPPED]++;
  }

  private write(finished: FinishedRequest, target: Target): boolean {
    const { definitions } = this;
    if (!definitions.ready()) return false;
    const origin = definitions.originOf(finished, target);
    if (origin === undefined) return false;
    const { request, response, decision, context } = finished;
    const { parameter } = target.rule.entity ?? {};
    const entity = parameter === undefined ? '' : parameterText(request, parameter);
    let bytes =
      FIXED_BYTES + 48 + 3 * (idLength(finished) + request.id.length + context.traceparent.length + entity.length);
    if (decision !== undefined) {
      const words = this.sizeDecision(decision);
      if (words < 0) return false;
      bytes += 8 * words;
    }
    const joined = context.served?.joined;
    const inputs = joined === undefined ? request.inputs : [...request.inputs, ...joined];
    if (!definitions.nameAll(inputs, target.inputs, target.inputMemo)) return false;
    bytes += tensorBytes(inputs, target.inputs);
    if (response !== undefined) {
      if (!definitions.nameAll(response.outputs, target.outputs, target.outputMemo)) return false;
      bytes += tensorBytes(response.outputs, target.outputs);
    }
    const { writer } = this;
    if (!writer.reserve(bytes)) return false;
    const { base } = writer;
    const { u8, u32, f64 } = writer.views;
    let at = base >> 2;
    const { timings } = response ?? {};
    const flags = (timings === undefined ? 0 : HAS_TIMINGS) | (decision === undefined ? 0 : HAS_DECISION);
    u32[at + 1] = REQUEST | (codeOf(finished.status) << 8) | (flags << 16);
    u32[at + 2] = origin.index;
    at = base >> 3;
    f64[at + 2] = finished.time;
    f64[at + 3] = finished.latencyMs;
    at += FIXED_BYTES >> 3;
    if (timings !== undefined) {
      f64[at++] = timings.queue;
      f64[at++] = timings.computeInput;
      f64[at++] = timings.computeInfer;
      f64[at++] = timings.computeOutput;
      f64[at++] = timings.batchSize;
    }
    if (decision !== undefined) at = this.writeDecision(f64, at, decision);
    let byte = at << 3;
    const lengths = (base >> 2) + 8;
    let end = this.writeId(u8, byte, finished);
    u32[lengths] = end - byte;
    byte = end;
    end = writeText(u8, byte, request.id);
    u32[lengths + 1] = end - byte;
    byte = end;
    end = writeText(u8, byte, context.traceparent);
    u32[lengths + 2] = end - byte;
    byte = end;
    end = writeText(u8, byte, entity);
    u32[lengths + 3] = end - byte;
    byte = (end + 7) & ~7;
    let count = 0;
    for (let i = 0; i < inputs.length; i++) {
      if (target.inputs !== undefined && !target.inputs.has(inputs[i].name)) continue;
      byte = this.writeTensor(byte, inputs[i], target.inputMemo, i, this.inputBytes);
      count++;
    }
    if (response !== undefined) {
      const { outputs } = response;
      for (let i = 0; i < outputs.length; i++) {
        if (target.outputs !== undefined && !target.outputs.has(outputs[i].name)) continue;
        byte = this.writeTensor(byte, outputs[i], target.outputMemo, i, this.outputBytes);
        count += 0x10000;
      }
    }
    u32[(base >> 2) + 3] = count;
    writer.commit(byte - base);
    return true;
  }

  /** By its number where it has one: a text of it would be made for this alone. Returns where it ends. */
  private writeId(u8: Uint8Array, start: number, finished: FinishedRequest): number {
    const { ids, number } = finished;
    if (ids === undefined || number === undefined) return writeText(u8, start, finished.id);
    if (ids.prefix !== this.prefix) {
      this.prefix = ids.prefix;
      this.prefixBytes = Buffer.from(ids.prefix);
    }
    const { prefixBytes } = this;
    const { length } = prefixBytes;
    for (let i = 0; i < length; i++) u8[start + i] = prefixBytes[i];
    return printIdNumber(u8, start + length, number);
  }

  /** Words that a decision takes, with its texts defined. −1: no room for them. */
  private sizeDecision({ pmf, eligible, fallbacks, proposed, features }: DecisionRecord): number {
    const { definitions } = this;
    for (let i = 0; i < eligible.length; i++) if (definitions.textOf(eligible[i]) < 0) return -1;
    for (let i = 0; i < fallbacks.length; i++) {
      if (definitions.textOf(fallbacks[i].variant) < 0 || definitions.textOf(fallbacks[i].cause) < 0) return -1;
    }
    if (proposed !== undefined && definitions.textOf(proposed.variant) < 0) return -1;
    const lists = pmf.length + eligible.length + 2 * fallbacks.length;
    return DECISION_WORDS + lists + (proposed?.pmf.length ?? 0) + (features?.length ?? 0);
  }

  /** As {@link DECISION_WORDS} says. */
  private writeDecision(f64: Float64Array, start: number, decision: DecisionRecord): number {
    const { pmf, eligible, fallbacks, proposed, features = NOTHING } = decision;
    const { definitions } = this;
    const proposedPmf = proposed?.pmf ?? NOTHING;
    let at = start;
    f64[at++] = decision.stateVersion;
    f64[at++] = decision.snapshotVersion;
    f64[at++] = decision.propensity;
    f64[at++] = decision.override;
    f64[at++] = decision.bucket;
    f64[at++] = proposed === undefined ? -1 : definitions.textOf(proposed.variant);
    f64[at++] = pmf.length;
    f64[at++] = eligible.length;
    f64[at++] = fallbacks.length;
    f64[at++] = proposedPmf.length;
    f64[at++] = features.length;
    for (let i = 0; i < pmf.length; i++) f64[at++] = pmf[i];
    for (let i = 0; i < eligible.length; i++) f64[at++] = definitions.textOf(eligible[i]);
    for (let i = 0; i < fallbacks.length; i++) {
      f64[at++] = definitions.textOf(fallbacks[i].variant);
      f64[at++] = definitions.textOf(fallbacks[i].cause);
    }
    for (let i = 0; i < proposedPmf.length; i++) f64[at++] = proposedPmf[i];
    for (let i = 0; i < features.length; i++) f64[at++] = features[i];
    return at;
  }

  /** [name, type | rank << 8, bytes, 0], dims as floats, the bytes. Returns where the next one goes. */
  private writeTensor(byte: number, tensor: Tensor, memo: TensorMemo, i: number, payload: TensorBytes): number {
    const { views } = this.writer;
    const { u32, f64 } = views;
    const { shape } = tensor;
    const at = byte >> 2;
    const rank = shape.length;
    const bytes = bytesOf(tensor);
    u32[at] = memo.indexes[i];
    u32[at + 1] = memo.types[i] | (rank << 8);
    u32[at + 2] = bytes;
    const dims = (byte >> 3) + 2;
    for (let k = 0; k < rank; k++) f64[dims + k] = shape[k];
    const start = (dims + rank) << 3;
    payload.copy(tensor, bytes, views, start);
    return (start + bytes + 7) & ~7;
  }
}

/** An upper bound, in characters. */
function idLength(finished: FinishedRequest): number {
  const { ids } = finished;
  return ids === undefined ? finished.id.length : ids.prefix.length + MAX_ID_DIGITS;
}

function codeOf(status: FinishedRequest['status']): number {
  return status === 'ok' ? 0 : (statusCode.get(status) as number);
}

function tensorBytes(tensors: readonly Tensor[], wanted: ReadonlySet<string> | undefined): number {
  let bytes = 0;
  for (let i = 0; i < tensors.length; i++) {
    const tensor = tensors[i];
    if (wanted === undefined || wanted.has(tensor.name)) bytes += 24 + 8 * tensor.shape.length + bytesOf(tensor);
  }
  return bytes;
}

function parameterText({ parameters }: InferRequest, name: string): string {
  if (parameters === undefined || !Object.hasOwn(parameters, name)) return '';
  return String(parameters[name]);
}
