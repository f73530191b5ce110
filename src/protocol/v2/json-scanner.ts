import type { InferRequest, Parameters, RequestedOutput } from '../../pipeline/types.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { checkTensor } from '../../tensor/check.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { JsonCursor } from '../json/cursor.ts';
import { skipValue } from '../json/skip.ts';
import { binarySize, scanInput } from './input-scanner.ts';
import { binaryStated, scanOutput } from './output-scanner.ts';
import { readParameters } from './parameters.ts';

/** Below this many names, comparing all pairs is cheaper than a set. */
const FEW = 16;

/**
 * Decodes the body of a v2 infer request in one pass. `jsonLength` is Inference-Header-Content-Length, -1 when absent:
 * then the whole body is JSON. The tensors of the result may alias `body`, or share a slab with tensors of other
 * requests: the request owns `body` from now on, and nobody may transfer a tensor's ArrayBuffer.
 *
 * Throws invalid_argument for anything malformed, naming field and value, and `unsupported` for shared memory. With a
 * `jsonLength` of 0 the body has no JSON: see decodeRawBody.
 */
export function decodeInferRequest(model: string, version: string, body: Uint8Array, jsonLength: number): InferRequest {
  if (jsonLength > body.length || jsonLength < -1 || !Number.isInteger(jsonLength)) {
    throw invalidArgument(
      `Inference-Header-Content-Length is ${jsonLength}, but the body has ${body.length} bytes; ` +
        'it must be the length of the JSON part of the uncompressed body',
    );
  }
  const cursor = new JsonCursor(body, jsonLength < 0 ? body.length : jsonLength);
  let id: string | undefined;
  let inputs: Tensor[] | undefined;
  let outputs: RequestedOutput[] | undefined;
  let parameters: Parameters | undefined;
  let parametersSeen = false;
  let sizes: number[] | undefined;
  let unstated: RequestedOutput[] | undefined;
  cursor.expect(0x7b);
  let open = !cursor.empty(0x7d);
  while (open) {
    const key = cursor.key();
    if (key === 'inputs') {
      if (inputs !== undefined) throw invalidArgument("'inputs' appears twice");
      inputs = [];
      cursor.expect(0x5b);
      let more = !cursor.empty(0x5d);
      while (more) {
        inputs.push(scanInput(cursor));
        if (binarySize >= 0) {
          sizes ??= [];
          while (sizes.length < inputs.length - 1) sizes.push(-1);
          sizes.push(binarySize);
        }
        more = cursor.more(0x5d);
      }
      if (inputs.length > 1) refuseRepeats(inputs, 'input');
    } else if (key === 'outputs') {
      if (outputs !== undefined) throw invalidArgument("'outputs' appears twice");
      outputs = [];
      if (!cursor.skipNull()) {
        cursor.expect(0x5b);
        let more = !cursor.empty(0x5d);
        while (more) {
          const output = scanOutput(cursor);
          outputs.push(output);
          if (!binaryStated) {
            if (unstated === undefined) unstated = [output];
            else unstated.push(output);
          }
          more = cursor.more(0x5d);
        }
        if (outputs.length > 1) refuseRepeats(outputs, 'output');
      }
    } else if (key === 'id') {
      if (id !== undefined) throw invalidArgument("'id' appears twice");
      id = cursor.skipNull() ? '' : cursor.string();
    } else if (key === 'parameters') {
      if (parametersSeen) throw invalidArgument("'parameters' appears twice");
      parametersSeen = true;
      parameters = readParameters(cursor);
    } else {
      skipValue(cursor);
    }
    open = cursor.more(0x7d);
  }
  cursor.finish();
  if (inputs === undefined) throw invalidArgument("the request has no 'inputs'");
  if (sizes !== undefined) cutBinary(body, jsonLength, inputs, sizes);
  else if (jsonLength >= 0 && jsonLength < body.length) throw leftover(body.length - jsonLength);
  if (parameters !== undefined && unstated !== undefined && binaryByDefault(parameters)) {
    for (let i = 0; i < unstated.length; i++) unstated[i].binary = true;
  }
  return { model, version, id: id ?? '', inputs, outputs: outputs ?? [], parameters };
}

/** The request parameter binary_data_output: outputs that do not say otherwise are answered as binary. */
export function binaryByDefault(parameters: Parameters): boolean {
  const value = parameters.binary_data_output;
  if (value === undefined) return false;
  if (typeof value !== 'boolean')
    throw invalidArgument(`parameter 'binary_data_output' is ${value}; it must be a boolean`);
  return value;
}

/** Gives each binary input its bytes, in order; they must add up to exactly what follows the JSON. */
function cutBinary(body: Uint8Array, jsonLength: number, inputs: Tensor[], sizes: readonly number[]): void {
  let offset = jsonLength;
  for (let i = 0; i < sizes.length; i++) {
    const size = sizes[i];
    if (size < 0) continue;
    const input = inputs[i];
    if (jsonLength < 0) {
      throw invalidArgument(
        `input '${input.name}' has binary_data_size ${size}, but the header Inference-Header-Content-Length is missing`,
      );
    }
    if (size > body.length - offset) {
      throw invalidArgument(
        `input '${input.name}': binary_data_size is ${size}, but only ${body.length - offset} bytes are left in the body`,
      );
    }
    input.data = new Uint8Array(body.buffer as ArrayBuffer, body.byteOffset + offset, size);
    offset += size;
    checkTensor(input);
  }
  if (offset < body.length) throw leftover(body.length - offset);
}

function leftover(bytes: number): Error {
  return invalidArgument(
    `${bytes} bytes follow the last tensor; the binary_data_size parameters must add up to the body`,
  );
}

function refuseRepeats(named: readonly { name: string }[], what: string): void {
  if (named.length > FEW) {
    const names = new Set<string>();
    for (const { name } of named) {
      if (names.has(name)) throw invalidArgument(`${what} '${name}' appears twice`);
      names.add(name);
    }
    return;
  }
  for (let i = 1; i < named.length; i++) {
    for (let j = 0; j < i; j++) {
      if (named[i].name === named[j].name) throw invalidArgument(`${what} '${named[i].name}' appears twice`);
    }
  }
}
