import type { ModelSignature, TensorSpec } from '../../config/model-config.ts';
import { type NativeCodecs, native } from '../../tensor/native.ts';
import { DATA_TYPES } from '../../tensor/tensor.ts';
import { type BodyDecoder, type DecodeListener, decodeBeside, isForAside } from '../json/aside.ts';
import { sharedBlock, sharedOffset, takeShared } from '../json/block.ts';
import { HEAD_WORDS, INPUTS, inputAt, NESTED, SLAB } from '../json/decoded-words.ts';
import { type PredictRequest, scanPredict } from './predict-request.ts';

/**
 * Decodes the body of TF Serving's `:predict`, see scanPredict. The addon takes those of models with one input of numbers that
 * the body does not name; its tensor may share a slab with others', as those of v2 requests may.
 */
export function decodePredict(
  model: string,
  version: string,
  body: Uint8Array,
  signature: ModelSignature,
): PredictRequest {
  const spec = onlyInput(signature);
  const taken =
    native === undefined || spec === undefined ? undefined : decodeNatively(native, model, version, body, spec);
  return taken ?? scanPredict(model, version, body, signature);
}

/** Whether decoding the body would hold the loop for long, and the addon may take it. */
export function isPredictForAside(body: Uint8Array, signature: ModelSignature): boolean {
  return isForAside(body.length, -1) && onlyInput(signature) !== undefined;
}

/** decodePredict beside the loop, see decodeBeside, of bodies for which isPredictForAside. */
export function decodePredictAside(
  model: string,
  version: string,
  body: Uint8Array,
  signature: ModelSignature,
  listener: DecodeListener<PredictRequest>,
): void {
  const spec = onlyInput(signature)!;
  const decoder: BodyDecoder<PredictRequest> = {
    body,
    jsonLength: -1,
    nested: DATA_TYPES.indexOf(spec.datatype),
    read: ({ words, slab, buffers }) => readDecoded(words, model, version, spec, body, slab, buffers),
    scan: () => scanPredict(model, version, body, signature),
  };
  decodeBeside(decoder, listener);
}

function onlyInput({ inputs }: ModelSignature): TensorSpec | undefined {
  return inputs.length === 1 && inputs[0].datatype !== 'BYTES' ? inputs[0] : undefined;
}

/** Undefined where the addon does not take the body; exported for tests. */
export function decodeNatively(
  native: NativeCodecs,
  model: string,
  version: string,
  body: Uint8Array,
  spec: TensorSpec,
): PredictRequest | undefined {
  const meta = native.meta;
  const block = sharedBlock();
  const slabFrom = sharedOffset();
  meta[NESTED] = DATA_TYPES.indexOf(spec.datatype);
  meta[INPUTS] = -1;
  meta[SLAB] = slabFrom;
  const own = native.decode(body, block.u8);
  const request = readDecoded(meta, model, version, spec, body, block.u8, own);
  if (request !== undefined) takeShared(meta[SLAB] - slabFrom);
  return request;
}

function readDecoded(
  meta: Int32Array,
  model: string,
  version: string,
  spec: TensorSpec,
  body: Uint8Array,
  slab: Uint8Array,
  own: readonly ArrayBuffer[] | undefined,
): PredictRequest | undefined {
  if (meta[INPUTS] < 0) return undefined;
  const inputs = [inputAt(meta, HEAD_WORDS, spec.name, body, slab, own)];
  const request = { model, version, id: '', inputs, outputs: [], parameters: undefined };
  return { request, format: meta[NESTED] === 0 ? 'row' : 'column' };
}
