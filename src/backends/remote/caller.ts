import type { Clock } from '../../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import { RetryBudget } from '../../shared/retry-budget.ts';
import type { FailureKind, Replica, ReplicaSet } from './replicas.ts';

/** A deadline this near is the caller's own doing: missing it says nothing of the replica. */
const FAIR_TRY_MS = 1000;

export interface CallLimits {
  /** One try, milliseconds. */
  perTryMs: number;
  /** Tries in all, the first included. */
  tries: number;
}

/** One try on one replica. `timeoutMs` is what is left for it. Rejects with SwitchyardError. */
export type Attempt<T> = (replica: Replica, timeoutMs: number) => Promise<T>;

/** Carries calls to replicas: choice, per-try deadline, verdict, and a retry elsewhere within the budget. */
export class ReplicaCaller {
  readonly set: ReplicaSet;
  readonly #limits: CallLimits;
  readonly #clock: Clock;
  readonly #budget = new RetryBudget();

  constructor(set: ReplicaSet, limits: CallLimits, clock: Clock) {
    this.set = set;
    this.#limits = limits;
    this.#clock = clock;
  }

  /**
   * @param deadline clock time by which the answer is wanted
   * @throws SwitchyardError deadline_exceeded when it has passed, else the last try's error
   */
  async call<T>(deadline: number, signal: AbortSignal | undefined, attempt: Attempt<T>): Promise<T> {
    this.#budget.started();
    let retrying = false;
    try {
      let replica: Replica | undefined;
      for (let tries = 1; ; tries++) {
        const now = this.#clock();
        if (deadline <= now)
          throw new SwitchyardError('deadline_exceeded', 'the deadline passed before the remote server was asked');
        const timeout = Math.min(deadline - now, this.#limits.perTryMs);
        replica = this.set.pick(replica);
        this.set.started(replica);
        try {
          const answer = await attempt(replica, timeout);
          this.set.succeeded(replica);
          return answer;
        } catch (thrown) {
          const error = toSwitchyardError(thrown);
          const kind = verdict(error, timeout);
          if (kind === undefined) this.set.ended(replica);
          else this.set.failed(replica, kind);
          if (kind === undefined || tries >= this.#limits.tries || signal?.aborted) throw error;
          if (retrying) this.#budget.retried();
          retrying = this.#budget.tryRetry();
          if (!retrying) throw error;
        }
      }
    } finally {
      if (retrying) this.#budget.retried();
      this.#budget.ended();
    }
  }
}

/**
 * What a failed try says of the replica; undefined: nothing. Model errors (`internal`) are left out on purpose: one
 * poisoned item, sent to each replica in turn, must not eject them all.
 */
export function verdict(error: SwitchyardError, timeoutMs: number): FailureKind | undefined {
  if (error.code === 'unavailable') return 'unreachable';
  if (error.code === 'deadline_exceeded' && timeoutMs >= FAIR_TRY_MS) return 'faulty';
  return undefined;
}
