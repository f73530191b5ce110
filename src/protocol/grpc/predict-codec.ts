import type { InferResponse } from '../../pipeline/types.ts';
import { invalidArgument } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { decodeTensorProto } from './tensor-proto-decoder.ts';
import { encodeTensorProto } from './tensor-proto-encoder.ts';
import { WIRE_BYTES, WireReader } from './wire-reader.ts';
import { allocateFrame, FRAME_PREFIX, fieldSize, int64Size, stringFieldSize, WireWriter } from './wire-writer.ts';

/** Which model, version and signature a TensorFlow Serving request means. */
export interface ModelSpec {
  name: string;
  /** Decimal digits, or '' = by version policy. */
  version: string;
  /** A version label, or ''. */
  label: string;
  signature: string;
}

export interface DecodedPredict {
  spec: ModelSpec;
  inputs: Tensor[];
  /** Wanted outputs; empty: all. */
  outputs: string[];
}

/** Decodes PredictRequest bytes; tensor_content is aliased. `maxBytes` bounds each tensor. Throws invalid_argument. */
export function decodePredictRequest(message: Buffer, maxBytes: number): DecodedPredict {
  const reader = new WireReader(message);
  const inputs = new Map<string, Tensor>();
  const outputs: string[] = [];
  let spec = emptySpec();
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 0x0a) spec = readSpec(reader, spec);
    else if (tag === 0x12) {
      const tensor = readInput(reader, maxBytes);
      inputs.set(tensor.name, tensor);
    } else if (tag === 0x1a) outputs.push(reader.string());
    else reader.skip(tag);
  }
  if (new Set(outputs).size !== outputs.length) throw invalidArgument('output_filter names an output twice');
  return { spec, inputs: [...inputs.values()], outputs };
}

/** The model spec of any request that carries it as field 1, as all of TensorFlow Serving's inference requests do. */
export function peekModelSpec(message: Buffer): ModelSpec {
  const reader = new WireReader(message);
  let spec = emptySpec();
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 0x0a) spec = readSpec(reader, spec);
    else reader.skip(tag);
  }
  return spec;
}

/** Encodes a response as one gRPC frame holding a PredictResponse. */
export function encodePredictResponse(response: InferResponse): Buffer {
  const outputs = response.outputs.map((output) => encodeTensorProto(output));
  const version = /^\d{1,15}$/.test(response.version) ? Number(response.version) : -1;
  const versionBytes = version < 0 ? -1 : version === 0 ? 0 : 1 + int64Size(version);
  const signature = 'serving_default';
  const specBytes =
    stringFieldSize(response.model) + (versionBytes < 0 ? 0 : fieldSize(versionBytes)) + stringFieldSize(signature);
  let size = fieldSize(specBytes);
  for (let i = 0; i < outputs.length; i++) size += fieldSize(entrySize(response.outputs[i].name, outputs[i]));
  const frame = allocateFrame(size);
  const writer = new WireWriter(frame, FRAME_PREFIX);
  for (let i = 0; i < outputs.length; i++) {
    const name = response.outputs[i].name;
    writer.header(0x0a, entrySize(name, outputs[i]));
    writer.stringField(0x0a, name);
    writer.header(0x12, outputs[i].length);
    writer.raw(outputs[i]);
  }
  writer.header(0x12, specBytes);
  writer.stringField(0x0a, response.model);
  if (versionBytes >= 0) {
    writer.header(0x12, versionBytes);
    if (versionBytes > 0) {
      frame[writer.pos++] = 0x08;
      writer.varint(version);
    }
  }
  writer.stringField(0x1a, signature);
  return frame;
}

function entrySize(name: string, tensor: Buffer): number {
  return stringFieldSize(name) + fieldSize(tensor.length);
}

function emptySpec(): ModelSpec {
  return { name: '', version: '', label: '', signature: '' };
}

function readSpec(reader: WireReader, spec: ModelSpec): ModelSpec {
  const outer = reader.end;
  const length = reader.length();
  reader.end = reader.pos + length;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 0x0a) spec.name = reader.string();
    else if (tag === 0x12) {
      spec.version = readWrappedInt64(reader);
      spec.label = '';
    } else if (tag === 0x1a) spec.signature = reader.string();
    else if (tag === 0x22) {
      spec.label = reader.string();
      spec.version = '';
    } else reader.skip(tag);
  }
  reader.end = outer;
  return spec;
}

function readWrappedInt64(reader: WireReader): string {
  const outer = reader.end;
  const length = reader.length();
  reader.end = reader.pos + length;
  let value: number | bigint = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 0x08) {
      reader.long();
      value = reader.exact(true);
    } else reader.skip(tag);
  }
  reader.end = outer;
  return String(value);
}

function readInput(reader: WireReader, maxBytes: number): Tensor {
  const outer = reader.end;
  const length = reader.length();
  const next = reader.pos + length;
  reader.end = next;
  let name = '';
  let start = next;
  let end = next;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 0x0a) name = reader.string();
    else if (tag === ((2 << 3) | WIRE_BYTES)) {
      const size = reader.length();
      start = reader.pos;
      end = start + size;
      reader.pos = end;
    } else reader.skip(tag);
  }
  const tensor = decodeTensorProto(reader, start, end, name, maxBytes);
  reader.pos = next;
  reader.end = outer;
  return tensor;
}
