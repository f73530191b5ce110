import type { DecisionRecord, ShadowOutcome } from '../pipeline/routed/record.ts';

/** What one slice of a route's traffic did on one gateway thread since the last report. Counts add up. */
export interface SliceActivity {
  route: string;
  /** Served, not assigned. */
  variant: string;
  /** Another one than served where that one failed or was ejected. */
  assigned: string;
  /** '' when none was loaded. */
  version: string;
  /** Of the assigned variant; '' when it was not asked, too. */
  assignedVersion: string;
  role: DecisionRecord['role'];
  analysed: boolean;
  requests: number;
  /** Answers of 500 and above but sheds; timeouts among them. */
  errors: number;
  /** Answers of 4xx but sheds. */
  clientErrors: number;
  sheds: number;
  cancelled: number;
  /** Answered, or failed, by another variant than was tried first. */
  fallbacks: number;
  /** Of successes, as runs of a latency histogram (experiments/statistics/latency-histogram.ts). */
  latency: number[][];
}

export interface ShadowActivity {
  route: string;
  variant: string;
  model: string;
  /** '' where none was named and none answered. */
  version: string;
  match: number;
  mismatch: number;
  failed: number;
  dropped: number;
  uncompared: number;
  /** Of mismatches and failures, a few. */
  examples: ShadowOutcome[];
}

/** One decision, as far as a bandit or an experiment learns from it. */
export type LearningRecord = Pick<
  DecisionRecord,
  | 'id'
  | 'route'
  | 'tenant'
  | 'assigned'
  | 'served'
  | 'version'
  | 'analysed'
  | 'bucket'
  | 'unitHash'
  | 'proposed'
  | 'features'
  | 'status'
  | 'latencyMs'
> & {
  /** Of its first byte: steadyTime() of the control thread, where its reward is waited for. */
  time: number;
  /** Of the assigned variant; '' when it was not asked, or none was loaded. */
  assignedVersion: string;
  /** The assigned variant failed, and others were asked after it. */
  failedOver: boolean;
};

/** A gateway thread's report to the control thread. */
export interface RouteActivity {
  slices: SliceActivity[];
  shadows: ShadowActivity[];
  learning: LearningRecord[];
  /** Decisions that were not kept for learning because there were too many. */
  lost: number;
}
