import type { InferRequest, Parameters, RequestedOutput } from '../../pipeline/types.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import { checkedCount, checkTensor } from '../../tensor/check.ts';
import { DATA_TYPES, ELEMENT_BYTES, MAX_RANK, type Tensor } from '../../tensor/tensor.ts';
import { integerParameter, readParameter } from './parameters.ts';
import { StringCache } from './string-cache.ts';
import { typedContents } from './typed-contents.ts';
import { WIRE_BYTES, WIRE_VARINT, WireReader } from './wire-reader.ts';

/** A decoded ModelInferRequest, with what the transport acts on itself taken out of the parameters. */
export interface DecodedInfer {
  request: InferRequest;
  /** Microseconds from the `timeout` parameter; 0: none. */
  timeoutMicros: number;
  /** 0: the model's default. */
  priority: number;
  /** Streams: send the final marker of a decoupled model even when it carries no outputs. */
  emptyFinalResponse: boolean;
}

const names = new StringCache();
const NO_DATA = Buffer.alloc(0);
const MANY = 32;

/** Where each input's typed contents lie in the message, start and end by turns; both 0: none. Reused by every call. */
const ranges: number[] = [];

/**
 * Decodes ModelInferRequest bytes. The tensors alias `message`: whoever gets the request owns the message's memory from
 * then on. Throws invalid_argument for anything malformed, of the wrong size, or mixed; unsupported for shared memory.
 */
export function decodeInferRequest(message: Buffer): DecodedInfer {
  const reader = new WireReader(message);
  const request: InferRequest = { model: '', version: '', id: '', inputs: [], outputs: [], parameters: undefined };
  const inputs = request.inputs;
  const raws: Buffer[] = [];
  ranges.length = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    switch (tag) {
      case 0x0a:
        request.model = cachedString(reader);
        break;
      case 0x12:
        request.version = cachedString(reader);
        break;
      case 0x1a:
        request.id = reader.string();
        break;
      case 0x22:
        request.parameters = readParameter(reader, names, request.parameters);
        break;
      case 0x2a:
        inputs.push(readInput(reader));
        break;
      case 0x32:
        request.outputs.push(readOutput(reader));
        break;
      case 0x3a:
        raws.push(reader.view());
        break;
      default:
        reader.skip(tag);
    }
  }
  if (raws.length > 0) attachRaw(inputs, raws);
  else attachTyped(reader, inputs);
  refuseDuplicates('input', inputs);
  refuseDuplicates('output', request.outputs);
  return finish(request);
}

function cachedString(reader: WireReader): string {
  const length = reader.length();
  const start = reader.pos;
  reader.pos = start + length;
  return names.get(reader.bytes, start, reader.pos);
}

function finish(request: InferRequest): DecodedInfer {
  const parameters = request.parameters;
  if (parameters === undefined) return { request, timeoutMicros: 0, priority: 0, emptyFinalResponse: false };
  let emptyFinalResponse = false;
  for (const name in parameters) {
    if (!name.startsWith('triton_')) continue;
    const value = parameters[name];
    if (name !== 'triton_enable_empty_final_response') {
      throw invalidArgument(`parameter '${name}': names that start with 'triton_' are reserved; rename it`);
    }
    if (typeof value !== 'boolean')
      throw invalidArgument(`parameter '${name}': got ${String(value)}; give a bool_param`);
    emptyFinalResponse = value;
    delete parameters[name];
  }
  return {
    request,
    timeoutMicros: integerParameter(parameters, 'timeout'),
    priority: integerParameter(parameters, 'priority'),
    emptyFinalResponse,
  };
}

function readInput(reader: WireReader): Tensor {
  const outer = reader.end;
  const length = reader.length();
  reader.end = reader.pos + length;
  const input: Tensor = { name: '', datatype: '' as Tensor['datatype'], shape: [], data: NO_DATA };
  let contentsStart = 0;
  let contentsEnd = 0;
  let parameters: Parameters | undefined;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    switch (tag) {
      case 0x0a:
        input.name = cachedString(reader);
        break;
      case 0x12:
        input.datatype = cachedString(reader) as Tensor['datatype'];
        break;
      case (3 << 3) | WIRE_BYTES: {
        const packed = reader.length();
        const shapeEnd = reader.pos + packed;
        const inputEnd = reader.end;
        reader.end = shapeEnd;
        while (reader.pos < shapeEnd) pushDim(input, reader.int64());
        reader.end = inputEnd;
        break;
      }
      case (3 << 3) | WIRE_VARINT:
        pushDim(input, reader.int64());
        break;
      case 0x22:
        parameters = readParameter(reader, names, parameters);
        break;
      case 0x2a: {
        if (contentsEnd !== 0) throw invalidArgument(`input '${input.name}': contents are given twice`);
        const size = reader.length();
        contentsStart = reader.pos;
        reader.pos += size;
        contentsEnd = reader.pos;
        break;
      }
      default:
        reader.skip(tag);
    }
  }
  reader.end = outer;
  if (ELEMENT_BYTES[input.datatype] === undefined) {
    throw invalidArgument(
      `input '${input.name}': datatype '${input.datatype}' is unknown; allowed are ${DATA_TYPES.join(', ')}`,
    );
  }
  if (parameters !== undefined) refuseSharedMemory(parameters, `input '${input.name}'`);
  ranges.push(contentsStart, contentsEnd);
  return input;
}

