import type { InferRequest, InferResponse, RequestedOutput } from '../../pipeline/types.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { native } from '../../tensor/native.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { NO_HEAD, printNatively, printsNatively, TYPICAL_BYTES } from '../json/native-printer.ts';
import { type JsonOutput, threadOutput } from '../json/output.ts';
import { keepOutput, SLICE, sliceOutput } from '../json/slices.ts';
import { elementPrinter } from '../json/tensor-print.ts';
import { answerStart, modelHead, tensorHead } from './answer-heads.ts';
import { binaryByDefault } from './parameters.ts';

export interface EncodedResponse {
  /** Bytes of the JSON part, for Inference-Header-Content-Length; -1 when nothing binary follows it. */
  jsonLength: number;
  /** Valid until the next body is encoded on this thread: write it out, or copy it, before that. */
  body: Uint8Array;
}

/**
 * The body of a v2 infer response, in the order of `response.outputs`. An output is binary where the request asked for
 * it. Throws invalid_argument for outputs that have no JSON form and were not asked for as binary: FP16, BF16 and
 * BYTES that are not UTF-8.
 */
export function encodeInferResponse(response: InferResponse, request: InferRequest): EncodedResponse {
  const out = threadOutput;
  const id = response.id === '' ? request.id : response.id;
  const outputs = response.outputs;
  const binary = binaryOutputs(response, request);
  let next = 0;
  if (id === '' && response.parameters === undefined && outputs.length > 0 && !binary(0)) {
    checkJsonForm(outputs[0]);
    out.beginWith(answerStart(response.model, response.version, outputs[0]));
    writeElements(out, NO_HEAD, outputs[0]);
    next = 1;
  } else {
    begin(out, response, id);
  }
  let anyBinary = false;
  for (let i = next; i < outputs.length; i++) {
    if (i > 0) out.byte(0x2c);
    if (binary(i)) {
      anyBinary = true;
      writeBinaryHead(out, outputs[i]);
    } else {
      writeJson(out, outputs[i]);
    }
  }
  return finish(out, outputs, anyBinary ? binary : undefined);
}

/** Whether an answer has so many elements of JSON that printing them would hold the loop for long. */
export function needsSlices(response: InferResponse, request: InferRequest): boolean {
  const { outputs } = response;
  if (!outputs.some(({ shape }) => elementCount(shape) > SLICE)) return false;
  const binary = binaryOutputs(response, request);
  return outputs.some(({ shape }, i) => elementCount(shape) > SLICE && !binary(i));
}

/**
 * encodeInferResponse in slices, each of which ends with a `yield`: other bodies may be encoded in between. The last one's
 * body is valid until the next body is encoded on this thread.
 */
export function* encodeInSlices(
  response: InferResponse,
  request: InferRequest,
): Generator<undefined, EncodedResponse, undefined> {
  const out = sliceOutput();
  const outputs = response.outputs;
  const binary = binaryOutputs(response, request);
  let anyBinary = false;
  begin(out, response, response.id === '' ? request.id : response.id);
  for (let i = 0; i < outputs.length; i++) {
    if (i > 0) out.byte(0x2c);
    if (binary(i)) {
      anyBinary = true;
      writeBinaryHead(out, outputs[i]);
      continue;
    }
    checkJsonForm(outputs[i]);
    out.bytes(tensorHead(outputs[i]).opened);
    const count = elementCount(outputs[i].shape);
    out.reserve(count * TYPICAL_BYTES);
    const printer = elementPrinter(outputs[i]);
    for (let from = 0; from < count; from += SLICE) {
      if (from > 0) out.byte(0x2c);
      printer.print(out, from, Math.min(count, from + SLICE));
      yield;
    }
    out.byte(0x5d);
    out.byte(0x7d);
  }
  keepOutput(out);
  return finish(out, outputs, anyBinary ? binary : undefined);
}

/** Which outputs, by their index, are asked for as binary. */
function binaryOutputs({ outputs }: InferResponse, request: InferRequest): (index: number) => boolean {
  const byDefault =
    request.outputs.length === 0 && request.parameters !== undefined && binaryByDefault(request.parameters);
  return (i) => byDefault || wantsBinary(request.outputs, outputs[i].name);
}

/** Closes the JSON, and puts the outputs that are `binary` behind it; undefined: none are. */
function finish(
  out: JsonOutput,
  outputs: readonly Tensor[],
  binary: ((index: number) => boolean) | undefined,
): EncodedResponse {
  out.byte(0x5d);
  out.byte(0x7d);
  if (binary === undefined) return { jsonLength: -1, body: out.view() };
  const jsonLength = out.pos;
  for (let i = 0; i < outputs.length; i++) {
    if (binary(i)) out.bytes(outputs[i].data);
  }
  return { jsonLength, body: out.view() };
}

/** Everything before the first output. */
function begin(out: JsonOutput, response: InferResponse, id: string): void {
  out.begin();
  out.bytes(modelHead(response.model, response.version));
  if (id !== '') {
    out.raw(',"id":');
    out.string(id);
  }
  if (response.parameters !== undefined) {
    out.raw(',"parameters":');
    out.parameters(response.parameters);
  }
  out.raw(',"outputs":[');
}

/** `{"error":"…"}`, the body of every HTTP error. Valid until the next body is encoded on this thread. */
export function encodeError(message: string): Uint8Array {
  const out = threadOutput;
  out.begin();
  out.raw('{"error":');
  out.string(message);
  out.byte(0x7d);
  return out.view();
}

function wantsBinary(requested: readonly RequestedOutput[], name: string): boolean {
  for (let i = 0; i < requested.length; i++) {
    if (requested[i].name === name) return requested[i].binary;
  }
  return false;
}

// The C++ client takes an output that has parameters for a binary one, so only binary outputs have them.
function writeBinaryHead(out: JsonOutput, tensor: Tensor): void {
  out.bytes(tensorHead(tensor).described);
  out.raw(',"parameters":{"binary_data_size":');
  out.integer(tensor.data.length);
  out.raw('}}');
}

function writeJson(out: JsonOutput, tensor: Tensor): void {
  checkJsonForm(tensor);
  writeElements(out, tensorHead(tensor).opened, tensor);
}

function checkJsonForm(tensor: Tensor): void {
  if (tensor.datatype === 'FP16' || tensor.datatype === 'BF16') {
    throw invalidArgument(
      `output '${tensor.name}' is ${tensor.datatype}, which has no JSON form; ask for it with binary_data: true`,
    );
  }
}

/** `head`, the elements and the end of the tensor. */
function writeElements(out: JsonOutput, head: Uint8Array, tensor: Tensor): void {
  const count = elementCount(tensor.shape);
  if (native !== undefined && printsNatively(tensor)) {
    printNatively(native, out, head, tensor, 0, count);
  } else {
    out.bytes(head);
    elementPrinter(tensor).print(out, 0, count);
  }
  out.byte(0x5d);
  out.byte(0x7d);
}
