import type { NativeCodecs } from '../../tensor/native.ts';
import { bytesOf, PlacedTensor } from '../../tensor/placed.ts';
import { DATA_TYPES, type Tensor } from '../../tensor/tensor.ts';
import type { JsonOutput } from './output.ts';

// Words of `meta`, as in native/src/addon.cc.
const POSITION = 0;
const TYPE = 1;
const FIRST = 2;
const NEXT = 3;
const END = 4;
const OFFSET = 5;
const LIMIT = 6;

/** Positions are 32-bit words; the text of a tensor this far into its buffer surely stays below. */
const MAX_BYTES = 2 ** 26;
export const NO_HEAD: Uint8Array = new Uint8Array(0);
/** Room asked for per element; where they are longer, the addon is called again for the rest. */
export const TYPICAL_BYTES = 12;
/** The addon stops where less than this is left. */
const LEAST_ROOM = 48;

const codes = new Map<string, number>(DATA_TYPES.map((type, code) => [type, code]));
const FP32 = DATA_TYPES.indexOf('FP32');

/** Whether the addon prints the tensor. BYTES and 16-bit floats are left to the TypeScript printers. */
export function printsNatively(tensor: Tensor): boolean {
  const { datatype } = tensor;
  if (datatype === 'BYTES' || datatype === 'FP16' || datatype === 'BF16') return false;
  const end = tensor instanceof PlacedTensor ? tensor.offset + tensor.bytes : bytesOf(tensor);
  return end <= MAX_BYTES;
}

/**
 * Prints `head` and elements [from, to) with commas between them, all in one call where the room suffices. The tensor's
 * data must be as long as its shape says.
 */
export function printNatively(
  native: NativeCodecs,
  out: JsonOutput,
  head: Uint8Array,
  tensor: Tensor,
  from: number,
  to: number,
): void {
  const meta = native.meta;
  let lead = head;
  meta[TYPE] = tensor.datatype === 'FP32' ? FP32 : codes.get(tensor.datatype)!;
  meta[FIRST] = from;
  meta[NEXT] = from;
  meta[END] = to;
  let data: Uint8Array;
  if (tensor instanceof PlacedTensor) {
    data = tensor.source;
    meta[OFFSET] = tensor.offset;
    meta[LIMIT] = tensor.offset + tensor.bytes;
  } else {
    data = tensor.data;
    meta[OFFSET] = 0;
    meta[LIMIT] = data.length;
  }
  for (;;) {
    const next = meta[NEXT];
    out.reserve(lead.length + (to - next) * TYPICAL_BYTES + LEAST_ROOM);
    meta[POSITION] = out.pos;
    native.print(out.buf, lead, data);
    out.pos = meta[POSITION];
    if (meta[NEXT] >= to) return;
    if (meta[NEXT] === next) throw new Error(`tensor '${tensor.name}' is shorter than its shape`);
    lead = NO_HEAD;
  }
}

/** ElementPrinter (tensor-print.ts) by the addon. */
export class NativePrinter {
  private readonly native: NativeCodecs;
  private readonly tensor: Tensor;

  constructor(native: NativeCodecs, tensor: Tensor) {
    this.native = native;
    this.tensor = tensor;
  }

  print(out: JsonOutput, from: number, to: number): void {
    printNatively(this.native, out, NO_HEAD, this.tensor, from, to);
  }
}
