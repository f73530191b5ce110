import { copyFailed } from '../../routing/copies.ts';
import { ERROR_TABLE, type ErrorCode } from '../../shared/errors.ts';
import type { ArmEvidence } from '../rollout/judge.ts';
import { newHistogram, record as recordLatency } from '../statistics/latency-histogram.ts';
import { type ColumnPolicy, compareColumns } from './compare-columns.ts';
import type { LoggedColumn, LoggedRecord } from './logged-record.ts';

export function noArm(): ArmEvidence & { latency: Float64Array } {
  return { requests: 0, errors: 0, latency: newHistogram() };
}

/**
 * Counts a record as a gateway's judge does: a failure that another variant answered for is still a failure of the
 * assigned one. What the client got wrong, gave up, or was shed is nobody's, and an ejected variant was not asked.
 */
export function addToArm(arm: ReturnType<typeof noArm>, record: LoggedRecord): void {
  if (record.variant !== record.assigned) {
    if (!record.failedOver) return;
    arm.requests++;
    arm.errors++;
    return;
  }
  if (record.status === 'ok') {
    arm.requests++;
    recordLatency(arm.latency, record.latencyMs);
    return;
  }
  if (record.status === 'overloaded' || record.status === 'cancelled') return;
  // A code that this version does not know came from a newer gateway: count it as a failure of the server.
  if ((ERROR_TABLE[record.status as ErrorCode]?.http ?? 500) < 500) return;
  arm.requests++;
  arm.errors++;
}

/** Of the log's shadow records: their ids are their requests' with this behind. */
const SHADOW = '.shadow';
/** Requests and copies that wait for one another; the oldest are given up. */
const WAITING = 100_000;

/** Of a copy that failed: it differs from any answer. */
const FAILED: readonly LoggedColumn[] = [];

/** Compares shadows' predictions with the answers', in whatever order the records come. */
export class ShadowEvidence {
  compared = 0;
  mismatched = 0;
  private readonly policy: ColumnPolicy;
  private readonly waiting = new Map<string, readonly LoggedColumn[]>();

  constructor(policy: ColumnPolicy) {
    this.policy = policy;
  }

  add(record: LoggedRecord): void {
    if (record.status !== 'ok' && !(record.shadow && copyFailed(record.status))) return;
    const predictions = record.status === 'ok' ? record.predictions : FAILED;
    const id = record.shadow && record.id.endsWith(SHADOW) ? record.id.slice(0, -SHADOW.length) : record.id;
    const other = record.shadow ? id : id + SHADOW;
    const found = this.waiting.get(other);
    if (found === undefined) {
      if (this.waiting.size >= WAITING) this.waiting.delete(this.waiting.keys().next().value as string);
      this.waiting.set(record.shadow ? id + SHADOW : id, predictions);
      return;
    }
    this.waiting.delete(other);
    const [answer, copy] = record.shadow ? [found, predictions] : [predictions, found];
    const difference = copy === FAILED ? 'failed' : compareColumns(answer, copy, this.policy);
    if (difference === undefined) return;
    this.compared++;
    if (difference !== '') this.mismatched++;
  }
}
