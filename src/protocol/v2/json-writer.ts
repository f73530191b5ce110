import type { InferRequest, InferResponse, RequestedOutput } from '../../pipeline/types.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { native } from '../../tensor/native.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { NO_HEAD, printNatively, printsNatively } from '../json/native-printer.ts';
import { type JsonOutput, threadOutput } from '../json/output.ts';
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
  const byDefault =
    request.outputs.length === 0 && request.parameters !== undefined && binaryByDefault(request.parameters);
  const binary = (i: number): boolean => byDefault || wantsBinary(request.outputs, outputs[i].name);
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
  out.byte(0x5d);
  out.byte(0x7d);
  const jsonLength = anyBinary ? out.pos : -1;
  if (anyBinary) {
    for (let i = 0; i < outputs.length; i++) {
      if (binary(i)) out.bytes(outputs[i].data);
    }
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
