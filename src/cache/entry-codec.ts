import { DATA_TYPES, ELEMENT_BYTES, elementCount, MAX_RANK, type Tensor } from '../tensor/tensor.ts';

/**
 * Entry of the shared cache, little-endian: u8 format, u16 tensors, then per tensor u16 + name, u8 datatype, u8 rank,
 * u48 per dim, u32 + bytes. The format number changes with the layout, so that old and new gateways can share a Redis.
 */
const FORMAT = 1;

/** A fresh buffer, or undefined for what the format does not hold. */
export function encodeEntry(outputs: readonly Tensor[]): Buffer | undefined {
  let size = 3;
  for (const tensor of outputs) {
    const name = Buffer.byteLength(tensor.name);
    if (name > 0xffff || tensor.shape.length > MAX_RANK || tensor.data.byteLength > 0xffffffff) return undefined;
    size += 2 + name + 2 + tensor.shape.length * 6 + 4 + tensor.data.byteLength;
  }
  if (outputs.length > 0xffff) return undefined;
  const buffer = Buffer.allocUnsafe(size);
  buffer.writeUInt8(FORMAT, 0);
  let at = buffer.writeUInt16LE(outputs.length, 1);
  for (const tensor of outputs) {
    const name = buffer.write(tensor.name, at + 2);
    at = buffer.writeUInt16LE(name, at) + name;
    at = buffer.writeUInt8(DATA_TYPES.indexOf(tensor.datatype), at);
    at = buffer.writeUInt8(tensor.shape.length, at);
    for (const dim of tensor.shape) {
      if (dim >= 2 ** 48) return undefined;
      at = buffer.writeUIntLE(dim, at, 6);
    }
    at = buffer.writeUInt32LE(tensor.data.byteLength, at);
    buffer.set(tensor.data, at);
    at += tensor.data.byteLength;
  }
  return buffer;
}

/** Tensors with bytes of their own, or undefined for anything that encodeEntry did not write: Redis is not trusted. */
export function decodeEntry(buffer: Buffer): Tensor[] | undefined {
  try {
    return decode(buffer);
  } catch (error) {
    // Reads past the end throw RangeError; that is how a truncated entry shows.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function decode(buffer: Buffer): Tensor[] | undefined {
  if (buffer.readUInt8(0) !== FORMAT) return undefined;
  const outputs: Tensor[] = [];
  let at = 3;
  for (let left = buffer.readUInt16LE(1); left > 0; left--) {
    const nameEnd = at + 2 + buffer.readUInt16LE(at);
    const name = buffer.toString('utf8', at + 2, nameEnd);
    const datatype = DATA_TYPES[buffer.readUInt8(nameEnd)];
    const rank = buffer.readUInt8(nameEnd + 1);
    at = nameEnd + 2;
    if (datatype === undefined || rank > MAX_RANK) return undefined;
    const shape: number[] = [];
    for (let d = 0; d < rank; d++, at += 6) shape.push(buffer.readUIntLE(at, 6));
    const bytes = buffer.readUInt32LE(at);
    at += 4;
    const elements = elementCount(shape);
    if (at + bytes > buffer.length || elements < 0) return undefined;
    if (ELEMENT_BYTES[datatype] > 0 && elements * ELEMENT_BYTES[datatype] !== bytes) return undefined;
    const data = new Uint8Array(bytes);
    data.set(buffer.subarray(at, at + bytes));
    outputs.push({ name, datatype, shape, data });
    at += bytes;
  }
  return at === buffer.length ? outputs : undefined;
}
