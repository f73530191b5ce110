import type { InferRequest, Parameters } from '../../pipeline/types.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { checkTensor } from '../../tensor/check.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { JsonCursor } from '../json/cursor.ts';
import { skipValue } from '../json/skip.ts';
import { binarySize, scanInput } from './input-scanner.ts';
import { finishOutputs, type OutputList, scanOutputs } from './output-scanner.ts';
import { readParameters, refuseRepeats } from './parameters.ts';

/** decodeInferRequest (infer-decoder.ts) in TypeScript. */
export function scanInferRequest(model: string, version: string, body: Uint8Array, jsonLength: number): InferRequest {
  if (jsonLength > body.length || jsonLength < -1 || !Number.isInteger(jsonLength)) {
    throw invalidArgument(
      `Inference-Header-Content-Length is ${jsonLength}, but the body has ${body.length} bytes; ` +
        'it must be the length of the JSON part of the uncompressed body',
    );
  }
  const cursor = new JsonCursor(body, jsonLength < 0 ? body.length : jsonLength);
  let id: string | undefined;
  let inputs: Tensor[] | undefined;
  let outputs: OutputList | undefined;
  let parameters: Parameters | undefined;
  let parametersSeen = false;
  let sizes: number[] | undefined;
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
      outputs = scanOutputs(cursor);
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
  return { model, version, id: id ?? '', inputs, outputs: finishOutputs(outputs, parameters), parameters };
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
