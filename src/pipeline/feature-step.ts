import type { Tensor } from '../tensor/tensor.ts';
import type { InferRequest, RequestContext, ServingVersion } from './types.ts';

/** The feature store as the pipeline sees it: inputs that a model wants and requests do not bring. */
export interface FeatureStep {
  /**
   * The inputs that the store adds to a request of a version whose configuration asks for some, and all inputs as the
   * model takes them. At once where the store is in memory. Throws or rejects with SwitchyardError. Nothing of the
   * request is changed.
   */
  join(version: ServingVersion, request: InferRequest, context: RequestContext): JoinedInputs | Promise<JoinedInputs>;
}

export interface JoinedInputs {
  inputs: Tensor[];
  added: Tensor[];
}