function pushDim(input: Tensor, dim: number): void {
  if (input.shape.length > MAX_RANK) throw invalidArgument(`input '${input.name}': its rank exceeds ${MAX_RANK}`);
  input.shape.push(dim);
}

function readOutput(reader: WireReader): RequestedOutput {
  const outer = reader.end;
  const length = reader.length();
  reader.end = reader.pos + length;
  const output: RequestedOutput = { name: '', binary: true, classification: 0 };
  let parameters: Parameters | undefined;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 0x0a) output.name = cachedString(reader);
    else if (tag === 0x12) parameters = readParameter(reader, names, parameters);
    else reader.skip(tag);
  }
  reader.end = outer;
  if (parameters !== undefined) {
    refuseSharedMemory(parameters, `output '${output.name}'`);
    output.classification = integerParameter(parameters, 'classification');
  }
  return output;
}

function refuseSharedMemory(parameters: Parameters, where: string): void {
  for (const name in parameters) {
    if (name.startsWith('shared_memory_')) {
      throw new SwitchyardError(
        'unsupported',
        `${where}: parameter '${name}': shared memory is not supported; send the tensor in raw contents`,
      );
    }
  }
}

function attachRaw(inputs: Tensor[], raws: Buffer[]): void {
  if (raws.length !== inputs.length) {
    throw invalidArgument(
      `raw_input_contents holds ${raws.length} entries for ${inputs.length} inputs; give one for each, in order`,
    );
  }
  for (let i = 0; i < inputs.length; i++) {
    const input = inputs[i];
    if (ranges[2 * i + 1] > ranges[2 * i]) {
      throw invalidArgument(
        `input '${input.name}': contents and raw_input_contents are mixed; use one of them for all inputs of a request`,
      );
    }
    input.data = raws[i];
    checkTensor(input);
  }
}

function attachTyped(reader: WireReader, inputs: Tensor[]): void {
  for (let i = 0; i < inputs.length; i++) {
    const input = inputs[i];
    const count = checkedCount(input.name, input.shape);
    const size = ELEMENT_BYTES[input.datatype];
    const start = ranges[2 * i];
    const end = ranges[2 * i + 1];
    if (end > start) input.data = typedContents(reader, start, end, input.name, input.datatype, size, count);
    else if (count !== 0) {
      throw invalidArgument(`input '${input.name}' has no data; its shape takes ${count} elements`);
    }
  }
}

function refuseDuplicates(what: string, named: readonly { name: string }[]): void {
  const count = named.length;
  if (count < 2) return;
  if (count > MANY) {
    const seen = new Set<string>();
    for (const { name } of named) {
      if (seen.has(name)) throw duplicate(what, name);
      seen.add(name);
    }
    return;
  }
  for (let i = 1; i < count; i++) {
    for (let j = 0; j < i; j++) if (named[i].name === named[j].name) throw duplicate(what, named[i].name);
  }
}

function duplicate(what: string, name: string): SwitchyardError {
  return invalidArgument(`${what} '${name}' is given twice; name each ${what} once`);
}

/** The model a ModelInferRequest names, without decoding the rest: what admission needs. Throws on malformed bytes. */
export function peekModel(message: Buffer): string {
  return peek(message, 0x0a);
}

/** The id of a request that may not decode further; '' where none can be read. Never throws. */
export function peekId(message: Buffer): string {
  try {
    return peek(message, 0x1a);
  } catch {
    return '';
  }
}

function peek(message: Buffer, wanted: number): string {
  const reader = new WireReader(message);
  let value = '';
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === wanted) value = wanted === 0x0a ? cachedString(reader) : reader.string();
    else reader.skip(tag);
  }
  return value;
}
