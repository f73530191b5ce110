import { cacheKey } from '../cache/cache-key.ts';
import type { ResponseCache } from '../cache/response-cache.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { modelParameters } from './model-parameters.ts';
import type { Pending } from './pending.ts';

/** The response cache as the pipeline sees it. Keys hold the tenant, so that no answer crosses tenants. */
export interface PipelineCache {
  /** `identity`: what answers, by content. */
  key(pending: Pending, identity: string): string;
  get(key: string): Tensor[] | undefined | Promise<Tensor[] | undefined>;
  /** Copies what it keeps: the caller's bytes stay the caller's. */
  set(key: string, outputs: Tensor[]): void;
}

export function pipelineCache(cache: ResponseCache): PipelineCache {
  return {
    key: ({ context, version, request }, identity) =>
      cacheKey({
        tenant: context.tenant,
        model: version.model,
        version: identity,
        inputs: request.inputs,
        outputs: request.outputs,
        parameters: modelParameters(request, version.config),
      }),
    get: (key) => cache.get(key),
    set: (key, outputs) => cache.set(key, outputs),
  };
}
