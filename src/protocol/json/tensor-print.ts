import { isUtf8 } from 'node:buffer';
import { invalidArgument } from '../../shared/errors.ts';
import { nextBytesElement } from '../../tensor/bytes.ts';
import { bf16ToNumber, fp16ToNumber } from '../../tensor/half.ts';
import { native } from '../../tensor/native.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { float32View, float64View, int16View, int32View, uint16View, uint32View } from '../../tensor/views.ts';
import { NativePrinter, printsNatively } from './native-printer.ts';
import {
  MAX_NUMBER_BYTES,
  printAscii,
  printFloat32,
  printFloat64,
  printInteger,
  printInteger64,
} from './number-print.ts';
import type { JsonOutput } from './output.ts';
import { utf8 } from './text.ts';

const COMMA = 0x2c;
/** Elements written between two looks at the room left. */
const RUN = 256;

/** Prints elements [from, to) separated by commas, without brackets. */
export interface ElementPrinter {
  print(out: JsonOutput, from: number, to: number): void;
}

/**
 * A printer over the tensor's elements. FP16 and BF16 print as decimals that read back to the same bits; callers whose
 * protocol has no such form refuse them beforehand. `base64`: BYTES print as {"b64":"…"} instead of strings.
 */
export function elementPrinter(tensor: Tensor, base64 = false): ElementPrinter {
  if (native !== undefined && printsNatively(tensor)) return new NativePrinter(native, tensor);
  return scriptPrinter(tensor, base64);
}

/** elementPrinter in TypeScript. */
export function scriptPrinter(tensor: Tensor, base64 = false): ElementPrinter {
  const data = tensor.data;
  switch (tensor.datatype) {
    case 'FP32':
      return new Float32Printer(float32View(data));
    case 'FP64':
      return new NumberPrinter(float64View(data), printFloat64);
    case 'INT8':
      return new NumberPrinter(new Int8Array(data.buffer, data.byteOffset, data.length), printInteger);
    case 'UINT8':
      return new NumberPrinter(data, printInteger);
    case 'INT16':
      return new NumberPrinter(int16View(data), printInteger);
    case 'UINT16':
      return new NumberPrinter(uint16View(data), printInteger);
    case 'INT32':
      return new NumberPrinter(int32View(data), printInteger);
    case 'UINT32':
      return new NumberPrinter(uint32View(data), printInteger);
    case 'BOOL':
      return new NumberPrinter(data, printBoolean);
    case 'FP16':
      return new NumberPrinter(uint16View(data), printFp16);
    case 'BF16':
      return new NumberPrinter(uint16View(data), printBf16);
    case 'INT64':
      return new Integer64Printer(uint32View(data), true);
    case 'UINT64':
      return new Integer64Printer(uint32View(data), false);
    case 'BYTES':
      return new BytesPrinter(tensor.name, data, base64);
  }
}

/** The common case, with a direct call per element. */
class Float32Printer implements ElementPrinter {
  private readonly elements: Float32Array;

  constructor(elements: Float32Array) {
    this.elements = elements;
  }

  print(out: JsonOutput, from: number, to: number): void {
    const elements = this.elements;
    for (let i = from; i < to; ) {
      const stop = Math.min(to, i + RUN);
      out.reserve((stop - i) * MAX_NUMBER_BYTES);
      const buf = out.buf;
      let pos = out.pos;
      for (; i < stop; i++) {
        if (i > from) buf[pos++] = COMMA;
        pos = printFloat32(buf, pos, elements[i]);
      }
      out.pos = pos;
    }
  }
}

class NumberPrinter implements ElementPrinter {
  private readonly elements: ArrayLike<number>;
  private readonly one: (buf: Uint8Array, pos: number, value: number) => number;

  constructor(elements: ArrayLike<number>, one: (buf: Uint8Array, pos: number, value: number) => number) {
    this.elements = elements;
    this.one = one;
  }

  print(out: JsonOutput, from: number, to: number): void {
    for (let i = from; i < to; ) {
      const stop = Math.min(to, i + RUN);
      out.reserve((stop - i) * MAX_NUMBER_BYTES);
      const buf = out.buf;
      let pos = out.pos;
      for (; i < stop; i++) {
        if (i > from) buf[pos++] = COMMA;
        pos = this.one(buf, pos, this.elements[i]);
      }
      out.pos = pos;
    }
  }
}

class Integer64Printer implements ElementPrinter {
  private readonly halves: Uint32Array;
  private readonly signed: boolean;

  constructor(halves: Uint32Array, signed: boolean) {
    this.halves = halves;
    this.signed = signed;
  }

  print(out: JsonOutput, from: number, to: number): void {
    for (let i = from; i < to; i++) {
      out.reserve(MAX_NUMBER_BYTES);
      if (i > from) out.buf[out.pos++] = COMMA;
      const high = this.halves[2 * i + 1];
      out.pos = printInteger64(out.buf, out.pos, this.signed ? high | 0 : high, this.halves[2 * i]);
    }
  }
}

/** Looks for elements as they are printed: of a large tensor that is printed in slices, no turn looks at all of them. */
class BytesPrinter implements ElementPrinter {
  private readonly name: string;
  private readonly data: Uint8Array;
  private readonly base64: boolean;
  /** The element that begins at `offset`. */
  private index = 0;
  private offset = 0;

  constructor(name: string, data: Uint8Array, base64: boolean) {
    this.name = name;
    this.data = data;
    this.base64 = base64;
  }

  private next(): Uint8Array {
    const from = this.offset + 4;
    const to = nextBytesElement(this.data, this.offset);
    if (to < 0) throw invalidArgument(`output '${this.name}': element ${this.index} is cut off`);
    this.offset = to;
    this.index++;
    return this.data.subarray(from, to);
  }

  print(out: JsonOutput, from: number, to: number): void {
    if (from < this.index) this.index = this.offset = 0;
    while (this.index < from) this.next();
    for (let i = from; i < to; i++) {
      if (i > from) out.byte(COMMA);
      const element = this.next();
      if (this.base64) {
        out.raw('{"b64":"');
        out.raw(Buffer.from(element.buffer, element.byteOffset, element.length).toString('base64'));
        out.raw('"}');
        continue;
      }
      if (!isUtf8(element)) {
        throw invalidArgument(
          `output '${this.name}': element ${i} is not UTF-8 and has no JSON form; ask for it with binary_data: true`,
        );
      }
      out.string(utf8(element, 0, element.length));
    }
  }
}

function printBoolean(buf: Uint8Array, pos: number, value: number): number {
  return printAscii(buf, pos, value === 0 ? 'false' : 'true');
}

function printFp16(buf: Uint8Array, pos: number, half: number): number {
  return printFloat32(buf, pos, fp16ToNumber(half));
}

function printBf16(buf: Uint8Array, pos: number, half: number): number {
  return printFloat32(buf, pos, bf16ToNumber(half));
}
