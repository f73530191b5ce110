import type { InferRequest } from '../../pipeline/types.ts';
import { type BodyDecoder, type DecodeListener, decodeBeside, isForAside } from '../json/aside.ts';
import { INFER } from '../json/decoded-words.ts';
import { decodeInferRequest } from './infer-decoder.ts';
import { scanInferRequest } from './json-scanner.ts';
import { readDecoded } from './native-decoder.ts';

const NO_INPUTS = new Uint8Array(0);

/** decodeInferRequest beside the loop, see decodeBeside. */
export function decodeAside(
  model: string,
  version: string,
  body: Uint8Array,
  jsonLength: number,
  listener: DecodeListener<InferRequest>,
): void {
  const decoder: BodyDecoder<InferRequest> = {
    body,
    jsonLength,
    form: INFER,
    expected: NO_INPUTS,
    read: ({ words, slab, buffers }) => readDecoded(words, model, version, body, jsonLength, slab, buffers),
    scan: () => scanInferRequest(model, version, body, jsonLength),
    scanForm: { kind: 'infer', model, version, jsonLength },
    ofScanned: ({ request }) => request,
  };
  decodeBeside(decoder, listener);
}

/** decodeInferRequest, beside the loop where it would hold the loop for long. */
export function decodeSoon(
  model: string,
  version: string,
  body: Uint8Array,
  jsonLength: number,
): InferRequest | Promise<InferRequest> {
  if (!isForAside(body.length, jsonLength)) return decodeInferRequest(model, version, body, jsonLength);
  return new Promise((onDecoded, onRefused) => {
    decodeAside(model, version, body, jsonLength, { wanted: () => true, onDecoded, onRefused });
  });
}
