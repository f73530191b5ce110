import type { ErrorCode } from '../../shared/errors.ts';
import type { IdSource } from '../../shared/ids.ts';
import type { InferRequest, InferResponse, RequestContext } from '../types.ts';

/**
 * What was decided for one request, and what came of it. One per request of a routed model, failures and sheds
 * included. The event log, metrics and experiments feed on it.
 */
export interface DecisionRecord {
  /** Returned to the client as x-switchyard-id. */
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly time: number;
  /** monotonicMs() of its first byte. */
  readonly receivedAt: number;
  readonly route: string;
  /** What the client asked for. */
  readonly requestedModel: string;
  readonly requestedVersion: string;
  readonly protocol: RequestContext['protocol'];
  readonly tenant: string;
  /** The client's own id of the request. */
  readonly requestId: string;
  /** Of the route's state that decided, and of the policy's snapshot (−1: no policy). */
  readonly stateVersion: number;
  readonly snapshotVersion: number;
  /** Names of variants that could be served. */
  readonly eligible: readonly string[];
  /** Probability of each of the route's variants, in their order: `assigned` was drawn from it. */
  readonly pmf: readonly number[];
  /** Of `assigned`, in `pmf`. */
  readonly propensity: number;
  readonly assigned: string;
  readonly served: string;
  /** The part it plays for the analysis, and whether analyses may count it. */
  readonly role: 'stable' | 'control' | 'candidate' | 'arm';
  readonly analysed: boolean;
  /** Index of the override that decided; −1: none. */
  readonly override: number;
  /** −1: no bucket was involved. */
  readonly bucket: number;
  /** 32 bits of the unit that sticks; −1: none did. */
  readonly unitHash: number;
  /** Why another variant than the assigned one was served, or no policy was asked; '' = neither. */
  readonly detour: string;
  /** Causes of the attempts that failed before the one that counts, and the versions that failed. */
  readonly fallbacks: readonly { variant: string; cause: string; version: string }[];
  /** Apprentice mode: what the policy would have served, and its distribution. */
  readonly proposed: { variant: string; pmf: number[] } | undefined;
  /** Contextual bandits: the features a reward is learnt with. */
  readonly features: number[] | undefined;
  /** Of the served variant. Without an answer the version is the one asked for, or that the version policy had; '' = none. */
  readonly model: string;
  readonly version: string;
  readonly status: 'ok' | ErrorCode;
  /** From the first byte to the answer. */
  readonly latencyMs: number;
}

/** Takes every record when its request is over. Runs on the gateway thread: keep it short, and do not throw. */
export interface DecisionTap {
  decided(record: DecisionRecord, request: InferRequest, response: InferResponse | undefined): void;
  /** One shadow was compared with the answer it copies. */
  shadowed(shadow: ShadowOutcome): void;
}

export interface ShadowOutcome {
  /** The record's. */
  id: string;
  route: string;
  variant: string;
  model: string;
  /** Without an answer the one that was asked for; '' when the version policy had the choice, or nothing was sent. */
  version: string;
  /**
   * 'match' and 'mismatch' were compared; 'failed' differs too, since the client got an answer. 'dropped' (not sent, shed
   * or too late) and 'uncompared' (nothing to compare with) say nothing of the variant.
   */
  outcome: 'match' | 'mismatch' | 'failed' | 'dropped' | 'uncompared';
  latencyMs: number;
  /** Of a mismatch: what differs first, without values; of a failure, the error's code. Neither holds what is redacted. */
  difference: string;
}

/** A request that is over, whether a route decided it or not: what the event log writes down. */
export interface FinishedRequest {
  readonly id: string;
  /** As those of {@link RequestContext.served}: who prints the id needs no text. */
  readonly ids?: IdSource;
  readonly number?: number;
  /** Of its beginning: milliseconds since 1970. */
  readonly time: number;
  /** The tensors are here still. Read them during the call only. */
  readonly request: InferRequest;
  readonly context: FinishedContext;
  /** The last answer that had outputs. */
  readonly response: InferResponse | undefined;
  readonly status: 'ok' | ErrorCode;
  readonly latencyMs: number;
  /** Undefined: no route decided. */
  readonly decision: DecisionRecord | undefined;
  /** The variant whose answer went to nobody; '' = the answer was the client's. */
  readonly shadow: string;
}

/** Of a request that was refused before it was read, no more is known. */
export type FinishedContext = Pick<RequestContext, 'protocol' | 'tenant' | 'receivedAt' | 'traceparent'> &
  Partial<Pick<RequestContext, 'served'>>;

/** Takes every request when it is over. Runs on the gateway thread: keep it short, and do not throw. */
export interface RequestLog {
  /** Whether requests of this route ('' = none) for this model are written down. */
  wants(route: string, model: string): boolean;
  finished(request: FinishedRequest): void;
}
