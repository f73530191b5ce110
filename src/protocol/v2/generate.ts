import type { ModelSignature } from '../../config/model-config.ts';
import type { InferRequest, InferResponse, Parameters } from '../../pipeline/types.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { elementCount, type Tensor } from '../../tensor/tensor.ts';
import { JsonCursor } from '../json/cursor.ts';
import { ElementSink } from '../json/element-sink.ts';
import { type JsonOutput, threadOutput } from '../json/output.ts';
import { scanElements, V2_FORMS } from '../json/tensor-data.ts';
import { elementPrinter } from '../json/tensor-print.ts';
import { checkName } from './parameters.ts';

interface Draft {
  id: string;
  inputs: Tensor[];
  parameters: Parameters;
}

/**
 * The generate extension's flat object as an inference request: a member with the name of an input becomes that tensor
 * (a scalar of shape [1], arrays of their own shape, with a batch dimension of 1 in front where the model batches), `id`
 * is the request's id, and every other scalar, also inside `parameters`, is a request parameter. Throws
 * invalid_argument for repeated names, ragged arrays, and objects or arrays that are no input.
 */
export function decodeGenerateRequest(
  model: string,
  version: string,
  body: Uint8Array,
  signature: ModelSignature,
): InferRequest {
  const cursor = new JsonCursor(body, body.length);
  const draft: Draft = { id: '', inputs: [], parameters: Object.create(null) };
  readMembers(cursor, draft, signature, true);
  cursor.finish();
  return { model, version, id: draft.id, inputs: draft.inputs, outputs: [], parameters: draft.parameters };
}

function readMembers(cursor: JsonCursor, draft: Draft, signature: ModelSignature, outer: boolean): void {
  cursor.expect(0x7b);
  if (cursor.empty(0x7d)) return;
  do {
    const name = cursor.key();
    checkName(name, 'field');
    const spec = signature.inputs.find((input) => input.name === name);
    if (draft.inputs.some((input) => input.name === name) || name in draft.parameters) {
      throw invalidArgument(`field '${name}' appears twice`);
    }
    const c = cursor.peek();
    if (spec !== undefined) {
      const sink = new ElementSink(name, spec.datatype, -1);
      scanElements(cursor, sink, V2_FORMS);
      if (!sink.regular) throw invalidArgument(`input '${name}': its arrays are not of equal length`);
      const shape = sink.shape.length === 0 ? [1] : sink.shape;
      if (signature.maxBatchSize > 0) shape.unshift(1);
      draft.inputs.push({ name, datatype: spec.datatype, shape, data: sink.take() });
    } else if (outer && name === 'id' && c === 0x22) {
      draft.id = cursor.string();
    } else if (outer && name === 'parameters' && c === 0x7b) {
      readMembers(cursor, draft, signature, false);
    } else if (c === 0x7b || c === 0x5b) {
      throw invalidArgument(
        `field '${name}' is no input of the model (${signature.inputs.map((input) => input.name).join(', ')}), ` +
          'and a parameter must be a string, number or boolean',
      );
    } else if (!cursor.skipNull()) {
      draft.parameters[name] = cursor.scalar();
    }
  } while (cursor.more(0x7d));
}

/** One flat JSON object: an output of one element is a scalar, others flat arrays. Valid until the next encoding. */
export function encodeGenerateResponse(response: InferResponse): Uint8Array {
  const out = threadOutput;
  out.begin();
  writeFlat(out, response);
  return out.view();
}

/** The same object as a server-sent event. Valid until the next encoding. */
export function encodeGenerateEvent(response: InferResponse): Uint8Array {
  const out = threadOutput;
  out.begin();
  out.raw('data: ');
  writeFlat(out, response);
  out.raw('\n\n');
  return out.view();
}

/** An error in a stream that has already begun, as an event. Valid until the next encoding. */
export function encodeGenerateErrorEvent(message: string): Uint8Array {
  const out = threadOutput;
  out.begin();
  out.raw('data: {"error":');
  out.string(message);
  out.raw('}\n\n');
  return out.view();
}

function writeFlat(out: JsonOutput, response: InferResponse): void {
  out.raw('{"model_name":');
  out.string(response.model);
  out.raw(',"model_version":');
  out.string(response.version);
  const taken = new Set(['model_name', 'model_version', 'id', ...response.outputs.map((output) => output.name)]);
  if (response.id !== '' && !response.outputs.some((output) => output.name === 'id')) {
    out.raw(',"id":');
    out.string(response.id);
  }
  for (const name in response.parameters) {
    if (taken.has(name)) continue;
    out.byte(0x2c);
    out.string(name);
    out.byte(0x3a);
    out.scalar(response.parameters[name]);
  }
  for (const output of response.outputs) {
    out.byte(0x2c);
    out.string(output.name);
    out.byte(0x3a);
    const count = elementCount(output.shape);
    if (count !== 1) out.byte(0x5b);
    elementPrinter(output).print(out, 0, count);
    if (count !== 1) out.byte(0x5d);
  }
  out.byte(0x7d);
}
