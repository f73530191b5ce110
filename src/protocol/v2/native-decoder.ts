import type { InferRequest } from '../../pipeline/types.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { NativeCodecs } from '../../tensor/native.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { sharedBlock, sharedOffset, takeShared } from '../json/block.ts';
import { JsonCursor } from '../json/cursor.ts';
import {
  FORM,
  HEAD_WORDS,
  ID,
  ID_LENGTH,
  INFER,
  INPUTS,
  inputAt,
  NAME,
  NAME_LENGTH,
  nextInput,
  OUTPUTS,
  PARAMETERS,
  SLAB,
} from '../json/decoded-words.ts';
import { internName } from '../json/names.ts';
import { latin1 } from '../json/text.ts';
import { finishOutputs, type OutputList, scanOutputs } from './output-scanner.ts';
import { readParameters } from './parameters.ts';

/**
 * decodeInferRequest by the addon: one call for the whole body. Undefined where the addon does not take the body, be it
 * malformed or out of the ordinary: then the TypeScript scanner decides, so that all errors are its errors.
 */
export function decodeNatively(
  native: NativeCodecs,
  model: string,
  version: string,
  body: Uint8Array,
  jsonLength: number,
): InferRequest | undefined {
  if (!(jsonLength >= -1 && jsonLength <= body.length) || jsonLength !== Math.floor(jsonLength)) return undefined;
  const meta = native.meta;
  const block = sharedBlock();
  const slabFrom = sharedOffset();
  meta[FORM] = INFER;
  meta[INPUTS] = jsonLength;
  meta[SLAB] = slabFrom;
  const own = native.decode(body, block.u8);
  const request = readDecoded(meta, model, version, body, jsonLength, block.u8, own);
  if (request !== undefined) takeShared(meta[SLAB] - slabFrom);
  return request;
}

/**
 * The request that a decode has left in `meta`; undefined where it was left to the twin.
 *
 * @param own the buffers of tensors that do not lie in `slab`
 */
export function readDecoded(
  meta: Int32Array,
  model: string,
  version: string,
  body: Uint8Array,
  jsonLength: number,
  slab: Uint8Array,
  own: readonly ArrayBuffer[] | undefined,
): InferRequest | undefined {
  const count = meta[INPUTS];
  if (count < 0) return undefined;
  const idIsLeft = meta[ID] >= 0 && meta[ID_LENGTH] < 0;
  const id = meta[ID] < 0 || idIsLeft ? '' : latin1(body, meta[ID], meta[ID] + meta[ID_LENGTH]);
  const request: InferRequest = { model, version, id, inputs: [], outputs: [], parameters: undefined };
  const isLeft = idIsLeft || meta[PARAMETERS] >= 0 || meta[OUTPUTS] >= 0;
  if (isLeft && !readSections(request, meta, body, jsonLength)) return undefined;
  if (count === 1) {
    // An array that grows by `push` has room for 17.
    request.inputs = [namedInput(meta, HEAD_WORDS, body, slab, own)];
    return request;
  }
  let at = HEAD_WORDS;
  for (let i = 0; i < count; i++) {
    request.inputs.push(namedInput(meta, at, body, slab, own));
    at = nextInput(meta, at);
  }
  return request;
}

function namedInput(
  meta: Int32Array,
  at: number,
  body: Uint8Array,
  slab: Uint8Array,
  own: readonly ArrayBuffer[] | undefined,
): Tensor {
  const nameAt = meta[at + NAME];
  const nameEnd = nameAt + meta[at + NAME_LENGTH];
  const name = internName(body, nameAt, nameEnd + 1) ?? latin1(body, nameAt, nameEnd);
  return inputAt(meta, at, name, body, slab, own);
}

/** Reads the members that the addon only looked over. False where one is not as it should be. */
function readSections(request: InferRequest, meta: Int32Array, body: Uint8Array, jsonLength: number): boolean {
  try {
    const cursor = new JsonCursor(body, jsonLength < 0 ? body.length : jsonLength);
    let outputs: OutputList | undefined;
    if (meta[ID] >= 0 && meta[ID_LENGTH] < 0) {
      cursor.pos = meta[ID];
      request.id = cursor.string();
    }
    if (meta[PARAMETERS] >= 0) {
      cursor.pos = meta[PARAMETERS];
      request.parameters = readParameters(cursor);
    }
    if (meta[OUTPUTS] >= 0) {
      cursor.pos = meta[OUTPUTS];
      outputs = scanOutputs(cursor);
    }
    request.outputs = finishOutputs(outputs, request.parameters);
    return true;
  } catch (error) {
    if (error instanceof SwitchyardError) return false;
    throw error;
  }
}
