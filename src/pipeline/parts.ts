import type { SwitchyardError } from '../shared/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { PipelineCache } from './cache-step.ts';
import type { DoorStep } from './door-step.ts';
import type { FeatureStep } from './feature-step.ts';
import type { Pending } from './pending.ts';
import type { InferRequest, RequestContext, ServingVersion, Timings } from './types.ts';

/** Where requests are counted; this gateway thread's metrics block. */
export interface RequestMetrics {
  pending(version: ServingVersion, delta: number): void;
  /** `now`: monotonicMs() of the answer. */
  success(pending: Pending, outputs: readonly Tensor[], timings: Timings | undefined, now: number): void;
  /** `at`: monotonicMs() of the failure; absent: now. `cpu`, `gpu`: milliseconds that it used up before; absent: none. */
  failure(
    version: ServingVersion,
    request: Pick<InferRequest, 'id'>,
    context: RequestContext,
    error: SwitchyardError,
    at?: number,
    cpu?: number,
    gpu?: number,
  ): void;
  cacheHit(version: ServingVersion, lookupMs: number): void;
  cacheMiss(version: ServingVersion, lookupMs: number): void;
}

export interface DataPlaneOptions {
  /** Unanswered requests per executor before the lowest priorities are shed. */
  maxOutstanding: number;
  /** A version without its own limit answers within this; 0 = no limit. */
  defaultTimeoutMs: number;
}

export interface DataPlaneDependencies {
  metrics: RequestMetrics;
  cache: PipelineCache | undefined;
  /** Absent: models that ask for features fail. */
  features?: FeatureStep;
  /** Absent: models with a schema are not checked by it. */
  door?: DoorStep;
  /** Asks the control thread to load a known model; the table that follows carries it, or `failed` names the reason. */
  demand(model: string): Promise<void>;
  /** A model was asked for: what eviction goes by. */
  onUsed?(model: string): void;
}
