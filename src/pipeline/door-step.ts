import type { InferRequest, RequestContext, ServingVersion } from './types.ts';

/** The check of requests by the schema of a model's configuration, as the pipeline sees it. */
export interface DoorStep {
  /**
   * Checks a request that fits the model's signature. By the policy it throws invalid_argument naming field and allowed
   * values, notes in `context.served` what does not fit, or only counts it.
   */
  check(version: ServingVersion, request: InferRequest, context: RequestContext): void;
}
