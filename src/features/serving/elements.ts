import { invalidArgument } from '../../shared/errors.ts';
import { nextBytesElement } from '../../tensor/bytes.ts';
import { type DataType, ELEMENT_BYTES, type Tensor } from '../../tensor/tensor.ts';
import { typedView } from '../../tensor/views.ts';
import type { FeatureValue, Scalar } from '../documents/values.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true });
const encoder = new TextEncoder();

/** The keys that an input holds, one for each element: integers or texts. Throws invalid_argument. */
export function readKeys(tensor: Tensor): unknown[] {
  const { datatype, data, name } = tensor;
  if (datatype === 'BYTES') {
    const keys: string[] = [];
    for (let at = 0; at < data.length; ) {
      const end = nextBytesElement(data, at);
      if (end < 0) throw invalidArgument(`input '${name}' holds a BYTES element that ends behind its data`);
      try {
        keys.push(utf8.decode(data.subarray(at + 4, end)));
      } catch {
        throw invalidArgument(`input '${name}' holds a key that is not UTF-8 text`);
      }
      at = end;
    }
    return keys;
  }
  if (datatype === 'BOOL' || datatype === 'FP16' || datatype === 'BF16' || datatype === 'FP32' || datatype === 'FP64')
    throw invalidArgument(`input '${name}' holds keys, which are integers or BYTES, not ${datatype}`);
  return Array.from(typedView(datatype, data) as ArrayLike<number | bigint>);
}

/** Types of model inputs that features can fill. */
export function canFill(datatype: DataType): boolean {
  return datatype !== 'FP16' && datatype !== 'BF16';
}

/** Range of integers a type can hold. */
const RANGES: Partial<Record<DataType, readonly [bigint, bigint]>> = {
  UINT8: [0n, 255n],
  UINT16: [0n, 65_535n],
  UINT32: [0n, 4_294_967_295n],
  UINT64: [0n, 2n ** 64n - 1n],
  INT8: [-128n, 127n],
  INT16: [-32_768n, 32_767n],
  INT32: [-(2n ** 31n), 2n ** 31n - 1n],
  INT64: [-(2n ** 63n), 2n ** 63n - 1n],
};

/** One input of a model in the making: `rows` × `width` elements, filled from features. */
export class InputMatrix {
  private readonly name: string;
  private readonly datatype: DataType;
  private readonly shape: number[];
  private readonly width: number;
  private readonly buffer: ArrayBuffer;
  private readonly view: ReturnType<typeof typedView>;
  private readonly texts: string[];

  constructor(name: string, datatype: DataType, shape: number[], rows: number, width: number) {
    this.name = name;
    this.datatype = datatype;
    this.shape = shape;
    this.width = width;
    this.buffer = new ArrayBuffer(rows * width * ELEMENT_BYTES[datatype]);
    this.view = typedView(datatype, new Uint8Array(this.buffer));
    this.texts = datatype === 'BYTES' ? new Array<string>(rows * width) : [];
  }

  /** Puts a value, or a vector from its column on, into a row. Throws failed_precondition-like invalid_argument. */
  set(row: number, column: number, value: Exclude<FeatureValue, null>, feature: string): void {
    const at = row * this.width + column;
    if (!Array.isArray(value)) this.put(at, value, feature);
    else for (let i = 0; i < value.length; i++) this.put(at + i, value[i], feature);
  }

  private put(at: number, value: Scalar, feature: string): void {
    switch (this.datatype) {
      case 'FP32':
      case 'FP64':
        (this.view as Float32Array)[at] = Number(value);
        return;
      case 'BYTES':
        this.texts[at] = String(value);
        return;
      case 'BOOL':
        (this.view as Uint8Array)[at] = value ? 1 : 0;
        return;
      default:
        this.putInteger(at, value, feature);
    }
  }

  private putInteger(at: number, value: Scalar, feature: string): void {
    const [low, high] = RANGES[this.datatype] as readonly [bigint, bigint];
    const number = typeof value === 'bigint' ? value : Number(value);
    const fits =
      typeof number === 'bigint'
        ? number >= low && number <= high
        : Number.isInteger(number) && number >= Number(low) && number <= Number(high);
    if (!fits)
      throw invalidArgument(
        `feature ${feature} is ${String(value)}, which input '${this.name}' (${this.datatype}) cannot hold`,
      );
    if (this.datatype === 'INT64' || this.datatype === 'UINT64') (this.view as BigInt64Array)[at] = BigInt(number);
    else (this.view as Int32Array)[at] = Number(number);
  }

  tensor(): Tensor {
    const { name, datatype, shape } = this;
    const data = datatype === 'BYTES' ? bytesOf(this.texts) : new Uint8Array(this.buffer);
    return { name, datatype, shape, data };
  }
}

function bytesOf(texts: readonly string[]): Uint8Array {
  const parts = texts.map((text) => encoder.encode(text));
  const data = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, 0));
  const view = new DataView(data.buffer);
  let at = 0;
  for (const part of parts) {
    view.setUint32(at, part.length, true);
    data.set(part, at + 4);
    at += 4 + part.length;
  }
  return data;
}
