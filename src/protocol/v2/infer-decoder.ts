import type { InferRequest } from '../../pipeline/types.ts';
import { native } from '../../tensor/native.ts';
import { scanInferRequest } from './json-scanner.ts';
import { decodeNatively } from './native-decoder.ts';

/**
 * Decodes the body of a v2 infer request in one pass. `jsonLength` is Inference-Header-Content-Length, -1 when absent:
 * then the whole body is JSON. The tensors of the result may alias `body`, or share a slab with tensors of other
 * requests: the request owns `body` from now on, and nobody may transfer a tensor's ArrayBuffer.
 *
 * Throws invalid_argument for anything malformed, naming field and value, and `unsupported` for shared memory. With a
 * `jsonLength` of 0 the body has no JSON: see decodeRawBody.
 */
export function decodeInferRequest(model: string, version: string, body: Uint8Array, jsonLength: number): InferRequest {
  if (native !== undefined) {
    const request = decodeNatively(native, model, version, body, jsonLength);
    if (request !== undefined) return request;
  }
  return scanInferRequest(model, version, body, jsonLength);
}
