import { createHash, hash } from 'node:crypto';
import type { ParameterValue } from '../pipeline/types.ts';
import { DATA_TYPES, type Tensor } from '../tensor/tensor.ts';

/** What makes two requests the same. Matters of transport (id, deadline, priority, binary or JSON) are not among them. */
export interface CacheKeyParts {
  tenant: string;
  model: string;
  /** The exact version by content: its digest with a shared cache, its serving handle suffices within one process. */
  version: string;
  inputs: readonly Tensor[];
  /** Requested outputs in the caller's order. */
  outputs: readonly { name: string; classification: number }[];
  /** Parameters that reach the model, if any. */
  parameters?: Readonly<Record<string, ParameterValue>>;
}

const ONE_SHOT_BYTES = 16 * 1024;
let scratch = Buffer.allocUnsafeSlow(ONE_SHOT_BYTES);

function room(at: number, bytes: number): void {
  if (at + bytes <= scratch.length) return;
  const grown = Buffer.allocUnsafeSlow(Math.max(scratch.length * 2, at + bytes));
  scratch.copy(grown, 0, 0, at);
  scratch = grown;
}

function putText(at: number, text: string): number {
  room(at, 4 + text.length * 3);
  const bytes = scratch.write(text, at + 4, 'utf8');
  scratch.writeUInt32LE(bytes, at);
  return at + 4 + bytes;
}

function putNumber(at: number, value: number): number {
  room(at, 8);
  scratch.writeDoubleLE(value, at);
  return at + 8;
}

function putTensorHead(at: number, tensor: Tensor): number {
  let end = putText(at, tensor.name);
  end = putNumber(end, DATA_TYPES.indexOf(tensor.datatype));
  end = putNumber(end, tensor.shape.length);
  for (let d = 0; d < tensor.shape.length; d++) end = putNumber(end, tensor.shape[d]);
  return putNumber(end, tensor.data.byteLength);
}

function putHead(parts: CacheKeyParts): number {
  let end = putText(0, parts.tenant);
  end = putText(end, parts.model);
  end = putText(end, parts.version);
  end = putNumber(end, parts.outputs.length);
  for (let i = 0; i < parts.outputs.length; i++) {
    end = putText(end, parts.outputs[i].name);
    end = putNumber(end, parts.outputs[i].classification);
  }
  const names = parts.parameters === undefined ? [] : Object.keys(parts.parameters).sort();
  end = putNumber(end, names.length);
  for (const name of names) {
    const value = parts.parameters![name];
    end = putText(end, name);
    end = putText(end, `${typeof value} ${value}`);
  }
  end = putNumber(end, parts.inputs.length);
  for (let i = 0; i < parts.inputs.length; i++) end = putTensorHead(end, parts.inputs[i]);
  return end;
}

/**
 * SHA-256 over a length-prefixed form of the parts, so that no two different requests spell the same bytes; base64url.
 * A keyless fast hash would be cheaper, but one tenant could forge a collision with another's request.
 */
export function cacheKey(parts: CacheKeyParts): string {
  let end = putHead(parts);
  let bytes = 0;
  for (let i = 0; i < parts.inputs.length; i++) bytes += parts.inputs[i].data.byteLength;
  if (end + bytes <= ONE_SHOT_BYTES) {
    for (let i = 0; i < parts.inputs.length; i++) {
      room(end, bytes);
      scratch.set(parts.inputs[i].data, end);
      end += parts.inputs[i].data.byteLength;
    }
    return hash('sha256', scratch.subarray(0, end), 'base64url');
  }
  const digest = createHash('sha256').update(scratch.subarray(0, end));
  for (let i = 0; i < parts.inputs.length; i++) digest.update(parts.inputs[i].data);
  return digest.digest('base64url');
}
