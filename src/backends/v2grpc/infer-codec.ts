import { SwitchyardError } from '../../shared/errors.ts';
import { DATA_TYPES, type DataType, type Tensor } from '../../tensor/tensor.ts';
import { Reader, Writer } from '../remote/protobuf.ts';
import { ownBytes, packStrings, packValues } from '../remote/values.ts';

export type CallParameters = Record<string, string | number | boolean>;

export interface InferAnswer {
  outputs: Tensor[];
  /** Triton's mark on the last response of a decoupled request. */
  final: boolean;
}

export type StreamForm = 'triton' | 'bare';

export interface StreamAnswer extends InferAnswer {
  /** '' = none. */
  error: string;
}

/** A ModelInferRequest with raw contents. `inputs` and their bytes are read, not kept. */
export function encodeInferRequest(
  model: string,
  version: string,
  inputs: readonly Tensor[],
  outputs: readonly string[],
  parameters: CallParameters | undefined,
): Buffer {
  const request = new Writer().string(1, model);
  if (version !== '') request.string(2, version);
  if (parameters !== undefined) {
    for (const [key, value] of Object.entries(parameters)) {
      request.message(4, new Writer().string(1, key).message(2, parameter(value)));
    }
  }
  for (const input of inputs) {
    request.message(5, new Writer().string(1, input.name).string(2, input.datatype).packed(3, input.shape));
  }
  for (const output of outputs) request.message(6, new Writer().string(1, output));
  for (const input of inputs) request.bytes(7, input.data);
  return request.finish();
}

function parameter(value: string | number | boolean): Writer {
  const writer = new Writer();
  if (typeof value === 'boolean') return writer.varint(1, value ? 1 : 0);
  if (typeof value === 'string') return writer.string(3, value);
  return Number.isSafeInteger(value) ? writer.varint(2, value) : writer.double(4, value);
}

/** A ModelInferResponse. Each output's bytes are copied into memory of its own, aligned and free to be given away. */
export function decodeInferResponse(bytes: Uint8Array): InferAnswer {
  const reader = new Reader(bytes);
  const outputs: Tensor[] = [];
  const contents: (Contents | undefined)[] = [];
  const raw: Uint8Array[] = [];
  let final = false;
  while (reader.next()) {
    if (reader.field === 4) final = isFinal(reader.message()) || final;
    else if (reader.field === 5) {
      const { tensor, typed } = readOutput(reader.message());
      outputs.push(tensor);
      contents.push(typed);
    } else if (reader.field === 6) raw.push(reader.bytes());
    else reader.skip();
  }
  if (raw.length > 0 && raw.length !== outputs.length) {
    throw new SwitchyardError(
      'internal',
      `the remote server sent ${raw.length} raw contents for ${outputs.length} outputs`,
    );
  }
  for (let i = 0; i < outputs.length; i++) {
    const output = outputs[i];
    const { name, datatype, shape } = output;
    output.data = raw.length > 0 ? ownBytes(name, datatype, shape, raw[i]) : fromContents(output, contents[i]);
  }
  return { outputs, final };
}

/** One message of a stream: a ModelStreamInferResponse in Triton's form, or a bare ModelInferResponse, as MLServer sends. */
export function decodeStreamResponse(bytes: Uint8Array, form: StreamForm): StreamAnswer {
  if (form === 'bare') return { ...decodeInferResponse(bytes), error: '' };
  const reader = new Reader(bytes);
  let error = '';
  let answer: InferAnswer = { outputs: [], final: false };
  while (reader.next()) {
    if (reader.field === 1) error = reader.string();
    else if (reader.field === 2) answer = decodeInferResponse(reader.bytes());
    else reader.skip();
  }
  return { ...answer, error };
}

interface Contents {
  values: (number | bigint)[];
  strings: Uint8Array[];
}

function readOutput(reader: Reader): { tensor: Tensor; typed: Contents | undefined } {
  const tensor: Tensor = { name: '', datatype: 'BYTES', shape: [], data: new Uint8Array(0) };
  let typed: Contents | undefined;
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        tensor.name = reader.string();
        break;
      case 2:
        tensor.datatype = knownDatatype(reader.string(), tensor.name);
        break;
      case 3:
        reader.repeated(tensor.shape, readNumber);
        break;
      case 5:
        typed = readContents(reader.message());
        break;
      default:
        reader.skip();
    }
  }
  return { tensor, typed };
}

/** InferTensorContents: MLServer and other servers answer typed values instead of raw bytes. */
function readContents(reader: Reader): Contents {
  const contents: Contents = { values: [], strings: [] };
  while (reader.next()) {
    if (reader.field <= 5) reader.repeated(contents.values, readBigint);
    else if (reader.field === 6) reader.repeated(contents.values, readFloat);
    else if (reader.field === 7) reader.repeated(contents.values, readDouble);
    else if (reader.field === 8) contents.strings.push(reader.bytes());
    else reader.skip();
  }
  return contents;
}

const readNumber = (reader: Reader): number => reader.number();
const readBigint = (reader: Reader): bigint => reader.bigint();
const readFloat = (reader: Reader): number => reader.float();
const readDouble = (reader: Reader): number => reader.double();

function fromContents(output: Tensor, contents: Contents | undefined): Uint8Array {
  const { name, datatype, shape } = output;
  if (datatype === 'BYTES') return packStrings(name, shape, contents?.strings ?? [], false);
  return packValues(name, datatype, shape, contents?.values ?? [], false);
}

function isFinal(entry: Reader): boolean {
  let key = '';
  let value = false;
  while (entry.next()) {
    if (entry.field === 1) key = entry.string();
    else if (entry.field === 2) {
      const parameter = entry.message();
      while (parameter.next()) {
        if (parameter.field === 1) value = parameter.number() !== 0;
        else parameter.skip();
      }
    } else entry.skip();
  }
  return key === 'triton_final_response' && value;
}

/** @throws SwitchyardError unsupported */
export function knownDatatype(name: string, tensor: string): DataType {
  const datatype = DATA_TYPES.find((candidate) => candidate === name);
  if (datatype === undefined) {
    throw new SwitchyardError(
      'unsupported',
      `the remote tensor "${tensor}" has datatype "${name}"; known: ${DATA_TYPES.join(', ')}`,
    );
  }
  return datatype;
}
