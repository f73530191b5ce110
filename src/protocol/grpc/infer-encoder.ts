import type { InferResponse, Parameters, ParameterValue } from '../../pipeline/types.ts';
import { bytesOf } from '../../tensor/placed.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import {
  allocateFrame,
  FRAME_PREFIX,
  fieldSize,
  int64Size,
  stringFieldSize,
  utf8Size,
  varintSize,
  WireWriter,
} from './wire-writer.ts';

/**
 * Encodes a response as one gRPC frame (prefix and ModelInferResponse) in one exact allocation, the tensors as
 * raw_output_contents. The caller owns the frame; the response's bytes are copied and may be let go.
 */
export function encodeInferResponse(response: InferResponse): Buffer {
  const size = messageSize(response);
  const frame = allocateFrame(size);
  writeMessage(new WireWriter(frame, FRAME_PREFIX), response);
  return frame;
}

/** Encodes a ModelStreamInferResponse frame around a response. `final` becomes triton_final_response. */
export function encodeStreamResponse(response: InferResponse, final: boolean): Buffer {
  const inner = messageSize(response) + parameterSize('triton_final_response', final);
  const frame = allocateFrame(fieldSize(inner));
  const writer = new WireWriter(frame, FRAME_PREFIX);
  writer.header(0x12, inner);
  writeParameter(writer, 'triton_final_response', final);
  writeMessage(writer, response);
  return frame;
}

/** Encodes a ModelStreamInferResponse frame for a request that failed; its id and model name tell the client which one. */
export function encodeStreamError(message: string, id: string, model: string, parameters: Parameters = {}): Buffer {
  const inner = stringFieldSize(model) + stringFieldSize(id) + parametersSize(parameters);
  const frame = allocateFrame(stringFieldSize(message) + fieldSize(inner));
  const writer = new WireWriter(frame, FRAME_PREFIX);
  writer.stringField(0x0a, message);
  writer.header(0x12, inner);
  writer.stringField(0x0a, model);
  writer.stringField(0x1a, id);
  for (const name in parameters) writeParameter(writer, name, parameters[name]);
  return frame;
}

function messageSize(response: InferResponse): number {
  let size = stringFieldSize(response.model) + stringFieldSize(response.version) + stringFieldSize(response.id);
  const parameters = response.parameters;
  if (parameters !== undefined) size += parametersSize(parameters);
  const outputs = response.outputs;
  for (let i = 0; i < outputs.length; i++) {
    size += fieldSize(outputSize(outputs[i])) + fieldSize(bytesOf(outputs[i]));
  }
  return size;
}

function writeMessage(writer: WireWriter, response: InferResponse): void {
  writer.stringField(0x0a, response.model);
  writer.stringField(0x12, response.version);
  writer.stringField(0x1a, response.id);
  const parameters = response.parameters;
  if (parameters !== undefined) for (const name in parameters) writeParameter(writer, name, parameters[name]);
  const outputs = response.outputs;
  for (let i = 0; i < outputs.length; i++) {
    const output = outputs[i];
    writer.header(0x2a, outputSize(output));
    writer.stringField(0x0a, output.name);
    writer.stringField(0x12, output.datatype);
    const shape = output.shape;
    if (shape.length > 0) {
      writer.header(0x1a, shapeSize(shape));
      for (let d = 0; d < shape.length; d++) writer.varint(shape[d]);
    }
  }
  for (let i = 0; i < outputs.length; i++) {
    writer.header(0x32, bytesOf(outputs[i]));
    writer.tensor(outputs[i]);
  }
}

function outputSize(output: Tensor): number {
  const size = stringFieldSize(output.name) + stringFieldSize(output.datatype);
  return output.shape.length === 0 ? size : size + fieldSize(shapeSize(output.shape));
}

function shapeSize(shape: readonly number[]): number {
  let size = 0;
  for (let i = 0; i < shape.length; i++) size += varintSize(shape[i]);
  return size;
}

function parametersSize(parameters: Parameters): number {
  let size = 0;
  for (const name in parameters) size += parameterSize(name, parameters[name]);
  return size;
}

function parameterSize(name: string, value: ParameterValue): number {
  return fieldSize(entrySize(name, value));
}

function entrySize(name: string, value: ParameterValue): number {
  return stringFieldSize(name) + fieldSize(valueSize(value));
}

/** Integers become int64_param, or uint64_param beyond its range; other numbers double_param. */
function valueSize(value: ParameterValue): number {
  switch (typeof value) {
    case 'boolean':
      return 2;
    case 'string':
      return fieldSize(utf8Size(value));
    case 'bigint':
      return 1 + (value < 0n ? 10 : bigSize(value));
    default:
      return Number.isSafeInteger(value) ? 1 + int64Size(value) : 9;
  }
}

function bigSize(value: bigint): number {
  let size = 1;
  for (let rest = BigInt.asUintN(64, value) >> 7n; rest > 0n; rest >>= 7n) size++;
  return size;
}

function writeParameter(writer: WireWriter, name: string, value: ParameterValue): void {
  writer.header(0x22, entrySize(name, value));
  writer.stringField(0x0a, name);
  writer.header(0x12, valueSize(value));
  const bytes = writer.bytes;
  switch (typeof value) {
    case 'boolean':
      bytes[writer.pos++] = 0x08;
      bytes[writer.pos++] = value ? 1 : 0;
      return;
    case 'string':
      if (value.length > 0) writer.stringField(0x1a, value);
      else {
        bytes[writer.pos++] = 0x1a;
        bytes[writer.pos++] = 0;
      }
      return;
    case 'bigint':
      bytes[writer.pos++] = value > 0x7fffffffffffffffn ? 0x28 : 0x10;
      writer.int64(value);
      return;
    default:
      if (Number.isSafeInteger(value)) {
        bytes[writer.pos++] = 0x10;
        writer.int64(value);
      } else {
        bytes[writer.pos++] = 0x21;
        writer.double(value);
      }
  }
}
