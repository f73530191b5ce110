import type { ErrorCode } from '../../shared/errors.ts';
import type { InferRequest, InferResponse, RequestContext, Timings } from '../types.ts';

/**
 * What was decided for one request, and what came of it. One per request of a routed model, failures and sheds
 * included. The event log, metrics and experiments feed on it.
 */
export interface DecisionRecord {
  /** Returned to the client as x-switchyard-id. */
  id: string;
  /** Milliseconds since 1970. */
  time: number;
  route: string;
  /** What the client asked for. */
  requestedModel: string;
  requestedVersion: string;
  protocol: RequestContext['protocol'];
  tenant: string;
  /** The client's own id of the request. */
  requestId: string;
  /** Of the route's state that decided, and of the policy's snapshot (−1: no policy). */
  stateVersion: number;
  snapshotVersion: number;
  /** Names of variants that could be served. */
  eligible: string[];
  /** Probability of each of the route's variants, in their order: `assigned` was drawn from it. */
  pmf: number[];
  assigned: string;
  served: string;
  /** The part it plays for the analysis, and whether analyses may count it. */
  role: 'stable' | 'control' | 'candidate' | 'arm';
  analysed: boolean;
  /** Index of the override that decided; −1: none. */
  override: number;
  /** −1: no bucket was involved. */
  bucket: number;
  /** Why another variant than the assigned one was served, or no policy was asked; '' = neither. */
  detour: string;
  /** Causes of the attempts that failed before the one that counts. */
  fallbacks: { variant: string; cause: string }[];
  /** Apprentice mode: what the policy would have served, and its distribution. */
  proposed?: { variant: string; pmf: number[] };
  /** Contextual bandits: the features a reward is learnt with. */
  context?: number[];
  /** Of the served variant; version '' when nothing was reached. */
  model: string;
  version: string;
  status: 'ok' | ErrorCode;
  /** From the first byte to the answer. */
  latencyMs: number;
  timings: Timings | undefined;
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
  version: string;
  /** 'match' and 'mismatch' were compared; the rest were not. */
  outcome: 'match' | 'mismatch' | 'failed' | 'dropped' | 'uncompared';
  latencyMs: number;
  /** Of a mismatch: what differs first. */
  difference: string;
}
