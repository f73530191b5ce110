import type { FinishedRequest } from '../../pipeline/routed/record.ts';
import type { ServingTable } from '../../pipeline/types.ts';
import { DATA_TYPES, type DataType, type Tensor } from '../../tensor/tensor.ts';
import { EPOCH, IS_ANALYSED, IS_SHADOW, ORIGIN, ORIGIN_TEXTS, RESET, TARGET, TEXT } from './memory.ts';
import type { RingWriter } from './ring-writer.ts';
import type { Origin, Target, Targets, TensorMemo } from './targets.ts';
import { writeText } from './text.ts';

const typeCode = new Map<DataType, number>(DATA_TYPES.map((type, code) => [type, code]));

/** Names come from clients: beyond so many, everything is defined anew. */
const MAX_TEXTS = 16_384;
const MAX_ORIGINS = 4096;

/**
 * What many requests share (names, versions, rules): written into the ring once, and referred to by number. A log thread
 * that starts knows none of it, so everything is defined anew then.
 */
export class Definitions {
  private readonly writer: RingWriter;
  private readonly words: Int32Array;
  private readonly targets: Targets;
  private readonly table: () => ServingTable;
  private texts = new Map<string, number>();
  private targetCount = 0;
  private originCount = 0;
  private epoch = -1;

  constructor(writer: RingWriter, words: Int32Array, targets: Targets, table: () => ServingTable) {
    this.writer = writer;
    this.words = words;
    this.targets = targets;
    this.table = table;
  }

  /** Before each record. False: no room to start afresh. */
  ready(): boolean {
    if (this.words[EPOCH] === this.epoch && this.texts.size <= MAX_TEXTS && this.originCount <= MAX_ORIGINS)
      return true;
    return this.begin();
  }

  /** Undefined: no room. */
  originOf(finished: FinishedRequest, target: Target): Origin | undefined {
    const { decision, request, response, shadow, context } = finished;
    const table = this.table();
    const { model: requestedModel } = request;
    const { tenant, protocol } = context;
    const route = decision?.route ?? '';
    const variant = shadow !== '' ? shadow : (decision?.served ?? '');
    const assigned = decision?.assigned ?? '';
    const role = decision?.role ?? '';
    const detour = decision?.detour ?? '';
    const version = response?.version ?? (shadow === '' ? request.version : '');
    const flags = (shadow === '' ? 0 : IS_SHADOW) | (decision?.analysed === true ? IS_ANALYSED : 0);
    // What was served, where anything was; a name that only the client knows is no model.
    const served = response?.model ?? (shadow === '' ? (decision?.model ?? requestedModel) : '');
    const { last, origins } = target;
    if (
      last !== undefined &&
      last.table === table &&
      last.requestedModel === requestedModel &&
      last.tenant === tenant &&
      last.version === version &&
      last.variant === variant &&
      last.assigned === assigned &&
      last.route === route &&
      last.protocol === protocol &&
      last.role === role &&
      last.detour === detour &&
      last.flags === flags &&
      last.served === served
    )
      return last;
    const wanted: Omit<Origin, 'index'> = {
      table,
      route,
      variant,
      assigned,
      served,
      version,
      requestedModel,
      tenant,
      protocol,
      role,
      detour,
      flags,
    };
    const known = origins.find((origin) => sameOrigin(origin, wanted));
    if (known !== undefined) {
      target.last = known;
      return known;
    }
    const entry = table.models.get(served);
    const model = entry === undefined ? '' : served;
    const digest = entry?.versions.find((ready) => ready.version === version)?.cacheIdentity ?? '';
    const index = this.defineOrigin(target, { ...wanted, model, digest }, flags);
    if (index < 0) return undefined;
    const origin: Origin = { index, ...wanted };
    // Of an old table none is found again.
    target.origins = [origin, ...target.origins.filter((other) => other.table === table)];
    target.last = origin;
    return origin;
  }

  /** The number of a text, defining it where need be. −1: no room. */
  textOf(text: string): number {
    const known = this.texts.get(text);
    if (known !== undefined) return known;
    const index = this.defineText(TEXT, this.texts.size, text);
    if (index >= 0) this.texts.set(text, index);
    return index;
  }

  /** Knows the numbers of each name and datatype by their position afterwards. False: no room. */
  nameAll(tensors: readonly Tensor[], wanted: ReadonlySet<string> | undefined, memo: TensorMemo): boolean {
    for (let i = 0; i < tensors.length; i++) {
      const { name, datatype } = tensors[i];
      if (memo.datatypes[i] !== datatype) {
        memo.datatypes[i] = datatype;
        memo.types[i] = typeCode.get(datatype) as number;
      }
      if (memo.names[i] === name) continue;
      if (wanted !== undefined && !wanted.has(name)) continue;
      const index = this.textOf(name);
      if (index < 0) return false;
      memo.names[i] = name;
      memo.indexes[i] = index;
    }
    return true;
  }
  /** Starts afresh: for a log thread that started, or because too much was defined. */
  private begin(): boolean {
    const epoch = this.words[EPOCH];
    this.targets.reset();
    this.texts = new Map();
    this.targetCount = 0;
    this.originCount = 0;
    if (!this.writer.reserve(16)) return false;
    const at = this.writer.base >> 2;
    this.writer.views.u32[at + 1] = RESET;
    this.writer.views.u32[at + 2] = epoch;
    this.writer.commit(16);
    this.epoch = epoch;
    return true;
  }

  /** −1: no room. */
  private defineOrigin(target: Target, texts: Record<(typeof ORIGIN_TEXTS)[number], string>, flags: number): number {
    if (target.index < 0) target.index = this.defineText(TARGET, this.targetCount, JSON.stringify(target.rule));
    if (target.index < 0) return -1;
    this.targetCount = Math.max(this.targetCount, target.index + 1);
    const numbers = ORIGIN_TEXTS.map((name) => this.textOf(texts[name]));
    if (numbers.some((number) => number < 0) || !this.writer.reserve(64)) return -1;
    const { u32 } = this.writer.views;
    const at = this.writer.base >> 2;
    u32[at + 1] = ORIGIN;
    u32[at + 2] = this.originCount;
    u32[at + 3] = target.index;
    for (let i = 0; i < numbers.length; i++) u32[at + 4 + i] = numbers[i];
    u32[at + 4 + numbers.length] = flags;
    this.writer.commit(64);
    return this.originCount++;
  }

  private defineText(kind: number, index: number, text: string): number {
    const bytes = Buffer.byteLength(text);
    if (!this.writer.reserve((16 + bytes + 7) & ~7)) return -1;
    const { u8, u32 } = this.writer.views;
    const { base } = this.writer;
    u32[(base >> 2) + 1] = kind;
    u32[(base >> 2) + 2] = index;
    u32[(base >> 2) + 3] = bytes;
    writeText(u8, base + 16, text);
    this.writer.commit((16 + bytes + 7) & ~7);
    return index;
  }
}

function sameOrigin(a: Omit<Origin, 'index'>, b: Omit<Origin, 'index'>): boolean {
  return (
    a.table === b.table && a.flags === b.flags && a.served === b.served && ORIGIN_KEYS.every((key) => a[key] === b[key])
  );
}

const ORIGIN_KEYS = ORIGIN_TEXTS.filter((name) => name !== 'model' && name !== 'digest');
