import type { InferRequest } from '../../pipeline/types.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { NativeCodecs, NativeJob } from '../../tensor/native.ts';
import { PlacedTensor } from '../../tensor/placed.ts';
import { DATA_TYPES, type Tensor } from '../../tensor/tensor.ts';
import { sharedBlock, sharedOffset, takeShared } from '../json/block.ts';
import { JsonCursor } from '../json/cursor.ts';
import { internName } from '../json/names.ts';
import { latin1 } from '../json/text.ts';
import { finishOutputs, type OutputList, scanOutputs } from './output-scanner.ts';
import { readParameters } from './parameters.ts';

// Words of `meta`, as in native/src/decode.h.
const INPUTS = 0;
const SLAB = 1;
const ID = 2;
const ID_LENGTH = 3;
const PARAMETERS = 4;
const OUTPUTS = 5;
const HEAD_WORDS = 6;
// Words of one input.
const NAME = 0;
const NAME_LENGTH = 1;
const TYPE = 2;
const RANK = 3;
const PLACE = 4;
const OFFSET = 5;
const BYTES = 6;
const DIMS = 7;

const IN_SLAB = 0;
const IN_BODY = 1;
const OWN = 2;

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
function readDecoded(
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
  const id = meta[ID] < 0 ? '' : latin1(body, meta[ID], meta[ID] + meta[ID_LENGTH]);
  const request: InferRequest = { model, version, id, inputs: [], outputs: [], parameters: undefined };
  if ((meta[PARAMETERS] >= 0 || meta[OUTPUTS] >= 0) && !readSections(request, meta, body, jsonLength)) return undefined;
  if (count === 1) {
    // An array that grows by `push` has room for 17.
    request.inputs = [inputAt(meta, HEAD_WORDS, body, slab, own)];
    return request;
  }
  let at = HEAD_WORDS;
  for (let i = 0; i < count; i++) {
    request.inputs.push(inputAt(meta, at, body, slab, own));
    at += DIMS + meta[at + RANK];
  }
  return request;
}

function inputAt(
  meta: Int32Array,
  at: number,
  body: Uint8Array,
  slab: Uint8Array,
  own: readonly ArrayBuffer[] | undefined,
): Tensor {
  const nameAt = meta[at + NAME];
  const nameEnd = nameAt + meta[at + NAME_LENGTH];
  const name = internName(body, nameAt, nameEnd + 1) ?? latin1(body, nameAt, nameEnd);
  const shape = shapeAt(meta, at);
  const datatype = DATA_TYPES[meta[at + TYPE]];
  const place = meta[at + PLACE];
  const offset = meta[at + OFFSET];
  const bytes = meta[at + BYTES];
  if (place === IN_SLAB) return new PlacedTensor(name, datatype, shape, slab, offset, bytes);
  if (place === IN_BODY) return new PlacedTensor(name, datatype, shape, body, offset, bytes);
  return { name, datatype, shape, data: new Uint8Array(own![place - OWN], offset, bytes) };
}

/** Requests of one shape that follow one another share it; nobody changes a decoded shape. */
let lastShape: number[] = [];

function shapeAt(meta: Int32Array, at: number): number[] {
  const rank = meta[at + RANK];
  let same = rank === lastShape.length;
  for (let i = 0; same && i < rank; i++) same = meta[at + DIMS + i] === lastShape[i];
  if (same) return lastShape;
  const shape: number[] = [];
  for (let i = 0; i < rank; i++) shape.push(meta[at + DIMS + i]);
  lastShape = shape;
  return shape;
}

/** Reads the members that the addon only looked over. False where one is not as it should be. */
function readSections(request: InferRequest, meta: Int32Array, body: Uint8Array, jsonLength: number): boolean {
  try {
    const cursor = new JsonCursor(body, jsonLength < 0 ? body.length : jsonLength);
    let outputs: OutputList | undefined;
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

/** kMetaWords of decode.h. */
const WORDS = 2048;
const JOB_SLAB_BYTES = 16384;

/** A body that the addon decodes on a thread of its own. */
export class AsideJob implements NativeJob {
  readonly body: Uint8Array;
  /** Not the thread's: requests that come meanwhile are written into that. */
  readonly slab = new Uint8Array(JOB_SLAB_BYTES);
  readonly words = new Int32Array(WORDS);
  readonly buffers: ArrayBuffer[] = [];
  readonly done: () => void;
  private readonly jsonLength: number;

  constructor(body: Uint8Array, jsonLength: number, done: () => void) {
    this.body = body;
    this.jsonLength = jsonLength;
    this.done = done;
    this.words[INPUTS] = jsonLength;
  }

  /** After `done`: the request, or undefined where the addon does not take the body. */
  read(model: string, version: string): InferRequest | undefined {
    return readDecoded(this.words, model, version, this.body, this.jsonLength, this.slab, this.buffers);
  }
}
