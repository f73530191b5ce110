import { SwitchyardError } from '../../shared/errors.ts';
import { type DataType, ELEMENT_BYTES, elementCount } from '../../tensor/tensor.ts';

/** No gRPC message is larger; a list that repeats its last value must not grow past it either. */
const MAX_OUTPUT_BYTES = 2 ** 31;

/**
 * A copy of an output's raw bytes in memory of its own.
 * @throws SwitchyardError internal when they do not fill the shape
 */
export function ownBytes(name: string, datatype: DataType, shape: readonly number[], bytes: Uint8Array): Uint8Array {
  const count = elementCount(shape);
  const size = ELEMENT_BYTES[datatype];
  if (count < 0 || (size > 0 && bytes.byteLength !== count * size)) {
    throw new SwitchyardError(
      'internal',
      `the remote server sent ${bytes.byteLength} bytes for output "${name}" of ${datatype} and shape [${shape}]`,
    );
  }
  return new Uint8Array(bytes);
}

/** Typed values of a message as a tensor's raw little-endian bytes in fresh memory. A short list repeats its last value when `fill`. */
export function packValues(
  name: string,
  datatype: DataType,
  shape: readonly number[],
  values: readonly (number | bigint | boolean)[],
  fill: boolean,
): Uint8Array {
  const count = elementCount(shape);
  const short = values.length < count && !(fill && values.length > 0);
  const size = ELEMENT_BYTES[datatype];
  if (count < 0 || count * size > MAX_OUTPUT_BYTES || short || values.length > count) {
    throw new SwitchyardError(
      'internal',
      `the remote server sent ${values.length} values for output "${name}" of shape [${shape}]`,
    );
  }
  const view = new DataView(new ArrayBuffer(count * size));
  for (let i = 0; i < count; i++) put(view, i * size, datatype, values[Math.min(i, values.length - 1)]);
  return new Uint8Array(view.buffer);
}

/** Byte strings as BYTES elements in fresh memory. */
export function packStrings(
  name: string,
  shape: readonly number[],
  elements: readonly Uint8Array[],
  fill: boolean,
): Uint8Array {
  const count = elementCount(shape);
  const short = elements.length < count && !(fill && elements.length > 0);
  if (count < 0 || count * 4 > MAX_OUTPUT_BYTES || short || elements.length > count) {
    throw new SwitchyardError(
      'internal',
      `the remote server sent ${elements.length} strings for output "${name}" of shape [${shape}]`,
    );
  }
  let size = 0;
  for (let i = 0; i < count; i++) size += 4 + elements[Math.min(i, elements.length - 1)].byteLength;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (let i = 0; i < count; i++) {
    const element = elements[Math.min(i, elements.length - 1)];
    view.setUint32(at, element.byteLength, true);
    bytes.set(element, at + 4);
    at += 4 + element.byteLength;
  }
  return bytes;
}

/** BYTES elements as byte strings, views of `data`. Throws invalid_argument when lengths run past the end. */
export function unpackStrings(name: string, data: Uint8Array): Uint8Array[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const elements: Uint8Array[] = [];
  let at = 0;
  while (at < data.byteLength) {
    const length = at + 4 <= data.byteLength ? view.getUint32(at, true) : Number.POSITIVE_INFINITY;
    if (length > data.byteLength - at - 4) {
      throw new SwitchyardError(
        'invalid_argument',
        `input "${name}": element ${elements.length} runs past the end of the data`,
      );
    }
    elements.push(data.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return elements;
}

function put(view: DataView, at: number, datatype: DataType, value: number | bigint | boolean): void {
  switch (datatype) {
    case 'BOOL':
      view.setUint8(at, value ? 1 : 0);
      break;
    case 'UINT8':
      view.setUint8(at, Number(value));
      break;
    case 'INT8':
      view.setInt8(at, Number(value));
      break;
    case 'UINT16':
    case 'FP16':
    case 'BF16':
      view.setUint16(at, Number(value), true);
      break;
    case 'INT16':
      view.setInt16(at, Number(value), true);
      break;
    case 'UINT32':
      view.setUint32(at, Number(value), true);
      break;
    case 'INT32':
      view.setInt32(at, Number(value), true);
      break;
    case 'INT64':
      view.setBigInt64(at, BigInt(value), true);
      break;
    case 'UINT64':
      view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
      break;
    case 'FP32':
      view.setFloat32(at, Number(value), true);
      break;
    case 'FP64':
      view.setFloat64(at, Number(value), true);
      break;
    case 'BYTES':
      throw new SwitchyardError('internal', 'BYTES elements are packed by packStrings');
  }
}
