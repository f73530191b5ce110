import type { ModelConfig } from '../config/model-config.ts';
import type { CallParameters } from '../executor/frame.ts';
import type { InferRequest } from './types.ts';

/** What tells the gateway how to serve a request. Also every name that begins with `triton_`, which is the protocol's. */
const FOR_THE_GATEWAY: ReadonlySet<string> = new Set(['timeout', 'priority', 'binary_data_output']);

/**
 * The parameters of a request that reach its model; undefined: none do. Those for the gateway do not: they are dealt with
 * before, and a tenant's priority is not what it asked for. Nor does a runtime that knows no parameters get any. The steps
 * of an ensemble get its own. Integers become doubles.
 */
export function modelParameters({ parameters }: InferRequest, config: ModelConfig): CallParameters | undefined {
  if (parameters === undefined || !readsParameters(config.backend)) return undefined;
  let plain: CallParameters | undefined;
  for (const name of Object.keys(parameters)) {
    if (FOR_THE_GATEWAY.has(name) || name.startsWith('triton_')) continue;
    const value = parameters[name];
    plain ??= Object.create(null) as CallParameters;
    plain[name] = typeof value === 'bigint' ? Number(value) : value;
  }
  return plain;
}

function readsParameters(backend: string): boolean {
  return backend !== 'onnxruntime' && backend !== 'tfserving';
}
